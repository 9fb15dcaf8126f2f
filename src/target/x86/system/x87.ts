/**
 * The helper behind the x87's transcendental instructions (SDM vol. 1, 8.3.7;
 * operands and special cases: vol. 2, F2XM1 to FYL2XP1). It reads ST(0) and
 * ST(1); the caller has looked for empty registers and rounds and stores.
 */
import { arg, floatFlags, fprExponent, fprSignificand, fpuTop } from '../state.ts';
import { x87Answer, x87Operation } from '../x87-operations.ts';
import { type HelperResult, outcome, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import {
  arctangent,
  bitLength,
  cosine,
  logarithm,
  logarithmOfNext,
  multiply,
  pi,
  powerOfTwoLess1,
  type Real,
  sine,
  tangent,
} from './transcendental.ts';

const invalid = 1;
const denormal = 2;
const zeroDivide = 4;
const inexact = 32;

const maxExponent = 0x7fff;
const bias = 0x3fff;
const integerBit = 1n << 63n;
const quietBit = 1n << 62n;

interface Operand {
  readonly kind: 'zero' | 'finite' | 'infinity' | 'nan' | 'unsupported';
  readonly negative: boolean;
  readonly denormal: boolean;
  readonly significand: bigint;
  /** Of a finite operand. */
  readonly value: Real;
}

/** What an instruction computes: a number to be rounded, an exact value, or nothing because the operand is too large. */
type Result =
  | { readonly kind: 'number'; readonly value: Real; readonly flags: number }
  | { readonly kind: 'exact'; readonly significand: bigint; readonly exponent: number; readonly flags: number }
  | { readonly kind: 'tooLarge' };

function operand(cpu: X86State, i: number): Operand {
  const register = (cpu.get(fpuTop) + i) & 7;
  const significand = cpu.getBig(fprSignificand[register]);
  const signAndExponent = cpu.get(fprExponent[register]);
  const exponent = signAndExponent & maxExponent;
  const negative = (signAndExponent & 0x8000) !== 0;
  const value = { negative, mantissa: significand, exponent: Math.max(exponent, 1) - bias - 63 };
  return {
    kind: kindOf(exponent, significand),
    negative,
    denormal: exponent === 0 && significand !== 0n,
    significand,
    value,
  };
}

function kindOf(exponent: number, significand: bigint): Operand['kind'] {
  if (exponent !== 0 && significand < integerBit) return 'unsupported';
  if (exponent === maxExponent) return significand === integerBit ? 'infinity' : 'nan';
  return significand === 0n ? 'zero' : 'finite';
}

const exact = (negative: boolean, exponent: number, significand: bigint, flags = 0): Result => ({
  kind: 'exact',
  significand,
  exponent: exponent | (negative ? 0x8000 : 0),
  flags,
});
const zero = (negative: boolean, flags = 0): Result => exact(negative, 0, 0n, flags);
const infinity = (negative: boolean, flags = 0): Result => exact(negative, maxExponent, integerBit, flags);
const one = (negative: boolean, flags = 0): Result => exact(negative, bias, integerBit, flags);
const indefinite = (): Result => exact(true, maxExponent, integerBit | quietBit, invalid);
/** CPUs raise PE for all of these, even where the result happens to be exact. */
const number = (value: Real, flags: number): Result => ({ kind: 'number', value, flags: flags | inexact });

const denormalFlag = (...operands: Operand[]): number => (operands.some((o) => o.denormal) ? denormal : 0);
const isSignalling = (x: Operand): boolean => x.kind === 'nan' && (x.significand & quietBit) === 0n;

/** The answer where an operand is a NaN or unsupported (SDM vol. 1, table 4-7). */
function nanResult(operands: readonly Operand[]): Result | undefined {
  if (operands.some((o) => o.kind === 'unsupported')) return indefinite();
  const nans = operands.filter((o) => o.kind === 'nan');
  if (nans.length === 0) return undefined;
  const flags = nans.some(isSignalling) ? invalid : 0;
  const rank = (o: Operand): bigint =>
    (isSignalling(o) ? 0n : 1n << 66n) + (o.significand << 1n) + (o.negative ? 0n : 1n);
  const best = nans.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  return exact(best.negative, maxExponent, best.significand | quietBit, flags);
}

/** FSIN, FCOS and FPTAN take numbers below 2^63. */
const isTooLarge = (x: Operand): boolean => x.value.exponent >= 0;

function trigonometric(f: (x: Real) => Real, ofZero: (negative: boolean) => Result): (x: Operand) => Result {
  return (x) => {
    if (x.kind === 'infinity') return indefinite();
    if (x.kind === 'zero') return ofZero(x.negative);
    if (isTooLarge(x)) return { kind: 'tooLarge' };
    return number(f(x.value), denormalFlag(x));
  };
}

/** Whether |x| >= 1. */
const reachesOne = (x: Operand): boolean => x.value.exponent >= -63 && x.value.mantissa >= integerBit;

/** F2XM1; the manual leaves |ST(0)| > 1 undefined: such an operand stays as it is. */
function f2xm1(x: Operand): Result {
  if (x.kind === 'zero') return zero(x.negative);
  if (x.kind === 'infinity') return x.negative ? one(true) : infinity(false);
  if (!reachesOne(x)) return number(powerOfTwoLess1(x.value), denormalFlag(x));
  const isOne = x.value.exponent === -63 && x.significand === integerBit;
  if (isOne) return x.negative ? exact(true, bias - 1, integerBit, inexact) : one(false, inexact);
  return number(x.value, 0);
}

/** FYL2X: y · log2 x. */
function fyl2x(x: Operand, y: Operand): Result {
  if (x.kind === 'zero') {
    if (y.kind === 'zero') return indefinite();
    return infinity(!y.negative, y.kind === 'infinity' ? 0 : zeroDivide);
  }
  if (x.negative) return indefinite();
  if (x.kind === 'infinity') return y.kind === 'zero' ? indefinite() : infinity(y.negative, denormalFlag(y));
  return timesLogarithm(x, y, logarithm(x.value), false);
}

/** FYL2XP1: y · log2(x + 1); where x <= −1 it has no value. */
function fyl2xp1(x: Operand, y: Operand): Result {
  if (x.negative && x.kind === 'infinity') return indefinite();
  if (x.negative && x.kind === 'finite' && reachesOne(x)) return withoutLogarithm(x, y);
  if (x.kind === 'infinity') return y.kind === 'zero' ? indefinite() : infinity(y.negative, denormalFlag(y));
  if (x.kind === 'zero') return y.kind === 'infinity' ? indefinite() : zero(x.negative !== y.negative, denormalFlag(y));
  return timesLogarithm(x, y, logarithmOfNext(x.value), x.negative);
}

/** What the CPU gives where x <= −1. */
function withoutLogarithm(x: Operand, y: Operand): Result {
  if (y.kind === 'zero') return zero(!y.negative);
  return y.kind === 'infinity' ? infinity(!y.negative) : number(x.value, denormalFlag(y));
}

/** `log` is undefined when it is zero, of sign `zeroNegative`. */
function timesLogarithm(x: Operand, y: Operand, log: Real | undefined, zeroNegative: boolean): Result {
  const flags = denormalFlag(x, y);
  const negative = (log ? log.negative : zeroNegative) !== y.negative;
  if (y.kind === 'infinity') return log ? infinity(negative, flags) : indefinite();
  if (!log || y.kind === 'zero') return zero(negative, flags);
  return number(multiply(log, y.value), flags);
}

/** π · numerator / 2^shift, rounded like any inexact result. */
const angle = (negative: boolean, numerator: bigint, shift: number, flags: number): Result =>
  number({ negative, mantissa: pi * numerator, exponent: -384 - shift }, flags);

/** FPATAN: the angle of (x, y). */
function fpatan(x: Operand, y: Operand): Result {
  const flags = denormalFlag(x, y);
  if (y.kind === 'infinity') {
    if (x.kind !== 'infinity') return angle(y.negative, 1n, 1, flags);
    return angle(y.negative, x.negative ? 3n : 1n, 2, flags);
  }
  if (y.kind === 'zero' || x.kind === 'infinity')
    return x.negative ? angle(y.negative, 1n, 0, flags) : zero(y.negative, flags);
  if (x.kind === 'zero') return angle(y.negative, 1n, 1, flags);
  return number(arctangent(y.value, x.value), flags);
}

const unary: Partial<Record<number, (x: Operand) => Result>> = {
  [x87Operation.sine]: trigonometric(sine, zero),
  [x87Operation.cosine]: trigonometric(cosine, () => one(false)),
  [x87Operation.tangent]: trigonometric(tangent, zero),
  [x87Operation.powerOfTwo]: f2xm1,
};
const binary: Partial<Record<number, (x: Operand, y: Operand) => Result>> = {
  [x87Operation.logarithm]: fyl2x,
  [x87Operation.logarithmOfNext]: fyl2xp1,
  [x87Operation.arctangent]: fpatan,
};

function compute(cpu: X86State, operation: number): Result {
  const x = operand(cpu, 0);
  const one = unary[operation];
  if (one) return nanResult([x]) ?? one(x);
  const two = binary[operation];
  if (!two) throw new Error(`x87 operation ${operation} is not known`);
  const y = operand(cpu, 1);
  return nanResult([x, y]) ?? two(x, y);
}

/** arg0 = an `x87Operation`; answers in arg0 (an `x87Answer`) to arg3, and in `floatFlags`. */
export function x87(s: SystemContext): HelperResult {
  const { cpu } = s;
  const result = compute(cpu, cpu.get(arg[0]));
  if (result.kind === 'tooLarge') {
    cpu.setLow(arg[0], x87Answer.tooLarge);
    return outcome.next;
  }
  cpu.set(floatFlags, result.flags);
  if (result.kind === 'exact') {
    cpu.setLow(arg[0], x87Answer.exact);
    cpu.setBig(arg[1], result.significand);
    cpu.setLow(arg[3], result.exponent);
  } else storeNumber(cpu, result.value);
  return outcome.next;
}

/** Significand in arg1, the 64 bits behind it with a sticky bit in arg2, biased exponent in arg3 with the sign in bit 31 of arg0. */
function storeNumber(cpu: X86State, { negative, mantissa, exponent }: Real): void {
  const length = bitLength(mantissa);
  const shift = length - 128;
  let bits = shift >= 0 ? mantissa >> BigInt(shift) : mantissa << BigInt(-shift);
  if (shift > 0 && bits << BigInt(shift) !== mantissa) bits |= 1n;
  cpu.setLow(arg[0], x87Answer.number);
  cpu.setPair(arg[0], x87Answer.number, negative ? 1 : 0);
  cpu.setBig(arg[1], bits >> 64n);
  cpu.setBig(arg[2], BigInt.asUintN(64, bits));
  cpu.setBig(arg[3], BigInt(exponent + length - 1 + bias));
}
