/** Conversions between formats and to and from integers, rounding to an integral value, comparison, scaling. */
import {
  add,
  and,
  type Builder,
  clz,
  convert,
  type Expr,
  eq,
  eqz,
  geS,
  gtS,
  i32,
  i64,
  type LibraryFunction,
  leS,
  leU,
  ltS,
  ltU,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
  type Variable,
} from '../ir/index.ts';
import {
  exception,
  type FloatFormat,
  f16,
  f32,
  f64,
  f80,
  incrementFor,
  isInfinity,
  isNan,
  isZero,
  mxcsrBits,
  normalise,
  type Parts,
  pack,
  packInfinity,
  packInvalid,
  packZero,
  propagateNan,
  raiseFlags,
  raiseIfSignalling,
  roundingMode,
  unpack,
  valueParams,
} from './format.ts';

const zeroOf = (format: FloatFormat): Expr => (format.type === 'i64' ? i64(0) : i32(0));
/** MXCSR's layout of the control word's RC and masks. */
export const mxcsrOfControl = (control: Expr): Expr =>
  or(shl(and(control, i32(0xc00)), i32(3)), shl(and(control, i32(0x3f)), i32(7)));

/** An integral magnitude and what was cut off. */
interface Integral {
  readonly magnitude: Expr;
  readonly inexact: Expr;
  readonly up: Expr;
}

/** Rounds a normalised significand to an integer below 2^64; `power` (exponent less bias) is at most 63. */
function toIntegral(b: Builder, sign: Expr, power: Expr, significand: Expr, mode: Expr): Integral {
  const magnitude = b.variable(i64(0));
  const rest = b.variable(i64(0));
  b.if(
    ltS(power, i32(0)),
    () => b.set(rest, select(eq(power, i32(-1)), significand, toI64(ne(significand, i64(0))))),
    () => {
      b.set(magnitude, shrU(significand, toI64(sub(i32(63), power))));
      b.if(ltS(power, i32(63)), () => b.set(rest, shl(significand, toI64(add(power, i32(1))))));
    },
  );
  const up = incrementFor(b, mode, sign, toI32(and(magnitude, i64(1))), rest);
  return { magnitude: b.let(add(magnitude, toI64(up))), inexact: b.let(ne(rest, i64(0))), up };
}

/** `<format>_to_i<bits>` (value, control): out of range, NaN: IE and the integer indefinite. */
function toInteger(format: FloatFormat, bits: 16 | 32 | 64): LibraryFunction {
  return {
    name: `${format.name}_to_i${bits}`,
    params: [...valueParams(format), 'i32'],
    result: bits === 64 ? 'i64' : 'i32',
    body(b, ...args) {
      const control = args[args.length - 1];
      const x = unpack(b, format, args);
      const indefinite = 1n << BigInt(bits - 1);
      const out = b.variable(i64(-indefinite));
      const valid = b.variable(i32(0));
      b.if(
        isNan(format, x),
        () => {},
        () => {
          normalise(b, format, x, control);
          const power = b.let(sub(x.exponent, i32(format.bias)));
          b.if(leS(power, i32(bits - 1)), () => {
            const r = toIntegral(b, x.sign, power, x.significand, b.let(roundingMode(format, control)));
            const largest = select(x.sign, i64(indefinite), i64(indefinite - 1n));
            b.if(leU(r.magnitude, largest), () => {
              b.set(valid, i32(1));
              b.set(out, select(x.sign, sub(i64(0), r.magnitude), r.magnitude));
              raiseFlags(b, or(shl(r.inexact, i32(5)), shl(r.up, i32(9))));
            });
          });
        },
      );
      b.if(eqz(valid), () => raiseFlags(b, i32(exception.invalid)));
      return bits === 64 ? out : toI32(out);
    },
  };
}

/** `i<bits>_to_<format>` (value, control). */
function fromInteger(bits: 32 | 64, format: FloatFormat): LibraryFunction {
  const exact = format.name === 'f80';
  return {
    name: `i${bits}_to_${format.name}`,
    params: [bits === 64 ? 'i64' : 'i32', ...(exact ? [] : ['i32' as const])],
    result: format.type,
    body(b, value, control) {
      const wide = bits === 64 ? value : signed(value);
      const sign = b.let(ltS(wide, i64(0)));
      const magnitude = b.let(select(sign, sub(i64(0), wide), wide));
      const shift = b.let(clz(magnitude));
      const out = b.variable(zeroOf(format));
      b.if(
        eqz(magnitude),
        () => b.set(out, packZero(b, format, i32(0))),
        () => {
          const exponent = sub(i32(format.bias + 63), toI32(shift));
          const significand = shl(magnitude, shift);
          b.set(
            out,
            exact
              ? pack(b, format, sign, exponent, significand)
              : b.call(`${format.name}_pack`, sign, exponent, significand, control),
          );
        },
      );
      return out;
    },
  };
}
const signed = (value: Expr): Expr => (value.type === 'i64' ? value : convert(value, 4, 8, true));

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
        () => b.set(out, options.keepsNan ? pack(b, to, x.sign, i32(to.maxExponent), x.significand) : convertNan(b, from, to, x)),
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

/** MXCSR with RC replaced by bits 0–1 of `imm` unless its bit 2 is set. */
const modeFromImmediate = (imm: Expr, mxcsr: Expr): Expr =>
  select(
    and(imm, i32(4)),
    mxcsr,
    or(and(mxcsr, i32(~(3 << mxcsrBits.roundingShift))), shl(and(imm, i32(3)), i32(mxcsrBits.roundingShift))),
  );

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

/** `<format>_round` (value, imm, mxcsr) as ROUNDSS, or for f80 (value, control) as FRNDINT. */
function roundToIntegral(format: FloatFormat): LibraryFunction {
  const extended = format.name === 'f80';
  return {
    name: `${format.name}_round`,
    params: [...valueParams(format), ...(extended ? [] : ['i32' as const]), 'i32'],
    result: format.type,
    body(b, ...args) {
      const last = args[args.length - 1];
      const control = extended ? last : b.let(modeFromImmediate(args[1], last));
      const x = unpack(b, format, args);
      const out = b.variable(zeroOf(format));
      b.if(
        isNan(format, x),
        () => b.set(out, propagateNan(b, format, [x])),
        () => {
          const denormal = normalise(b, format, x, control);
          if (extended) raiseFlags(b, denormal);
          b.if(
            gtS(x.exponent, i32(format.bias + format.precision - 2)),
            () => b.set(out, pack(b, format, x.sign, x.exponent, x.significand)),
            () => {
              const power = b.let(sub(x.exponent, i32(format.bias)));
              const r = toIntegral(b, x.sign, power, x.significand, b.let(roundingMode(format, control)));
              const silent = extended ? i32(0) : and(args[1], i32(8));
              b.if(eqz(silent), () => raiseFlags(b, or(shl(r.inexact, i32(5)), shl(r.up, i32(9)))));
              b.if(
                eqz(r.magnitude),
                () => b.set(out, packZero(b, format, x.sign)),
                () => {
                  const shift = b.let(clz(r.magnitude));
                  const exponent = sub(i32(format.bias + 63), toI32(shift));
                  b.set(out, pack(b, format, x.sign, exponent, b.let(shl(r.magnitude, shift))));
                },
              );
            },
          );
        },
      );
      return out;
    },
  };
}

/** What comparisons return: ZF, PF and CF as COMISS sets them (SDM vol. 2). */
export const relation = { greater: 0, less: 1, equal: 0x40, unordered: 0x45 } as const;

/** `<format>_compare` (a, b, signalling[, mxcsr]). */
function compare(format: FloatFormat): LibraryFunction {
  const width = valueParams(format).length;
  const extended = format.name === 'f80';
  return {
    name: `${format.name}_compare`,
    params: [...valueParams(format), ...valueParams(format), 'i32', ...(extended ? [] : ['i32' as const])],
    result: 'i32',
    body(b, ...args) {
      const x = unpack(b, format, args);
      const y = unpack(b, format, args.slice(width));
      const signalling = args[2 * width];
      const control = extended ? i32(0) : args[2 * width + 1];
      const out = b.variable(i32(relation.unordered));
      b.if(
        or(isNan(format, x), isNan(format, y)),
        () => {
          b.if(signalling, () => raiseFlags(b, i32(exception.invalid)));
          raiseIfSignalling(b, format, [x, y]);
        },
        () => {
          raiseFlags(b, or(normalise(b, format, x, control), normalise(b, format, y, control)));
          b.set(out, finiteRelation(b, x, y));
        },
      );
      return out;
    },
  };
}

/** Relation of two normalised operands that are not NaNs. */
function finiteRelation(b: Builder, x: Parts, y: Parts): Expr {
  const out = b.variable(i32(relation.equal));
  const sameMagnitude = b.let(and(eq(x.exponent, y.exponent), eq(x.significand, y.significand)));
  const bothZero = and(isZero(x), isZero(y));
  b.if(
    or(bothZero, and(sameMagnitude, eq(x.sign, y.sign))),
    () => {},
    () => {
      const smaller = or(
        ltS(x.exponent, y.exponent),
        and(eq(x.exponent, y.exponent), ltU(x.significand, y.significand)),
      );
      // With different signs the negative one is less; with equal negative signs the order is the magnitudes' reversed.
      const less = select(eq(x.sign, y.sign), ne(smaller, x.sign), x.sign);
      b.set(out, less);
    },
  );
  return out;
}

/** A power of two that is enough for FSCALE to take any number out of range. */
const scaleLimit = 0x10000;

/** `f80_scale` (a, b, control): a · 2^trunc(b), FSCALE without its special operands' NaN rules left out. */
const scale: LibraryFunction = {
  name: 'f80_scale',
  params: ['i64', 'i32', 'i64', 'i32', 'i32'],
  result: 'i64',
  body(b, aSignificand, aExponent, bSignificand, bExponent, control) {
    const x = unpack(b, f80, [aSignificand, aExponent]);
    const y = unpack(b, f80, [bSignificand, bExponent]);
    const out = b.variable(i64(0));
    b.if(
      or(isNan(f80, x), isNan(f80, y)),
      () => b.set(out, propagateNan(b, f80, [x, y])),
      () => {
        const denormal = b.let(or(normalise(b, f80, x, control), normalise(b, f80, y, control)));
        b.if(
          isInfinity(f80, y),
          () => b.set(out, scaleByInfinity(b, x, y, denormal)),
          () => {
            raiseFlags(b, denormal);
            b.if(
              isInfinity(f80, x),
              () => b.set(out, packInfinity(b, f80, x.sign)),
              () =>
                b.if(
                  isZero(x),
                  () => b.set(out, packZero(b, f80, x.sign)),
                  () => b.set(out, scaleFinite(b, x, y, control)),
                ),
            );
          },
        );
      },
    );
    return out;
  },
};

/** Scaling by ±∞ (SDM vol. 2, FSCALE, table 3-33). */
function scaleByInfinity(b: Builder, x: Parts, y: Parts, denormal: Expr): Expr {
  const out = b.variable(i64(0));
  const invalid = select(y.sign, isInfinity(f80, x), isZero(x));
  b.if(
    invalid,
    () => b.set(out, packInvalid(b, f80)),
    () => {
      raiseFlags(b, denormal);
      b.if(
        y.sign,
        () => b.set(out, packZero(b, f80, x.sign)),
        () => b.set(out, packInfinity(b, f80, x.sign)),
      );
    },
  );
  return out;
}

function scaleFinite(b: Builder, x: Parts, y: Parts, control: Expr): Expr {
  const power = b.let(sub(y.exponent, i32(f80.bias)));
  const count: Variable = b.variable(i32(0));
  b.if(gtS(power, i32(-1)), () => {
    b.set(count, i32(scaleLimit));
    b.if(leS(power, i32(15)), () => b.set(count, toI32(shrU(y.significand, toI64(sub(i32(63), power))))));
  });
  const exponent = add(x.exponent, select(y.sign, sub(i32(0), count), count));
  // FSCALE rounds to full precision whatever the precision control says.
  return b.call('f80_pack', x.sign, exponent, x.significand, i64(0), or(control, i32(0x300)));
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
  ...[f32, f64].flatMap((format) => [toInteger(format, 32), toInteger(format, 64)]),
  toInteger(f80, 16),
  toInteger(f80, 32),
  toInteger(f80, 64),
  fromInteger(32, f32),
  fromInteger(64, f32),
  fromInteger(64, f64),
  fromInteger(64, f80),
  ...[f32, f64, f80].flatMap((format) => [roundToIntegral(format), compare(format)]),
  scale,
];
