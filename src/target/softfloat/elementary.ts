/**
 * Elementary functions of numbers that are neither zero nor special, to about
 * 90 bits (SDM vol. 1, 8.3.7): argument reduction, a power series, and the way
 * back.
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  geS,
  geU,
  gtS,
  i32,
  i64,
  leS,
  ltS,
  ltU,
  mul,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
  type Variable,
  xor,
} from '../ir/index.ts';
import {
  addFixed,
  dividePrecise,
  type Fixed,
  fixedConstant,
  multiplyHigh,
  multiplyPrecise,
  normalised,
  type Precise,
  preciseConstant,
  preciseFromInteger,
  squareFraction,
  subtractFixed,
  toFraction,
} from './fixed.ts';
import {
  arctangentSeries,
  artanhSeries,
  cosineSeries,
  exponentialSeries,
  type Series,
  sineSeries,
  sumSeries,
} from './series.ts';
import { addWide, multiplyWide } from './wide.ts';

const allOnes = i64(-1);
const none = i64(0);

/** π and ln 2 with 160 bits behind the point. */
const pi = 0x3_243f6a88_85a308d3_13198a2e_03707344_a4093822n;
const ln2 = 0xb17217f7_d1cf79ab_c9e3b398_03f2f6af_40f34326n;
const constantBits = 160;
export const preciseLn2: Precise = preciseConstant(ln2, constantBits);
const twoOverLn2: Precise = preciseConstant((2n << BigInt(2 * constantBits)) / ln2, constantBits);
/** π · numerator / 2^shift. */
export const piTimes = (numerator: bigint, shift: number): Precise =>
  preciseConstant(pi * numerator, constantBits + shift);

const assign = (b: Builder, to: Record<'sign' | 'exponent' | 'high' | 'low', Variable>, from: Precise): void => {
  b.set(to.sign, from.sign);
  b.set(to.exponent, from.exponent);
  b.set(to.high, from.high);
  b.set(to.low, from.low);
};
const newPrecise = (b: Builder) => ({
  sign: b.variable(i32(0)),
  exponent: b.variable(i32(0)),
  high: b.variable(i64(0)),
  low: b.variable(i64(0)),
});
/** A sum of a series as a number. */
const fromSeries = (sum: Fixed): Precise => ({ sign: i32(0), exponent: i32(1), ...sum });
/** x · Σ of an even function's series. */
const timesEven = (b: Builder, x: Precise, series: Series, sign: Expr): Precise =>
  multiplyPrecise(b, x, fromSeries(sumSeries(b, series, squareFraction(b, x), sign)));

// ---- sine, cosine, tangent ----

/** The x87's own π/2 (SDM vol. 1, 8.3.8), 66 bits, in units of 2^-65; and 2/π in units of 2^-64. */
const halfPi: Fixed = fixedConstant(0x3_243f6a88_85a308d3n);
const twoOverPi = i64(0xa2f9836e_4e441529n);

/** x below 2^63 as quadrant · π/2 + rest, |rest| at most about π/4. */
export function reduceAngle(b: Builder, x: Precise): { quadrant: Variable; rest: Precise } {
  const quadrant = b.variable(i64(0));
  const rest = newPrecise(b);
  assign(b, rest, x);
  b.if(geS(x.exponent, i32(0)), () => {
    // x is high · 2^(exponent - 64), exponent 0 to 63; in units of 2^-65 it is high << (exponent + 1).
    const shift = b.let(toI64(add(x.exponent, i32(1))));
    const angle: Fixed = {
      low: b.let(select(eq(shift, i64(64)), i64(0), shl(x.high, shift))),
      high: b.let(select(eq(shift, i64(64)), x.high, shrU(x.high, sub(i64(64), shift)))),
    };
    const turns = multiplyHigh(b, x.high, twoOverPi);
    b.set(quadrant, shrU(add(shrU(turns, sub(i64(63), toI64(x.exponent))), i64(1)), i64(1)));
    const whole = multiplyWide(b, quadrant, halfPi.low);
    const multiple: Fixed = { low: whole.low, high: b.let(add(whole.high, mul(quadrant, halfPi.high))) };
    setSigned(b, rest, subtractFixed(b, angle, multiple));
    correctQuadrant(b, rest, quadrant);
    const size = normalised(b, { sign: xor(rest.sign, x.sign), exponent: i32(63), high: rest.high, low: rest.low });
    assign(b, rest, size);
    b.if(x.sign, () => b.set(quadrant, sub(i64(0), quadrant)));
  });
  return { quadrant, rest };
}

/** Takes a signed 128-bit number apart. */
function setSigned(b: Builder, to: Record<'sign' | 'high' | 'low', Variable>, value: Fixed): void {
  b.set(to.sign, ltS(value.high, i64(0)));
  const size = subtractFixed(b, { high: i64(0), low: i64(0) }, value);
  b.set(to.high, select(to.sign, size.high, value.high));
  b.set(to.low, select(to.sign, size.low, value.low));
}

/**
 * The estimate of the quotient may be one off. The nearest multiple counts: another would do as well were it π, but
 * this is the x87's.
 */
function correctQuadrant(b: Builder, rest: Record<'sign' | 'high' | 'low', Variable>, quadrant: Variable): void {
  const high = b.let(or(shl(rest.high, i64(1)), shrU(rest.low, i64(63))));
  const above = or(ltU(halfPi.high, high), and(eq(high, halfPi.high), ltU(halfPi.low, shl(rest.low, i64(1)))));
  b.if(above, () => {
    b.set(quadrant, add(quadrant, select(rest.sign, i64(-1), i64(1))));
    const wasNegative = b.let(rest.sign);
    setSigned(b, rest, subtractFixed(b, rest, halfPi));
    b.set(rest.sign, xor(rest.sign, wasNegative));
  });
}

const sineOf = (b: Builder, rest: Precise): Precise => timesEven(b, rest, sineSeries, allOnes);
const cosineOf = (b: Builder, rest: Precise): Precise =>
  normalised(b, fromSeries(sumSeries(b, cosineSeries, squareFraction(b, rest), allOnes)));

/** sin x, or with `offset` 1 cos x = sin (x + π/2). */
export function sine(b: Builder, x: Precise, offset: 0 | 1): Precise {
  const { quadrant, rest } = reduceAngle(b, x);
  const turned = b.let(toI32(add(quadrant, i64(offset))));
  const out = newPrecise(b);
  b.if(
    and(turned, i32(1)),
    () => assign(b, out, cosineOf(b, rest)),
    () => assign(b, out, sineOf(b, rest)),
  );
  b.set(out.sign, xor(out.sign, and(shrU(turned, i32(1)), i32(1))));
  return out;
}

export function tangent(b: Builder, x: Precise): Precise {
  const { quadrant, rest } = reduceAngle(b, x);
  const s = sineOf(b, rest);
  const c = cosineOf(b, rest);
  const odd = b.let(and(toI32(quadrant), i32(1)));
  const pick = (one: Precise, other: Precise): Precise => ({
    sign: b.let(select(odd, other.sign, one.sign)),
    exponent: b.let(select(odd, other.exponent, one.exponent)),
    high: b.let(select(odd, other.high, one.high)),
    low: b.let(select(odd, other.low, one.low)),
  });
  const quotient = dividePrecise(b, pick(s, c), pick(c, s));
  return { ...quotient, sign: xor(quotient.sign, odd) };
}

// ---- arctangent ----

/** Angles of the slopes 0, ¼, ½, ¾ and 1; zero with an exponent that aligns away. */
const slopes: readonly Precise[] = [
  { sign: i32(0), exponent: i32(-0x10000), high: i64(0), low: i64(0) },
  ...[
    0x3eb6ebf2_5901bac5_5b71e7bd_7de885f9_6a9fea40n,
    0x76b19c15_86ed3da2_b7f222f6_5e1d4681_b70a0ac3n,
    0xa4bc7d19_34f70924_19a87f2a_457dac9e_e3f08689n,
    0xc90fdaa2_2168c234_c4c6628b_80dc1cd1_29024e08n,
  ].map((n) => preciseConstant(n, constantBits)),
];

function chooseConstant(b: Builder, index: Expr, values: readonly Precise[]): Precise {
  const pick = (part: (x: Precise) => Expr): Expr =>
    values.slice(1).reduce((rest, v, i) => b.let(select(eq(index, i32(i + 1)), part(v), rest)), part(values[0]));
  return { sign: i32(0), exponent: pick((v) => v.exponent), high: pick((v) => v.high), low: pick((v) => v.low) };
}

/** The angle of the point (x, y); both have significands of 64 bits. */
export function arctangent(b: Builder, y: Precise, x: Precise): Precise {
  const steep = b.let(or(gtS(y.exponent, x.exponent), and(eq(y.exponent, x.exponent), ltU(x.high, y.high))));
  const far = { exponent: b.let(select(steep, y.exponent, x.exponent)), high: b.let(select(steep, y.high, x.high)) };
  const near = { exponent: b.let(select(steep, x.exponent, y.exponent)), high: b.let(select(steep, x.high, y.high)) };
  const octant = firstOctant(b, near, far);

  const angle = newPrecise(b);
  assign(b, angle, octant);
  b.if(or(steep, x.sign), () => {
    const straight = preciseConstant(pi, constantBits);
    // π/2 ∓ angle where steep, else π − angle.
    const base: Precise = { ...straight, exponent: b.let(sub(straight.exponent, steep)) };
    const sign = xor(octant.sign, select(and(steep, x.sign), i32(0), i32(1)));
    assign(b, angle, addWide(b, base, { ...octant, sign: b.let(sign) }, i32(0)));
  });
  return { ...angle, sign: y.sign };
}

type Size = Pick<Precise, 'exponent' | 'high'>;

/** atan (near / far), near <= far: atan j/4 + atan ((4 near − j far) / (4 far + j near)) with the nearest j. */
function firstOctant(b: Builder, near: Size, far: Size): Precise {
  const index = b.variable(i32(0));
  const numerator = newPrecise(b);
  const denominator = newPrecise(b);
  assign(b, numerator, { sign: i32(0), ...near, low: i64(0) });
  assign(b, denominator, { sign: i32(0), ...far, low: i64(0) });
  const distance = b.let(sub(far.exponent, near.exponent));
  b.if(leS(distance, i32(4)), () => {
    const n = b.let(shrU(near.high, toI64(add(distance, i32(1)))));
    const m = b.let(shrU(far.high, i64(4)));
    const reaches = (odd: number) => geU(n, mul(m, i64(odd)));
    b.set(index, [1, 3, 5, 7].map(reaches).reduce(add));
    const j = b.let(toI64(index));
    // Both in the scale of far, moved down by 4 bits for room.
    const nearWide = rightShifted(b, near.high, add(toI64(distance), i64(4)));
    const farWide = rightShifted(b, far.high, i64(4));
    const top = subtractFixed(b, fourTimes(b, nearWide), times(b, farWide, j));
    const bottom = addFixed(b, fourTimes(b, farWide), times(b, nearWide, j));
    const signed = newPrecise(b);
    setSigned(b, signed, top);
    assign(b, numerator, normalised(b, { ...signed, exponent: i32(0) }));
    assign(b, denominator, normalised(b, { sign: i32(0), exponent: i32(0), ...bottom }));
  });
  const tangent = dividePrecise(b, numerator, denominator);
  const rest = timesEven(b, tangent, arctangentSeries, allOnes);
  return sumOrSecond(b, chooseConstant(b, index, slopes), rest);
}

/** x + y, where y may be zero (and x then is not). */
function sumOrSecond(b: Builder, x: Precise, y: Precise): Precise {
  const exponent = b.let(select(ne(or(y.high, y.low), i64(0)), y.exponent, i32(-0x10000)));
  return addWide(b, x, { ...y, exponent }, i32(0));
}

/** high · 2^64 >> count, count 1 to 63. */
const rightShifted = (b: Builder, high: Expr, count: Expr): Fixed => ({
  high: b.let(shrU(high, count)),
  low: b.let(shl(high, sub(i64(64), count))),
});
const fourTimes = (b: Builder, x: Fixed): Fixed => ({
  high: b.let(or(shl(x.high, i64(2)), shrU(x.low, i64(62)))),
  low: b.let(shl(x.low, i64(2))),
});
/** x · j for a small j. */
function times(b: Builder, x: Fixed, j: Expr): Fixed {
  const low = multiplyWide(b, x.low, j);
  return { high: b.let(add(mul(x.high, j), low.high)), low: low.low };
}

// ---- powers of two and logarithms ----

/** 2^x − 1 for |x| < 1. */
export function powerOfTwoLess1(b: Builder, x: Precise): Precise {
  const y = multiplyPrecise(b, x, preciseLn2);
  const mask = b.let(sub(i64(0), toI64(x.sign)));
  const series = sumSeries(b, exponentialSeries, toFraction(b, y), mask);
  return multiplyPrecise(b, y, fromSeries(series));
}

/** log2 ((1 + s) / (1 − s)) for s = numerator / denominator. */
const logarithmOfRatio = (b: Builder, numerator: Precise, denominator: Precise): Precise =>
  multiplyPrecise(b, timesEven(b, dividePrecise(b, numerator, denominator), artanhSeries, none), twoOverLn2);

const one: Precise = preciseConstant(1n, 0);
const two: Precise = preciseConstant(2n, 0);
/** √½ in units of 2^-64. */
const rootOfHalf = i64(0xb504f333_f9de6484n);

/** log2 x, x > 0; zero (high = low = 0) for 1. */
export function logarithm(b: Builder, x: Precise): Precise {
  // x = m · 2^k with m from √½ to √2.
  const upper = b.let(geU(x.high, rootOfHalf));
  const k = b.let(sub(x.exponent, sub(i32(1), upper)));
  const m: Precise = { sign: i32(0), exponent: b.let(sub(i32(1), upper)), high: x.high, low: x.low };
  const numerator = addWide(b, m, { ...one, sign: i32(1) }, i32(0));
  const out = newPrecise(b);
  const whole = preciseFromInteger(b, b.let(ltS(k, i32(0))), b.let(select(ltS(k, i32(0)), sub(i32(0), k), k)));
  assign(b, out, whole);
  b.if(ne(or(numerator.high, numerator.low), i64(0)), () => {
    const fraction = logarithmOfRatio(b, numerator, addWide(b, m, one, i32(0)));
    b.if(
      k,
      () => assign(b, out, addWide(b, whole, fraction, i32(0))),
      () => assign(b, out, fraction),
    );
  });
  return out;
}

/** log2 (1 + x), x > −1. */
export function logarithmOfNext(b: Builder, x: Precise): Precise {
  const out = newPrecise(b);
  b.if(
    leS(x.exponent, i32(-2)),
    () => assign(b, out, logarithmOfRatio(b, x, addWide(b, two, x, i32(0)))),
    () => assign(b, out, logarithm(b, addWide(b, one, x, i32(0)))),
  );
  return out;
}
