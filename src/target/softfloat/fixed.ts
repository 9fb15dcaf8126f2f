/**
 * 128-bit fixed point and the floating point on top of it, for elementary
 * functions: truncating, not rounding, so that each step costs some units of
 * 2^-126 and a result of 64 bits is off by much less than a unit in its last
 * place.
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  f64,
  gtS,
  i32,
  i64,
  ltU,
  mul,
  ne,
  op,
  or,
  select,
  shl,
  shrS,
  shrU,
  sub,
  toI64,
  xor,
} from '../ir/index.ts';
import { exception, f80, type Parts, raiseFlags } from './format.ts';
import { multiplyWide, normaliseWide, shiftRightWide, type Wide, type WideResult } from './wide.ts';

/** An unsigned number of 128 bits; its scale is the user's business. */
export interface Fixed {
  readonly high: Expr;
  readonly low: Expr;
}

/** (high:low / 2^128) · 2^exponent, bit 127 set unless it is zero. */
export type Precise = Wide & Fixed;

const low64 = (n: bigint): Expr => i64(BigInt.asIntN(64, n));
export const fixedConstant = (n: bigint): Fixed => ({ high: low64(n >> 64n), low: low64(n) });

/** A constant given as numerator / 2^bits, positive. */
export function preciseConstant(numerator: bigint, bits: number): Precise {
  const length = numerator.toString(2).length;
  const value = length > 128 ? numerator >> BigInt(length - 128) : numerator << BigInt(128 - length);
  return { sign: i32(0), exponent: i32(length - bits), ...fixedConstant(value) };
}

/** A normalised operand. */
export const preciseOf = (x: Parts): Precise => ({
  sign: x.sign,
  exponent: sub(x.exponent, i32(f80.bias - 1)),
  high: x.significand,
  low: i64(0),
});

/** Rounds to an 80-bit value of full precision and raises PE, exact or not. */
export function roundPrecise(b: Builder, x: Precise, control: Expr): Expr {
  raiseFlags(b, i32(exception.precision));
  return b.call('f80_pack', x.sign, add(x.exponent, i32(f80.bias - 1)), x.high, x.low, or(control, i32(0x300)));
}

/** The upper half of a product of two 64-bit numbers. */
export function multiplyHigh(b: Builder, x: Expr, y: Expr): Expr {
  const low32 = (e: Expr) => b.let(and(e, i64(0xffffffffn)));
  const high32 = (e: Expr) => b.let(shrU(e, i64(32)));
  const [x0, x1, y0, y1] = [low32(x), high32(x), low32(y), high32(y)];
  const middle = b.let(add(mul(x1, y0), shrU(mul(x0, y0), i64(32))));
  const middle2 = add(mul(x0, y1), low32(middle));
  return b.let(add(mul(x1, y1), add(shrU(middle, i64(32)), shrU(middle2, i64(32)))));
}

export function addFixed(b: Builder, x: Fixed, y: Fixed): Fixed {
  const low = b.let(add(x.low, y.low));
  return { low, high: b.let(add(add(x.high, y.high), toI64(ltU(low, y.low)))) };
}

export function subtractFixed(b: Builder, x: Fixed, y: Fixed): Fixed {
  const borrow = toI64(ltU(x.low, y.low));
  return { low: b.let(sub(x.low, y.low)), high: b.let(sub(sub(x.high, y.high), borrow)) };
}

/** The upper half of a product of two 128-bit numbers; up to 2 too small. */
export function multiplyFixed(b: Builder, x: Fixed, y: Fixed): Fixed {
  const top = multiplyWide(b, x.high, y.high);
  const cross = multiplyHigh(b, x.high, y.low);
  const cross2 = multiplyHigh(b, x.low, y.high);
  const once = addFixed(b, top, { high: i64(0), low: cross });
  return addFixed(b, once, { high: i64(0), low: cross2 });
}

const variables = (b: Builder, x: Precise): WideResult => ({
  sign: b.variable(x.sign),
  exponent: b.variable(x.exponent),
  high: b.variable(x.high),
  low: b.variable(x.low),
});

/** Shifts until bit 127 is set; zero stays zero. */
export function normalised(b: Builder, x: Precise): Precise {
  const out = variables(b, x);
  b.if(ne(or(out.high, out.low), i64(0)), () => normaliseWide(b, out));
  return out;
}

/** The product of numbers that may lack some leading bits. */
export function multiplyPrecise(b: Builder, x: Precise, y: Precise): Precise {
  const product = multiplyFixed(b, x, y);
  return normalised(b, { sign: xor(x.sign, y.sign), exponent: add(x.exponent, y.exponent), ...product });
}

/** 1 / d in units of 2^-126, for d in [½, 1) of units of 2^-128: a binary64 reciprocal and one Newton step, good to 2^-108. */
function reciprocal(b: Builder, d: Fixed): Fixed {
  const estimate = op('f64.div', f64(2 ** 126), op('f64.convert_i64_u', d.high));
  const first = b.let(op('i64.trunc_sat_f64_u', estimate));
  const whole = multiplyWide(b, d.high, first);
  const product = addFixed(b, whole, { high: i64(0), low: multiplyHigh(b, d.low, first) });
  // The error 1 − d · first in units of 2^-126, below 2^77: cut to 64 bits.
  const error = subtractFixed(b, fixedConstant(1n << 126n), product);
  const cut = b.let(or(shl(error.high, i64(51)), shrU(error.low, i64(13))));
  const negative = b.let(shrS(cut, i64(63)));
  const step = b.let(multiplyHigh(b, first, b.let(sub(xor(cut, negative), negative))));
  const correction = { high: b.let(shrU(step, i64(49))), low: b.let(shl(step, i64(15))) };
  return signedAdd(b, { high: first, low: i64(0) }, correction, negative);
}

/** x + y, or x − y where `mask` is all ones. */
export function signedAdd(b: Builder, x: Fixed, y: Fixed, mask: Expr): Fixed {
  const negated = subtractFixed(b, { high: xor(y.high, mask), low: xor(y.low, mask) }, { high: mask, low: mask });
  return addFixed(b, x, negated);
}

/** x / y, y normalised. */
export function dividePrecise(b: Builder, x: Precise, y: Precise): Precise {
  const quotient = multiplyFixed(b, x, reciprocal(b, y));
  return normalised(b, { sign: xor(x.sign, y.sign), exponent: add(sub(x.exponent, y.exponent), i32(2)), ...quotient });
}

/** |x| below 1 in units of 2^-128. */
export function toFraction(b: Builder, x: Precise): Fixed {
  const distance = sub(i32(0), x.exponent);
  return shiftRightWide(b, x, b.let(select(gtS(distance, i32(127)), i32(127), distance)));
}

/** x² of |x| < 1, in units of 2^-128. */
export function squareFraction(b: Builder, x: Precise): Fixed {
  const square = multiplyFixed(b, x, x);
  return toFraction(b, { sign: i32(0), exponent: b.let(shl(x.exponent, i32(1))), ...square });
}

/** 0 or more, at most 2^31, as a number. */
export function preciseFromInteger(b: Builder, sign: Expr, magnitude: Expr): Precise {
  return normalised(b, { sign, exponent: i32(64), high: toI64(magnitude), low: i64(0) });
}
