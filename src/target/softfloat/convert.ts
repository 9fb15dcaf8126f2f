/** Conversions between formats. */
import { add, and, type Builder, type Expr, geS, i32, i64, type LibraryFunction, or, shl } from '../ir/index.ts';
import {
  type FloatFormat,
  f16,
  f32,
  f64,
  f80,
  isInfinity,
  isNan,
  isZero,
  modeFromImmediate,
  mxcsrBits,
  normalise,
  type Parts,
  pack,
  packInfinity,
  packInvalid,
  packZero,
  raiseFlags,
  raiseIfSignalling,
  unpack,
  valueParams,
  zeroOf,
} from './format.ts';

/** MXCSR's layout of the control word's RC and masks. */
export const mxcsrOfControl = (control: Expr): Expr =>
  or(shl(and(control, i32(0xc00)), i32(3)), shl(and(control, i32(0x3f)), i32(7)));

interface FormatConversion {
  /** DE for a denormal source. */
  readonly raisesDenormal: boolean;
  /** What `normalise` gets, for DAZ. */
  readonly sourceControl: (control: Expr) => Expr;
  /** What the target's pack function gets. */
  readonly targetControl: (control: Expr) => Expr;
  /** A signalling NaN stays one and raises nothing. */
  readonly keepsNan?: true;
}

/** `<from>_to_<to>` (value[, control]). */
function convertFormat(
  from: FloatFormat,
  to: FloatFormat,
  options: FormatConversion,
  parameter: 'control' | 'none' | 'imm',
  name = 'to',
): LibraryFunction {
  const extra: Record<typeof parameter, 'i32'[]> = { none: [], control: ['i32'], imm: ['i32', 'i32'] };
  return {
    name: `${from.name}_${name}_${to.name}`,
    params: [...valueParams(from), ...extra[parameter]],
    result: to.type,
    body(b, ...args) {
      const rest = args.slice(valueParams(from).length);
      const control = parameter === 'imm' ? b.let(modeFromImmediate(rest[0], rest[1])) : (rest[0] ?? i32(0));
      const x = unpack(b, from, args);
      const out = b.variable(zeroOf(to));
      b.if(
        isNan(from, x),
        () =>
          b.set(
            out,
            options.keepsNan ? pack(b, to, x.sign, i32(to.maxExponent), x.significand) : convertNan(b, from, to, x),
          ),
        () =>
          b.if(
            isInfinity(from, x),
            () => b.set(out, packInfinity(b, to, x.sign)),
            () => {
              const denormal = normalise(b, from, x, options.sourceControl(control));
              if (options.raisesDenormal) raiseFlags(b, denormal);
              b.if(
                isZero(x),
                () => b.set(out, packZero(b, to, x.sign)),
                () => b.set(out, repack(b, from, to, x, options.targetControl(control))),
              );
            },
          ),
      );
      return out;
    },
  };
}

function convertNan(b: Builder, from: FloatFormat, to: FloatFormat, x: Parts): Expr {
  if (from.name !== 'f80') {
    raiseIfSignalling(b, from, [x]);
    return pack(b, to, x.sign, i32(to.maxExponent), or(x.significand, i64(3n << 62n)));
  }
  const out = b.variable(zeroOf(to));
  b.if(
    geS(x.significand, i64(0)),
    () => b.set(out, packInvalid(b, to)),
    () => {
      raiseIfSignalling(b, from, [x]);
      b.set(out, pack(b, to, x.sign, i32(to.maxExponent), or(x.significand, i64(3n << 62n))));
    },
  );
  return out;
}

function repack(b: Builder, from: FloatFormat, to: FloatFormat, x: Parts, control: Expr): Expr {
  const exponent = add(x.exponent, i32(to.bias - from.bias));
  // Wider in both precision and range: exact, and never a denormal (f16 has none in f32, f32 none in f64).
  if (to.precision > from.precision) return pack(b, to, x.sign, exponent, x.significand);
  return b.call(`${to.name}_pack`, x.sign, exponent, x.significand, control);
}

const sse: FormatConversion = { raisesDenormal: true, sourceControl: (c) => c, targetControl: (c) => c };
const withoutFlush = (control: Expr) => and(control, i32(~mxcsrBits.ftz));
const x87Store: FormatConversion = {
  raisesDenormal: false,
  sourceControl: () => i32(0),
  targetControl: mxcsrOfControl,
};
const x87Load: FormatConversion = { raisesDenormal: true, sourceControl: () => i32(0), targetControl: (c) => c };

export const conversionFunctions: readonly LibraryFunction[] = [
  convertFormat(f32, f64, sse, 'control'),
  convertFormat(f64, f32, sse, 'control'),
  convertFormat(f16, f32, { ...sse, raisesDenormal: false }, 'control'),
  convertFormat(f32, f16, { ...sse, targetControl: withoutFlush }, 'imm'),
  convertFormat(f32, f80, x87Load, 'none'),
  convertFormat(f64, f80, x87Load, 'none'),
  convertFormat(f32, f80, { ...x87Load, keepsNan: true }, 'none', 'widen'),
  convertFormat(f64, f80, { ...x87Load, keepsNan: true }, 'none', 'widen'),
  convertFormat(f80, f32, x87Store, 'control'),
  convertFormat(f80, f64, x87Store, 'control'),
];
