/** Conversions from and to integers, and rounding to an integral value. */
import {
  add,
  and,
  type Builder,
  clz,
  convert,
  type Expr,
  eq,
  eqz,
  gtS,
  i32,
  i64,
  type LibraryFunction,
  leS,
  leU,
  ltS,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
} from '../ir/index.ts';
import {
  exception,
  type FloatFormat,
  f32,
  f64,
  f80,
  incrementFor,
  isNan,
  modeFromImmediate,
  normalise,
  pack,
  packZero,
  propagateNan,
  raiseFlags,
  roundingMode,
  unpack,
  valueParams,
  zeroOf,
} from './format.ts';

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

export const integerFunctions: readonly LibraryFunction[] = [
  ...[f32, f64].flatMap((format) => [toInteger(format, 32), toInteger(format, 64)]),
  toInteger(f80, 16),
  toInteger(f80, 32),
  toInteger(f80, 64),
  fromInteger(32, f32),
  fromInteger(64, f32),
  fromInteger(64, f64),
  fromInteger(64, f80),
  ...[f32, f64, f80].map(roundToIntegral),
];
