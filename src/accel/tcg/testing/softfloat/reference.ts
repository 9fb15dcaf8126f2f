/**
 * Elementary functions on exact binary numbers, to more than the 64 bits of an
 * x87 significand: integers as fixed point, power series. Results carry about
 * 128 correct bits, so that rounding them once is within one unit in the last
 * place of the true value (mostly correct rounding).
 */

/** ±mantissa · 2^exponent, mantissa > 0. */
export interface Real {
  readonly negative: boolean;
  readonly mantissa: bigint;
  readonly exponent: number;
}

/** Correct bits that a result should have. */
const precision = 96;

/** π and ln 2 in fixed point, `constantBits` behind the point. */
const constantBits = 384;
export const pi =
  0x3_243f6a88_85a308d3_13198a2e_03707344_a4093822_299f31d0_082efa98_ec4e6c89_452821e6_38d01377_be5466cf_34e90c6cn;
export const ln2 =
  0xb17217f7_d1cf79ab_c9e3b398_03f2f6af_40f34326_7298b62d_8a0d175b_8baafa2b_e7b87620_6debac98_559552fb_4afa1b10n;

export function bitLength(n: bigint): number {
  const text = n.toString(16);
  return (text.length - 1) * 4 + (32 - Math.clz32(Number.parseInt(text[0], 16)));
}

const magnitude = (n: bigint): bigint => (n < 0n ? -n : n);
/** The position of the top bit: the number is in [2^p, 2^(p+1)). */
const power = (x: Real): number => x.exponent + bitLength(x.mantissa) - 1;
const real = (fixed: bigint, bits: number): Real => ({
  negative: fixed < 0n,
  mantissa: magnitude(fixed),
  exponent: -bits,
});
const negate = (x: Real, negative: boolean): Real => (negative ? { ...x, negative: !x.negative } : x);

/** `x` in fixed point with `bits` behind the point, truncated toward zero. */
function toFixed(x: Real, bits: number): bigint {
  const shift = bits + x.exponent;
  const value = shift >= 0 ? x.mantissa << BigInt(shift) : x.mantissa >> BigInt(-shift);
  return x.negative ? -value : value;
}
const constant = (value: bigint, bits: number): bigint => value >> BigInt(constantBits - bits);

/** x a little changed: by less than any rounding shows, but not exact any more. Direction 1 away from zero, -1 towards it. */
function nudge(x: Real, direction: 1 | -1): Real {
  const more = BigInt(precision);
  return { negative: x.negative, mantissa: (x.mantissa << more) + BigInt(direction), exponent: x.exponent - precision };
}

export function multiply(x: Real, y: Real): Real {
  return { negative: x.negative !== y.negative, mantissa: x.mantissa * y.mantissa, exponent: x.exponent + y.exponent };
}

/** To `precision` bits; never exact unless it divides. */
function divide(x: Real, y: Real): Real {
  const shift = BigInt(precision + Math.max(0, bitLength(y.mantissa) - bitLength(x.mantissa)));
  const numerator = x.mantissa << shift;
  const quotient = numerator / y.mantissa;
  const rest = numerator - quotient * y.mantissa === 0n ? 0n : 1n;
  return {
    negative: x.negative !== y.negative,
    mantissa: (quotient << 1n) | rest,
    exponent: x.exponent - y.exponent - Number(shift) - 1,
  };
}

/** Numbers this small are their own sine, tangent and arctangent but for a nudge: x³ lies below the bits that count. */
const tinyPower = -50;

// ---- sine, cosine, tangent ----

/** sin and cos of r, fixed point with `bits`, |r| < 1. */
function sineSeries(r: bigint, bits: number, cosine: boolean): bigint {
  const shift = BigInt(bits);
  const square = (r * r) >> shift;
  let term = cosine ? 1n << shift : r;
  let sum = term;
  for (let k = cosine ? 1n : 2n; term !== 0n; k += 2n) {
    term = -((term * square) >> shift) / (k * (k + 1n));
    if (term === -1n) term = 0n;
    sum += term;
  }
  return sum;
}

/** The x87's own π/2: 66 bits of π (SDM vol. 1, 8.3.8); 65 of them behind the point here. */
const reductionBits = 65;
const halfPi = pi >> BigInt(constantBits - reductionBits + 1);

/** x as a multiple of that π/2 and an exact rest of at most half of it. Below 2^63. */
function reduce(x: Real): { quadrant: number; rest: bigint; bits: number } {
  // Below 2^-65 nothing is left to reduce, and truncation would lose bits.
  const own = Math.max(reductionBits, -x.exponent);
  const half = halfPi << BigInt(own - reductionBits);
  const fixed = toFixed({ ...x, negative: false }, own);
  const quotient = (2n * fixed + half) / (2n * half);
  const rest = fixed - quotient * half;
  const bits = Math.max(own, own + precision - (rest === 0n ? 0 : bitLength(magnitude(rest))));
  return { quadrant: Number(quotient & 3n), rest: rest << BigInt(bits - own), bits };
}

/** sin x, x not zero and below 2^63. */
export function sine(x: Real): Real {
  if (power(x) < tinyPower) return nudge(x, -1);
  const { quadrant, rest, bits } = reduce(x);
  const value = sineSeries(rest, bits, (quadrant & 1) !== 0);
  return negate(real(quadrant & 2 ? -value : value, bits), x.negative);
}

export function cosine(x: Real): Real {
  if (power(x) < tinyPower) return nudge({ negative: false, mantissa: 1n, exponent: 0 }, -1);
  const { quadrant, rest, bits } = reduce(x);
  const value = sineSeries(rest, bits, (quadrant & 1) === 0);
  return real(quadrant === 1 || quadrant === 2 ? -value : value, bits);
}

export function tangent(x: Real): Real {
  if (power(x) < tinyPower) return nudge(x, 1);
  return divide(sine(x), cosine(x));
}

// ---- arctangent of a quotient ----

/** Fixed-point square root. */
function squareRoot(x: bigint, bits: number): bigint {
  const n = x << BigInt(bits);
  let root = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** atan of a fixed-point number in [0, 1]: the argument is halved three times, then the series. */
function arctangentSeries(t: bigint, bits: number): bigint {
  const shift = BigInt(bits);
  const one = 1n << shift;
  let x = t;
  for (let i = 0; i < 3; i++) x = (x << shift) / (one + squareRoot(one + ((x * x) >> shift), bits));
  const square = (x * x) >> shift;
  let term = x;
  let sum = x;
  for (let k = 3n; term !== 0n; k += 2n) {
    term = -((term * square) >> shift);
    if (term === -1n) term = 0n;
    sum += term / k;
  }
  return sum << 3n;
}

/** The angle of the point (x, y), between -π and π; neither is zero. */
export function arctangent(y: Real, x: Real): Real {
  const steep = magnitudeLess(x, y);
  const quotient = steep ? divide(x, y) : divide(y, x);
  const small = power(quotient);
  const angle = firstOctant({ ...quotient, negative: false }, small);
  const bits = angle.bits;
  const straight = constant(pi, bits);
  let value = angle.value;
  if (!steep && !x.negative)
    return small < tinyPower
      ? { ...nudge(quotient, -1), negative: y.negative }
      : { ...real(value, bits), negative: y.negative };
  if (steep) value = x.negative ? (straight >> 1n) + value : (straight >> 1n) - value;
  else value = straight - value;
  return { ...real(value, bits), negative: y.negative };
}

function firstOctant(quotient: Real, small: number): { value: bigint; bits: number } {
  const bits = Math.min(constantBits, precision + Math.min(-small, -tinyPower) + 8);
  return { value: small < tinyPower ? toFixed(quotient, bits) : arctangentSeries(toFixed(quotient, bits), bits), bits };
}

function magnitudeLess(x: Real, y: Real): boolean {
  const difference = power(x) - power(y);
  if (difference !== 0) return difference < 0;
  const shift = x.exponent - y.exponent;
  return shift >= 0 ? x.mantissa << BigInt(shift) < y.mantissa : x.mantissa < y.mantissa << BigInt(-shift);
}

// ---- powers of two and logarithms ----

/** 2^x − 1 for |x| < 1, x not zero. */
export function powerOfTwoLess1(x: Real): Real {
  const small = power(x);
  const scaled = multiply(x, { negative: false, mantissa: ln2, exponent: -constantBits });
  if (small < -2 * precision) return nudge(scaled, x.negative ? -1 : 1);
  const bits = precision + 8 - small;
  const shift = BigInt(bits);
  const y = toFixed(scaled, bits);
  let term = y;
  let sum = y;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = ((term * y) >> shift) / k;
    sum += term;
  }
  return real(sum, bits);
}

/** log2 of 1 + t for t = numerator / denominator given as ln((1 + s) / (1 − s)), s = t / (2 + t): twice the series of artanh. */
function logarithmSeries(s: bigint, bits: number): Real {
  const shift = BigInt(bits);
  const square = (s * s) >> shift;
  let term = s;
  let sum = s;
  for (let k = 3n; term !== 0n && term !== -1n; k += 2n) {
    term = (term * square) >> shift;
    sum += term / k;
  }
  return divide(real(2n * sum, bits), { negative: false, mantissa: constant(ln2, bits), exponent: -bits });
}

/** log2 x for x > 0; undefined for 1, whose logarithm is zero. */
export function logarithm(x: Real): Real | undefined {
  // x = m · 2^k with m between √½ and √2.
  const length = bitLength(x.mantissa);
  const isUpper = (x.mantissa * x.mantissa) >> BigInt(2 * length - 1) !== 0n;
  const scale = isUpper ? length : length - 1;
  const k = x.exponent + scale;
  const one = 1n << BigInt(scale);
  const whole = k === 0 ? undefined : { negative: k < 0, mantissa: BigInt(Math.abs(k)), exponent: 0 };
  const difference = x.mantissa - one;
  if (difference === 0n) return whole;
  const bits = precision + 72;
  const fraction = logarithmSeries((difference << BigInt(bits)) / (x.mantissa + one), bits);
  if (!whole) return fraction;
  return real(toFixed(whole, bits) + toFixed(fraction, bits), bits);
}

/** log2(1 + x) for −1 < x, x not zero. */
export function logarithmOfNext(x: Real): Real {
  const small = power(x);
  if (small < -precision)
    return nudge(divide(x, { negative: false, mantissa: ln2, exponent: -constantBits }), x.negative ? 1 : -1);
  if (small >= -1) {
    const bits = Math.max(0, -x.exponent);
    return logarithm({ negative: false, mantissa: (1n << BigInt(bits)) + toFixed(x, bits), exponent: -bits }) as Real;
  }
  const bits = precision + 8 - small;
  const fixed = toFixed(x, bits);
  return logarithmSeries((fixed << BigInt(bits)) / ((2n << BigInt(bits)) + fixed), bits);
}
