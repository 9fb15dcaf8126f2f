/**
 * SSE and AVX floating point: fast where WebAssembly's own operators give
 * exactly x86's result and flags, soft-float (softfloat/index.ts) elsewhere
 * (SDM vol. 1, 11.5; exceptions per instruction in vol. 2).
 *
 * The fast condition of the rounding operations: MXCSR has rounding to nearest,
 * no DAZ, no FTZ, all exceptions masked and PE already set (it is sticky, and
 * nearly always set after the first few operations of a program); the operands
 * are normal (so no DE); the result is finite (so no IE, ZE, OE and no NaN to
 * choose) and, for products and quotients, above the smallest normal number (so
 * no UE: x86 finds tininess after rounding). Zeros miss the inline check and
 * are let through by the slow function's own, wider one.
 *
 * Comparisons, minima and maxima are exact: there only NaNs and denormals matter.
 */
import {
  and,
  type Builder,
  type Expr,
  eq,
  f32 as f32Constant,
  f64 as f64Constant,
  i32,
  type LibraryFunction,
  lane,
  op,
  or,
  select,
  shrU,
  xor,
} from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { cr4, floatFlags, mxcsr, vector } from '../state.ts';
import { type Half, lanes, source, zero128 } from './vec.ts';

/** A float format as vectors see it. */
export interface Format {
  readonly float: 'f32' | 'f64';
  readonly bits: 'i32' | 'i64';
  readonly shape: 'f32x4' | 'f64x2';
  readonly ints: 'i32x4' | 'i64x2';
  readonly count: 4 | 2;
  readonly size: 4 | 8;
  /** The smallest normal number, infinity, the quiet bit of NaNs and 1, in every lane. */
  readonly smallest: Expr;
  /** All but the sign bits. */
  readonly magnitude: Expr;
  /** 1 as an integer. */
  readonly units: Expr;
  readonly infinity: Expr;
  readonly quietBit: Expr;
  readonly one: Expr;
  /** All ones in lane 0; the sign bits of even lanes. */
  readonly lane0: Expr;
  readonly evenSigns: Expr;
  /** A scalar constant of this format. */
  constant(value: number): Expr;
  readonly smallestNumber: number;
  /** As integers. */
  readonly smallestBits: bigint;
  readonly infinityBits: bigint;
}

export const single: Format = {
  float: 'f32',
  bits: 'i32',
  shape: 'f32x4',
  ints: 'i32x4',
  count: 4,
  size: 4,
  smallest: lanes(4, 0x00800000),
  infinity: lanes(4, 0x7f800000),
  magnitude: lanes(4, 0x7fffffff),
  units: lanes(4, 1),
  quietBit: lanes(4, 0x00400000),
  one: lanes(4, 0x3f800000),
  lane0: lanes(4, -1, 0, 0, 0),
  evenSigns: lanes(4, 0x80000000, 0),
  constant: f32Constant,
  smallestNumber: 2 ** -126,
  smallestBits: 0x00800000n,
  infinityBits: 0x7f800000n,
};
export const double: Format = {
  float: 'f64',
  bits: 'i64',
  shape: 'f64x2',
  ints: 'i64x2',
  count: 2,
  size: 8,
  smallest: lanes(8, 0x0010000000000000n),
  infinity: lanes(8, 0x7ff0000000000000n),
  magnitude: lanes(8, 0x7fffffffffffffffn),
  units: lanes(8, 1),
  quietBit: lanes(8, 0x0008000000000000n),
  one: lanes(8, 0x3ff0000000000000n),
  lane0: lanes(8, -1, 0),
  evenSigns: lanes(8, 1n << 63n, 0),
  constant: f64Constant,
  smallestNumber: 2 ** -1022,
  smallestBits: 0x0010000000000000n,
  infinityBits: 0x7ff0000000000000n,
};

export const v = (name: string, ...args: Expr[]): Expr => op(`v128.${name}`, ...args);
/** An operator of the format's float shape. */
export const on = (f: Format, name: string, ...args: Expr[]): Expr => op(`${f.shape}.${name}`, ...args);
export const abs = (f: Format, x: Expr): Expr => on(f, 'abs', x);
/** Lane `i` as raw bits. */
export const bitsOf = (f: Format, x: Expr, i = 0): Expr => lane(`${f.ints}.extract_lane`, i, x);
/** Lane `i` as a float. */
export const laneOf = (f: Format, x: Expr, i = 0): Expr => lane(`${f.shape}.extract_lane`, i, x);
/** `x` with lane `i` replaced by raw bits or a float. */
export const withLane = (f: Format, x: Expr, value: Expr, i = 0): Expr =>
  lane(`${value.type === f.bits ? f.ints : f.shape}.replace_lane`, i, x, value);
/** Lane 0 of `low`, the others of `rest`. */
export const mergeLane0 = (f: Format, low: Expr, rest: Expr): Expr => withLane(f, rest, bitsOf(f, low));
/** True when lane 0 of a mask is all ones. */
export const lane0Of = (f: Format, mask: Expr): Expr => and(op(`${f.ints}.bitmask`, mask), i32(1));
/** True when every lane of a mask is all ones. */
export const allLanes = (f: Format, mask: Expr): Expr => eq(op(`${f.ints}.bitmask`, mask), i32((1 << f.count) - 1));

/** Denormal lanes. */
export const denormal = (f: Format, x: Expr): Expr =>
  v('and', on(f, 'lt', abs(f, x), f.smallest), on(f, 'ne', x, zero128));

// ---- MXCSR ----

export const mxcsrBit = { PE: 0x20, DAZ: 0x40, masks: 0x1f80, PM: 0x1000, RC: 0x6000, FTZ: 0x8000 } as const;
/** Bits of MXCSR that must be zero (MXCSR_MASK is FFFF). */
export const mxcsrReserved = 0xffff0000;
/** CR4.OSXMMEXCPT: unmasked SIMD exceptions give #XM, else #UD. */
const osxmmexcpt = 1 << 10;

/** MXCSR lets the fast paths of rounding operations run. */
export const fastRounding = (m: Expr): Expr =>
  eq(
    and(m, i32(mxcsrBit.PE | mxcsrBit.DAZ | mxcsrBit.masks | mxcsrBit.RC | mxcsrBit.FTZ)),
    i32(mxcsrBit.PE | mxcsrBit.masks),
  );
/** Inexact results change nothing in MXCSR; with `nearest`, and the rounding mode is that. */
export const fastInexact = (b: Builder, nearest: boolean): Expr =>
  eq(and(b.get(mxcsr), i32(mxcsrBit.PE | mxcsrBit.PM | (nearest ? mxcsrBit.RC : 0))), i32(mxcsrBit.PE | mxcsrBit.PM));
export const noDaz = (b: Builder): Expr => op('i32.eqz', and(b.get(mxcsr), i32(mxcsrBit.DAZ)));

/**
 * `sse_settle` () → vector to raise, or 0: adds what soft-float raised to MXCSR. When a denormal, invalid or
 * zero-divide exception is unmasked, the numeric exceptions found after it do not count (SDM vol. 1, 11.5.2).
 */
export const settleFunction: LibraryFunction = {
  name: 'sse_settle',
  params: [],
  result: 'i32',
  body(b) {
    const m = b.get(mxcsr);
    const flags = b.let(and(b.get(floatFlags), i32(0x3f)));
    const unmasked = b.let(and(flags, xor(shrU(m, i32(7)), i32(0x3f))));
    b.put(mxcsr, or(m, select(and(unmasked, i32(7)), and(flags, i32(7)), flags)));
    return select(unmasked, select(and(b.get(cr4), i32(osxmmexcpt)), i32(vector.XM), i32(vector.UD)), i32(0));
  },
};

/** Runs `compute`, which calls soft-float functions, and takes their exceptions into MXCSR; leaves with #XM for an unmasked one. */
export function slowly(b: X86Builder, compute: () => void): void {
  b.put(floatFlags, i32(0));
  compute();
  b.if(b.get(floatFlags), () => {
    const raised = b.let(b.call('sse_settle'));
    b.if(eq(raised, i32(vector.UD)), () => b.raise(vector.UD));
    b.if(raised, () => b.raise(vector.XM));
  });
}

/** Takes the slow way, `compute`, unless `fast` (i32) holds. */
export function slowlyUnless(b: X86Builder, fast: Expr, compute: () => void): void {
  b.ifUnlikely(op('i32.eqz', fast), () => slowly(b, compute));
}

// ---- operands ----

const halfNumbers = (b: X86Builder): Half[] => (b.vl === 32 ? [0, 1] : [0]);
/** All halves of an operand. */
export const readHalves = (b: X86Builder, i: number): Expr[] =>
  halfNumbers(b).map((half) => b.let(b.readVector(i, half)));
/** Both sources, half by half. */
export const readPairs = (b: X86Builder): [Expr, Expr][] => {
  const x = readHalves(b, source(b));
  const y = readHalves(b, source(b) + 1);
  return x.map((e, i) => [e, y[i]]);
};
export const writeAll = (b: X86Builder, halves: readonly Expr[]): void => b.writeVector(0, halves[0], halves[1]);
