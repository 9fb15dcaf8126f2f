/**
 * The transcendental functions against a reference in big integers; and the reference against other series for its
 * constants, Math for its values, and identities for its precision.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { softfloatLibrary, state } from '../../../../target/index.ts';
import { Random } from '../differential/random.ts';
import { instantiateLibrary } from './library.ts';
import {
  arctangent,
  bitLength,
  cosine,
  ln2,
  logarithm,
  logarithmOfNext,
  multiply,
  pi,
  powerOfTwoLess1,
  type Real,
  sine,
  tangent,
} from './reference.ts';

/** A double as an exact number. */
function fromNumber(x: number): Real {
  let mantissa = Math.abs(x);
  let exponent = 0;
  for (; mantissa % 1 !== 0; exponent--) mantissa *= 2;
  return { negative: x < 0, mantissa: BigInt(mantissa), exponent };
}

function toNumber({ negative, mantissa, exponent }: Real): number {
  const shift = Math.max(0, bitLength(mantissa) - 64);
  return (negative ? -1 : 1) * Number(mantissa >> BigInt(shift)) * 2 ** (exponent + shift);
}

/** Fixed point with 80 bits behind the point. */
const fixed = ({ negative, mantissa, exponent }: Real): bigint => {
  const shift = exponent + 80;
  const value = shift >= 0 ? mantissa << BigInt(shift) : mantissa >> BigInt(-shift);
  return negative ? -value : value;
};
const one = 1n << 80n;
const near = (a: bigint, b: bigint, slack: bigint): boolean => (a > b ? a - b : b - a) <= slack;

function close(actual: Real, expected: number, what: string): void {
  const error = Math.abs(toNumber(actual) - expected);
  assert.ok(error <= Math.abs(expected) * 4e-16, `${what}: ${toNumber(actual)} instead of ${expected}`);
}

const samples = [1e-30, 1e-9, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999999];

/** Σ 1 / ((2k + 1) x^(2k+1)), signs alternating for the arctangent, with `bits` behind the point. */
function inverseSeries(x: bigint, bits: bigint, alternating: boolean): bigint {
  let term = (1n << bits) / x;
  let sum = 0n;
  for (let k = 0n; term !== 0n; k++) {
    sum += (alternating && k & 1n ? -term : term) / (2n * k + 1n);
    term /= x * x;
  }
  return sum;
}

test('the constants are those of other series', () => {
  const bits = 400n;
  // Machin: π = 16 atan 1/5 − 4 atan 1/239; ln 2 = 2 artanh 1/3.
  const machin = 16n * inverseSeries(5n, bits, true) - 4n * inverseSeries(239n, bits, true);
  assert.ok(near(machin >> 16n, pi, 1n));
  assert.ok(near((2n * inverseSeries(3n, bits, false)) >> 16n, ln2, 1n));
});

test('values agree with double precision', () => {
  for (const x of [...samples, ...samples.map((s) => -s)]) {
    const r = fromNumber(x);
    close(sine(r), Math.sin(x), `sin ${x}`);
    close(cosine(r), Math.cos(x), `cos ${x}`);
    close(tangent(r), Math.tan(x), `tan ${x}`);
    close(powerOfTwoLess1(r), Math.expm1(x * Math.LN2), `2^${x} - 1`);
    close(logarithmOfNext(r), Math.log1p(x) / Math.LN2, `log2(1 + ${x})`);
    for (const y of samples) {
      close(arctangent(fromNumber(y), r), Math.atan2(y, x), `atan2(${y}, ${x})`);
      close(arctangent(r, fromNumber(-y)), Math.atan2(x, -y), `atan2(${x}, ${-y})`);
    }
  }
  for (const x of [1e-300, 0.1, 0.7, 0.99999999, 1.0000001, 3, 10, 1e300])
    close(logarithm(fromNumber(x)) as Real, Math.log2(x), `log2 ${x}`);
});

test('identities hold to 75 bits', () => {
  const slack = 1n << 5n;
  for (const x of samples) {
    const r = fromNumber(x);
    const [s, c] = [fixed(sine(r)), fixed(cosine(r))];
    assert.ok(near((s * s + c * c) >> 80n, one, slack), `sin² + cos² of ${x}`);
    const back = powerOfTwoLess1(logarithmOfNext(r));
    assert.ok(near(fixed(back), fixed(r), slack), `2^log2(1 + ${x}) - 1`);
    // Beyond π/4 the sine's own π shows.
    if (x < 0.78)
      assert.ok(near(fixed(arctangent(sine(r), cosine(r))), fixed(r), slack), `the angle of (cos, sin) of ${x}`);
  }
});

test('sine reduces its argument by the 66 bits of π that the manual gives', () => {
  // SDM vol. 1, 8.3.8: π' = 0.C90FDAA2 2168C234 C · 2^2; the sine of 2^k π' is then exactly zero, and of a number next to it the difference.
  const manual = 0xc90fdaa2_2168c234_cn;
  const next = { negative: false, mantissa: (manual << 10n) + 1n, exponent: -66 - 10 + 20 };
  const difference = sine(next);
  assert.equal(bitLength(difference.mantissa) + difference.exponent, next.exponent + 1);
  assert.equal(difference.negative, false);
});

test('logarithms of powers of two are exact', () => {
  assert.equal(logarithm(fromNumber(1)), undefined);
  assert.deepEqual(logarithm(fromNumber(8)), { negative: false, mantissa: 3n, exponent: 0 });
  assert.deepEqual(logarithm(fromNumber(0.25)), { negative: true, mantissa: 2n, exponent: 0 });
});

// ---- the library functions against this reference ----

const library = instantiateLibrary(softfloatLibrary);
const control = 0x37f;

interface Operand extends Real {
  readonly significand: bigint;
  readonly signAndExponent: number;
}

/** A random number of 64 bits between 2^low and 2^(high + 1). */
function random(r: Random, low: number, high: number, negative = r.chance(50)): Operand {
  const mantissa = r.u64() | (1n << 63n);
  const power = low + r.below(high - low + 1);
  return {
    negative,
    mantissa,
    exponent: power - 63,
    significand: mantissa,
    signAndExponent: power + 0x3fff + (negative ? 0x8000 : 0),
  };
}

/** How far the function's result is from `expected`, in units of its last place. */
function error(name: string, operands: readonly Operand[], expected: Real): number {
  const args = operands.flatMap((x) => [BigInt.asIntN(64, x.significand), x.signAndExponent]);
  const significand = BigInt.asUintN(64, BigInt(library.functions[name](...args, control)));
  const signAndExponent = library.get(state.floatExponent);
  assert.equal((signAndExponent & 0x8000) !== 0, expected.negative, `${name}: sign`);
  const place = (signAndExponent & 0x7fff) - 0x3fff - 63;
  const scale = Math.min(place, expected.exponent);
  const difference = (significand << BigInt(place - scale)) - (expected.mantissa << BigInt(expected.exponent - scale));
  return Math.abs(Number((difference << 20n) / (1n << BigInt(place - scale)))) / 2 ** 20;
}

type Draw = (r: Random) => { operands: Operand[]; expected: Real };
const unary =
  (f: (x: Real) => Real, low: number, high: number): Draw =>
  (r) => {
    const x = random(r, low, high);
    return { operands: [x], expected: f(x) };
  };
const timesY =
  (f: (x: Real) => Real, draw: (r: Random) => Operand): Draw =>
  (r) => {
    const [x, y] = [draw(r), random(r, -9, 9)];
    return { operands: [x, y], expected: multiply(f(x), y) };
  };
const angle =
  (spread: number): Draw =>
  (r) => {
    const [x, y] = [random(r, -spread, spread), random(r, -spread, spread)];
    return { operands: [x, y], expected: arctangent(y, x) };
  };

const draws: [name: string, what: string, draw: Draw][] = [
  ['f80_fsin', 'any angle', unary(sine, -70, 62)],
  ['f80_fsin', 'small angles', unary(sine, -3, 4)],
  ['f80_fcos', 'any angle', unary(cosine, -70, 62)],
  ['f80_fcos', 'small angles', unary(cosine, -3, 4)],
  ['f80_fptan', 'any angle', unary(tangent, -70, 62)],
  ['f80_fptan', 'small angles', unary(tangent, -3, 4)],
  ['f80_f2xm1', 'all powers', unary(powerOfTwoLess1, -80, -1)],
  ['f80_f2xm1', 'large powers', unary(powerOfTwoLess1, -3, -1)],
  [
    'f80_fyl2x',
    'any number',
    timesY(
      (x) => logarithm(x) as Real,
      (r) => random(r, -9000, 9000, false),
    ),
  ],
  [
    'f80_fyl2x',
    'numbers near 1',
    timesY(
      (x) => logarithm(x) as Real,
      (r) => random(r, -1, 0, false),
    ),
  ],
  ['f80_fyl2xp1', 'small numbers', timesY(logarithmOfNext, (r) => random(r, -80, -1))],
  ['f80_fyl2xp1', 'large numbers', timesY(logarithmOfNext, (r) => random(r, -3, 80, false))],
  ['f80_fpatan', 'any point', angle(40)],
  ['f80_fpatan', 'points near the diagonals', angle(2)],
];

for (const [stream, [name, what, draw]] of draws.entries()) {
  test(`${name} rounds ${what} correctly`, () => {
    const r = new Random(1, stream);
    for (let i = 0; i < 300; i++) {
      const { operands, expected } = draw(r);
      const off = error(name, operands, expected);
      const shown = operands.map((x) => `${x.signAndExponent.toString(16)}:${x.significand.toString(16)}`).join(' ');
      assert.ok(off < 0.501, `${name} of ${shown} is off by ${off}`);
    }
  });
}
