/** Power series in fixed point: the kernels of the elementary functions. */
import { add, type Builder, type Expr, i64, shl, shrU, sub, xor } from '../ir/index.ts';
import { addFixed, type Fixed, fixedConstant, multiplyFixed, multiplyHigh, signedAdd, subtractFixed } from './fixed.ts';

/** Σ ± w^k / divisor(k). */
export interface Series {
  /** log2 of the largest w. */
  readonly largest: number;
  divisor(k: bigint): bigint;
}

function factorial(n: bigint): bigint {
  let product = 1n;
  for (let i = 2n; i <= n; i++) product *= i;
  return product;
}

const log2 = (n: bigint): number => Math.log2(Number(n));

/** sin r / r in w = r², |r| at most π/4. */
export const sineSeries: Series = { largest: -0.69, divisor: (k) => factorial(2n * k + 1n) };
export const cosineSeries: Series = { largest: -0.69, divisor: (k) => factorial(2n * k) };
/** atan t / t in t², |t| <= 1/8. */
export const arctangentSeries: Series = { largest: -6, divisor: (k) => 2n * k + 1n };
/** artanh s / s in s², |s| <= (√2 − 1) / (√2 + 1). */
export const artanhSeries: Series = { largest: -5.08, divisor: (k) => 2n * k + 1n };
/** (e^y − 1) / y in y, |y| <= ln 2. */
export const exponentialSeries: Series = { largest: -0.52, divisor: (k) => factorial(k + 1n) };

/** Bits that the sum is good to, and those that a term needs for 64-bit arithmetic to suffice for it and all behind it. */
const wantedBits = 92;
const narrowBits = 28;

/** How many terms are below 2^bits, the first included. */
function termsAbove(series: Series, bits: number): number {
  let k = 0;
  while (k * series.largest - log2(series.divisor(BigInt(k))) > -bits) k++;
  return k;
}

/**
 * The sum in units of 2^-127, for w in units of 2^-128, by Horner's rule. `sign` is the mask that alternates the
 * terms: all ones where w stands for a negative argument. Terms that start below 2^-28 are added in 64 bits, each
 * scaled by its own power of two.
 */
export function sumSeries(b: Builder, series: Series, w: Fixed, sign: Expr): Fixed {
  const count = termsAbove(series, wantedBits);
  const wide = termsAbove(series, narrowBits);
  const scale = (k: number): number => Math.floor(log2(series.divisor(BigInt(k))));
  /** 1 / divisor in units of 2^-(62 + scale): 62 or 63 bits. */
  const narrow = (k: number): bigint => (1n << BigInt(62 + scale(k))) / series.divisor(BigInt(k));
  const negate = (e: Expr): Expr => sub(xor(e, sign), sign);
  const combine = (x: Fixed, y: Fixed): Fixed => {
    if (sign.kind !== 'const') return signedAdd(b, x, y, sign);
    return sign.value ? subtractFixed(b, x, y) : addFixed(b, x, y);
  };

  let sum: Expr = i64(narrow(count - 1));
  for (let k = count - 2; k >= wide; k--) {
    const product = shrU(multiplyHigh(b, w.high, sum), i64(scale(k + 1) - scale(k)));
    sum = b.let(add(i64(narrow(k)), negate(b.let(product))));
  }
  const shift = scale(wide) - 1;
  let total: Fixed =
    shift <= 0
      ? { high: b.let(shl(sum, i64(-shift))), low: i64(0) }
      : { high: b.let(shrU(sum, i64(shift))), low: b.let(shl(sum, i64(64 - shift))) };
  for (let k = wide - 1; k >= 0; k--) {
    // The first term of an alternating sum stays below 1, so that nothing is ever as large as it is exact.
    const term = k === 0 ? (1n << 127n) - 1n : (1n << 127n) / series.divisor(BigInt(k));
    total = combine(fixedConstant(term), multiplyFixed(b, w, total));
  }
  return total;
}
