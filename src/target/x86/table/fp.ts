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
  i64,
  type LibraryFunction,
  lane,
  ne,
  op,
  or,
  select,
  shl,
  shrU,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { cr4, floatFlags, mxcsr, vector } from '../state.ts';
import type { Feature, Row } from './row.ts';
import { both, type Half, lanes, ones128, source, zero128 } from './vec.ts';

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
  readonly infinity: Expr;
  readonly quietBit: Expr;
  readonly one: Expr;
  /** All ones in lane 0; the sign bits of even lanes. */
  readonly lane0: Expr;
  readonly evenSigns: Expr;
  /** A scalar constant of this format. */
  constant(value: number): Expr;
  readonly smallestNumber: number;
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
  quietBit: lanes(4, 0x00400000),
  one: lanes(4, 0x3f800000),
  lane0: lanes(4, -1, 0, 0, 0),
  evenSigns: lanes(4, 0x80000000, 0),
  constant: f32Constant,
  smallestNumber: 2 ** -126,
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
  quietBit: lanes(8, 0x0008000000000000n),
  one: lanes(8, 0x3ff0000000000000n),
  lane0: lanes(8, -1, 0),
  evenSigns: lanes(8, 1n << 63n, 0),
  constant: f64Constant,
  smallestNumber: 2 ** -1022,
};

const v = (name: string, ...args: Expr[]): Expr => op(`v128.${name}`, ...args);
const on = (f: Format, name: string, ...args: Expr[]): Expr => op(`${f.shape}.${name}`, ...args);
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
/** True when every lane of a mask is all ones. */
export const allLanes = (f: Format, mask: Expr): Expr => eq(op(`${f.ints}.bitmask`, mask), i32((1 << f.count) - 1));

// ---- MXCSR ----

const bits = { PE: 0x20, DAZ: 0x40, masks: 0x1f80, PM: 0x1000, RC: 0x6000, FTZ: 0x8000 } as const;
/** Bits of MXCSR that must be zero (MXCSR_MASK is FFFF). */
export const mxcsrReserved = 0xffff0000;
/** CR4.OSXMMEXCPT: unmasked SIMD exceptions give #XM, else #UD. */
const osxmmexcpt = 1 << 10;

/** MXCSR lets the fast paths of rounding operations run. */
export const fastRounding = (m: Expr): Expr =>
  eq(and(m, i32(bits.PE | bits.DAZ | bits.masks | bits.RC | bits.FTZ)), i32(bits.PE | bits.masks));
/** Inexact results change nothing in MXCSR; with `nearest`, and the rounding mode is that. */
export const fastInexact = (b: Builder, nearest: boolean): Expr =>
  eq(and(b.get(mxcsr), i32(bits.PE | bits.PM | (nearest ? bits.RC : 0))), i32(bits.PE | bits.PM));
export const noDaz = (b: Builder): Expr => op('i32.eqz', and(b.get(mxcsr), i32(bits.DAZ)));

/**
 * `sse_settle` () → vector to raise, or 0: adds what soft-float raised to MXCSR. When a denormal, invalid or
 * zero-divide exception is unmasked, the numeric exceptions found after it do not count (SDM vol. 1, 11.5.2).
 */
const settleFunction: LibraryFunction = {
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

// ---- rounding operations of one and two operands ----

/** `addsub` subtracts in even lanes and adds in odd ones. */
export type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'addsub';

const isSum = (name: Arithmetic): boolean => name !== 'mul' && name !== 'div';
/** The second operand of the addition that a sum is. */
const addend = (f: Format, name: Arithmetic, y: Expr): Expr =>
  name === 'sub' ? on(f, 'neg', y) : name === 'addsub' ? v('xor', y, f.evenSigns) : y;
const native = (f: Format, name: Arithmetic, x: Expr, y: Expr): Expr =>
  name === 'addsub' ? on(f, 'add', x, addend(f, name, y)) : on(f, name, x, y);
/** Name of the soft-float function for lane `i`. */
const softName = (f: Format, name: Arithmetic, i: number): string =>
  `${f.float}_${name === 'addsub' ? (i & 1 ? 'add' : 'sub') : name}`;

/** Lanes where the operands are normal and the result is as the head of this file wants it. */
function goodLanes(f: Format, name: Arithmetic, x: Expr, y: Expr, r: Expr): Expr {
  const operands = on(f, 'pmin', abs(f, x), abs(f, y));
  const finite = on(f, 'lt', abs(f, r), f.infinity);
  // A sum that is denormal is exact, so only products and quotients can underflow.
  if (isSum(name)) return v('and', on(f, 'ge', operands, f.smallest), finite);
  return v('and', on(f, 'gt', on(f, 'pmin', operands, abs(f, r)), f.smallest), finite);
}

/** The same for lane 0 alone, as an i32. */
function goodScalar(f: Format, name: Arithmetic, x: Expr, y: Expr, r: Expr): Expr {
  const magnitude = op(`${f.float}.abs`, r);
  const operands = laneOf(f, on(f, 'pmin', abs(f, x), abs(f, y)));
  const smallest = f.constant(f.smallestNumber);
  const finite = op(`${f.float}.lt`, magnitude, f.constant(Number.POSITIVE_INFINITY));
  if (isSum(name)) return and(op(`${f.float}.ge`, operands, smallest), finite);
  return and(and(op(`${f.float}.gt`, operands, smallest), op(`${f.float}.gt`, magnitude, smallest)), finite);
}

/** Denormal lanes. */
export const denormal = (f: Format, x: Expr): Expr =>
  v('and', on(f, 'lt', abs(f, x), f.smallest), on(f, 'ne', x, zero128));

/** Lanes where `r` is x op y without any exception but PE, zeros and exact tiny sums included. */
function exactEnough(f: Format, name: Arithmetic, x: Expr, y: Expr, r: Expr): Expr {
  const usable = v('andnot', on(f, 'lt', abs(f, r), f.infinity), v('or', denormal(f, x), denormal(f, y)));
  if (isSum(name)) return usable;
  const zeroOperand = on(f, 'eq', x, zero128);
  const zero = name === 'mul' ? v('or', zeroOperand, on(f, 'eq', y, zero128)) : zeroOperand;
  return v('and', usable, v('or', zero, on(f, 'gt', abs(f, r), f.smallest)));
}

/** Lanes where x + y = r exactly: the rounding error is zero (Knuth's two-sum). */
function exactSum(b: Builder, f: Format, x: Expr, y: Expr, r: Expr): Expr {
  const yPart = b.let(on(f, 'sub', r, x));
  const error = on(f, 'add', on(f, 'sub', x, on(f, 'sub', r, yPart)), on(f, 'sub', y, yPart));
  return on(f, 'eq', error, zero128);
}

const slowName = (f: Format, name: string, scalar: boolean): string => `sse_${name}_${scalar ? f.float : f.shape}`;

/**
 * `sse_<op>_<shape>` (x, y): every lane by soft-float unless a wider check than the inline one passes;
 * `sse_<op>_<float>`: lane 0 only, the other lanes of x kept.
 */
function slowArithmetic(f: Format, name: Arithmetic, scalar: boolean): LibraryFunction {
  return {
    name: slowName(f, name, scalar),
    params: ['v128', 'v128'],
    result: 'v128',
    body(b, xs, ys) {
      const x = scalar ? b.let(mergeLane0(f, xs, f.one)) : xs;
      const y = scalar ? b.let(mergeLane0(f, ys, f.one)) : ys;
      const m = b.get(mxcsr);
      const out = b.variable(native(f, name, x, y));
      const usable = b.variable(fastRounding(m));
      if (isSum(name)) {
        const mayBeExact = eq(and(m, i32(bits.PE | bits.DAZ | bits.masks | bits.RC | bits.FTZ)), i32(bits.masks));
        b.if(mayBeExact, () => b.set(usable, allLanes(f, exactSum(b, f, x, b.let(addend(f, name, y)), out))));
      }
      b.if(
        and(usable, allLanes(f, exactEnough(f, name, x, y, out))),
        () => {},
        () => {
          for (let i = 0; i < (scalar ? 1 : f.count); i++)
            b.set(out, withLane(f, out, b.call(softName(f, name, i), bitsOf(f, x, i), bitsOf(f, y, i), m), i));
        },
      );
      return scalar ? mergeLane0(f, out, xs) : out;
    },
  };
}

/** `sse_sqrt_…` (rest, x): square roots of x's lanes; the scalar one keeps the other lanes of `rest`. */
function slowSquareRoot(f: Format, scalar: boolean): LibraryFunction {
  return {
    name: slowName(f, 'sqrt', scalar),
    params: ['v128', 'v128'],
    result: 'v128',
    body(b, rest, source) {
      const x = scalar ? b.let(mergeLane0(f, source, f.one)) : source;
      const m = b.get(mxcsr);
      const out = b.variable(on(f, 'sqrt', x));
      const usable = v('or', on(f, 'eq', x, zero128), v('and', on(f, 'ge', x, f.smallest), on(f, 'lt', x, f.infinity)));
      b.if(
        and(fastRounding(m), allLanes(f, usable)),
        () => {},
        () => {
          for (let i = 0; i < (scalar ? 1 : f.count); i++)
            b.set(out, withLane(f, out, b.call(`${f.float}_sqrt`, bitsOf(f, x, i), m), i));
        },
      );
      return scalar ? mergeLane0(f, out, rest) : out;
    },
  };
}

/** x op y for each pair of halves, exceptions included. */
export function arithmetic(
  b: X86Builder,
  f: Format,
  name: Arithmetic,
  pairs: readonly (readonly [Expr, Expr])[],
): Expr[] {
  const results = pairs.map(([x, y]) => b.variable(native(f, name, x, y)));
  const good = pairs.map(([x, y], i) => goodLanes(f, name, x, y, results[i])).reduce((p, q) => v('and', p, q));
  b.if(
    and(fastRounding(b.get(mxcsr)), allLanes(f, good)),
    () => {},
    () => slowly(b, () => pairs.forEach(([x, y], i) => b.set(results[i], b.call(slowName(f, name, false), x, y)))),
  );
  return results;
}

/** x with lane 0 replaced by x op y, exceptions included. */
export function scalarArithmetic(b: X86Builder, f: Format, name: Arithmetic, x: Expr, y: Expr): Expr {
  const r = b.let(op(`${f.float}.${name}`, laneOf(f, x), laneOf(f, y)));
  const out = b.variable(withLane(f, x, r));
  b.if(
    and(fastRounding(b.get(mxcsr)), goodScalar(f, name, x, y, r)),
    () => {},
    () => slowly(b, () => b.set(out, b.call(slowName(f, name, true), x, y))),
  );
  return out;
}

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

const formats = { PS: single, PD: double, SS: single, SD: double } as const;
const prefixes = { PS: 'NP', PD: '66', SS: 'F3', SD: 'F2' } as const;
export type Suffix = keyof typeof formats;
export const formatOf = (suffix: Suffix): Format => formats[suffix];
const featureOf: Record<Suffix, Feature> = { PS: 'sse', SS: 'sse', PD: 'sse2', SD: 'sse2' };
export const isScalar = (suffix: Suffix): boolean => suffix[0] === 'S';

/** Rows for a float operation of map 0F in its PS, PD, SS and SD forms, e.g. `floats('ADD', '58', …)`. */
export function floats(
  name: string,
  opcode: string,
  make: (f: Format, scalar: boolean) => Semantics,
  suffixes: readonly Suffix[] = ['PS', 'PD', 'SS', 'SD'],
  form = 'two',
): Row[] {
  return suffixes.flatMap((s) => {
    const size = s.toLowerCase();
    const operands = form === 'one' && !isScalar(s) ? `V${size},W${size}` : `V${size},H${size},W${size}`;
    const semantics = make(formats[s], isScalar(s));
    return both(
      `${name}${s}`,
      `${prefixes[s]}.0F ${opcode}`,
      form === 'imm' ? `${operands},Ibu` : operands,
      semantics,
      {
        cpuid: featureOf[s],
        vex: isScalar(s) ? 'scalar' : 'avx',
      },
    );
  });
}

/** ADDPS, ADDPD, ADDSS, ADDSD and the like. */
const arithmeticRows = (mnemonic: string, opcode: string, name: Arithmetic): Row[] =>
  floats(mnemonic, opcode, (f, scalar) => (b) => {
    if (scalar)
      b.writeVector(
        0,
        scalarArithmetic(b, f, name, b.let(b.readVector(source(b))), b.let(b.readVector(source(b) + 1))),
      );
    else writeAll(b, arithmetic(b, f, name, readPairs(b)));
  });

const squareRoot =
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    const good = (x: Expr) => v('and', on(f, 'ge', x, f.smallest), on(f, 'lt', x, f.infinity));
    if (scalar) {
      const rest = b.let(b.readVector(source(b)));
      const x = b.let(b.readVector(source(b) + 1));
      const out = b.variable(withLane(f, rest, op(`${f.float}.sqrt`, laneOf(f, x))));
      b.if(
        and(fastRounding(b.get(mxcsr)), ne(bitsOf(f, good(x)), f.bits === 'i64' ? i64(0) : i32(0))),
        () => {},
        () => slowly(b, () => b.set(out, b.call(slowName(f, 'sqrt', true), rest, x))),
      );
      b.writeVector(0, out);
      return;
    }
    const xs = readHalves(b, 1);
    const results = xs.map((x) => b.variable(on(f, 'sqrt', x)));
    b.if(
      and(
        fastRounding(b.get(mxcsr)),
        allLanes(
          f,
          xs.map(good).reduce((p, q) => v('and', p, q)),
        ),
      ),
      () => {},
      () => slowly(b, () => xs.forEach((x, i) => b.set(results[i], b.call(slowName(f, 'sqrt', false), x, x)))),
    );
    writeAll(b, results);
  };

// ---- comparisons, minima, maxima ----

/** Lanes with a NaN or a denormal (or the smallest normal number: the check is one subtraction and one comparison). */
export const oddLanes = (f: Format, x: Expr): Expr =>
  v('or', on(f, 'ne', x, x), on(f, 'lt', op(`${f.ints}.sub`, abs(f, x), lanes(f.size, 1)), f.smallest));

/** `sse_operands_<shape>` (x, y, signalling, lanes): raises IE and DE as a comparison of those lanes does. */
const operandFlags = (f: Format): LibraryFunction => ({
  name: `sse_operands_${f.shape}`,
  params: ['v128', 'v128', 'i32', 'v128'],
  result: undefined,
  body(b, x, y, signalling, which) {
    const nan = (e: Expr) => on(f, 'ne', e, e);
    const signallingNan = (e: Expr) => v('andnot', nan(e), op(`${f.ints}.ne`, v('and', e, f.quietBit), zero128));
    const anyNan = b.let(v('or', nan(x), nan(y)));
    const invalid = b.variable(op('v128.any_true', v('and', which, v('or', signallingNan(x), signallingNan(y)))));
    b.if(signalling, () => b.set(invalid, op('v128.any_true', v('and', which, anyNan))));
    const denormals = v('and', which, v('andnot', v('or', denormal(f, x), denormal(f, y)), anyNan));
    const denormalFlag = shl(and(op('v128.any_true', denormals), noDaz(b)), i32(1));
    b.put(floatFlags, or(b.get(floatFlags), or(invalid, denormalFlag)));
    return undefined;
  },
});

/** `sse_daz_<shape>` (x): x with denormals made zero where MXCSR says so. */
const denormalsAreZero = (f: Format): LibraryFunction => ({
  name: `sse_daz_${f.shape}`,
  params: ['v128'],
  result: 'v128',
  body(b, x) {
    const sign = v('andnot', x, on(f, 'abs', ones128));
    return select(noDaz(b), x, v('bitselect', sign, x, denormal(f, x)));
  },
});

/**
 * Both operands as a comparison sees them (DAZ applied), IE and DE raised. `signalling` (i32): quiet NaNs are
 * invalid too. With `scalar` only lane 0 counts.
 */
export function compareOperands(
  b: X86Builder,
  f: Format,
  pairs: readonly (readonly [Expr, Expr])[],
  signalling: Expr,
  scalar: boolean,
): [Expr, Expr][] {
  const variables = pairs.map(([x, y]): [ReturnType<Builder['variable']>, ReturnType<Builder['variable']>] => [
    b.variable(x),
    b.variable(y),
  ]);
  const odd = variables.map(([x, y]) => v('or', oddLanes(f, x), oddLanes(f, y))).reduce((p, q) => v('or', p, q));
  const isOdd = scalar ? ne(bitsOf(f, odd), f.bits === 'i64' ? i64(0) : i32(0)) : op('v128.any_true', odd);
  b.if(isOdd, () => {
    slowly(b, () => {
      for (const [x, y] of variables) b.call(`sse_operands_${f.shape}`, x, y, signalling, scalar ? f.lane0 : ones128);
    });
    for (const pair of variables) for (const e of pair) b.set(e, b.call(`sse_daz_${f.shape}`, e));
  });
  return variables;
}

/** MINxx and MAXxx: the second operand where either is a NaN or both are zero, which is WebAssembly's pmin with operands exchanged. */
const extreme =
  (name: 'pmin' | 'pmax') =>
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    if (scalar) {
      const rest = b.let(b.readVector(source(b)));
      const [[x, y]] = compareOperands(b, f, [[rest, b.let(b.readVector(source(b) + 1))]], i32(1), true);
      b.writeVector(0, mergeLane0(f, on(f, name, y, x), rest));
      return;
    }
    writeAll(
      b,
      compareOperands(b, f, readPairs(b), i32(1), false).map(([x, y]) => b.let(on(f, name, y, x))),
    );
  };

/** For predicates 0 to 15 which relations make them true: bit 0 less, 1 equal, 2 greater, 3 unordered (SDM vol. 2, CMPPD, table 3-1). */
const relationTable = [
  0b0010, 0b0001, 0b0011, 0b1000, 0b1101, 0b1110, 0b1100, 0b0111, 0b1010, 0b1001, 0b1011, 0b0000, 0b0101, 0b0110,
  0b0100, 0b1111,
];
/** Predicates that signal on quiet NaNs; 16 to 31 are 0 to 15 the other way round. */
const signallingSet = [1, 2, 5, 6, 9, 10, 13, 14].reduce((set, p) => set | (1 << p), 0);
const signallingPredicates = signallingSet | ((~signallingSet & 0xffff) << 16);

/** The mask of lanes where predicate `p` (i32) holds. */
function comparison(b: X86Builder, f: Format, x: Expr, y: Expr, p: Expr): Expr {
  const less = () => on(f, 'lt', x, y);
  const equal = () => on(f, 'eq', x, y);
  const greater = () => on(f, 'gt', x, y);
  const unordered = () => v('not', v('or', on(f, 'le', x, y), on(f, 'gt', x, y)));
  if (p.kind === 'const') {
    const relations = relationTable[(p.value as number) & 15];
    const terms = [less, equal, greater, unordered].filter((_, i) => relations & (1 << i)).map((term) => term());
    return terms.length ? terms.reduce((s, t) => v('or', s, t)) : zero128;
  }
  const packedTable = relationTable.reduce((table, r, i) => table | (BigInt(r) << BigInt(4 * i)), 0n);
  const relations = b.let(
    op('i32.wrap_i64', shrU(i64(packedTable), op('i64.extend_i32_u', op('i32.shl', and(p, i32(15)), i32(2))))),
  );
  const wanted = (i: number) => op('i32x4.splat', op('i32.sub', i32(0), and(shrU(relations, i32(i)), i32(1))));
  return [less, equal, greater, unordered]
    .map((term, i) => v('and', term(), wanted(i)))
    .reduce((s, t) => v('or', s, t));
}

/** CMPxx: the legacy form has predicates 0 to 7, the VEX form 0 to 31. */
const compare =
  (f: Format, scalar: boolean): Semantics =>
  (b) => {
    const p = b.let(and(b.immediate(source(b) + 2), i32(b.vex ? 31 : 7)));
    const signalling = and(shrU(i32(signallingPredicates), p), i32(1));
    const rest = b.let(b.readVector(source(b)));
    if (scalar) {
      const [[x, y]] = compareOperands(b, f, [[rest, b.let(b.readVector(source(b) + 1))]], signalling, true);
      b.writeVector(0, mergeLane0(f, comparison(b, f, x, y, p), rest));
      return;
    }
    writeAll(
      b,
      compareOperands(b, f, readPairs(b), signalling, false).map(([x, y]) => b.let(comparison(b, f, x, y, p))),
    );
  };

/** COMISx and UCOMISx: ZF, PF and CF by the relation, the others cleared. */
const compareFlags =
  (f: Format, signalling: boolean): Semantics =>
  (b) => {
    const [[xs, ys]] = compareOperands(
      b,
      f,
      [[b.let(b.readVector(0)), b.let(b.readVector(1))]],
      i32(signalling ? 1 : 0),
      true,
    );
    const x = b.let(laneOf(f, xs));
    const y = b.let(laneOf(f, ys));
    const is = (name: string) => op(`${f.float}.${name}`, x, y);
    b.putFlags(select(is('gt'), i32(0), select(is('lt'), i32(0x01), select(is('eq'), i32(0x40), i32(0x45)))));
  };

const compareFlagsRows = (mnemonic: string, opcode: string, signalling: boolean): Row[] => [
  ...both(`${mnemonic}SS`, `NP.0F ${opcode}`, 'Vss,Wss', compareFlags(single, signalling), {
    cpuid: 'sse',
    vex: 'scalar',
  }),
  ...both(`${mnemonic}SD`, `66.0F ${opcode}`, 'Vsd,Wsd', compareFlags(double, signalling), {
    cpuid: 'sse2',
    vex: 'scalar',
  }),
];

export const floatLibrary: readonly LibraryFunction[] = [
  settleFunction,
  ...[single, double].flatMap((f) => [
    ...[false, true].flatMap((scalar) => [
      ...(['add', 'sub', 'mul', 'div'] as const).map((name) => slowArithmetic(f, name, scalar)),
      slowSquareRoot(f, scalar),
    ]),
    slowArithmetic(f, 'addsub', false),
    operandFlags(f),
    denormalsAreZero(f),
  ]),
];

export const floatRows: readonly Row[] = [
  ...arithmeticRows('ADD', '58', 'add'),
  ...arithmeticRows('MUL', '59', 'mul'),
  ...arithmeticRows('SUB', '5C', 'sub'),
  ...arithmeticRows('DIV', '5E', 'div'),
  ...floats('SQRT', '51', squareRoot, undefined, 'one'),
  ...floats('MIN', '5D', extreme('pmin')),
  ...floats('MAX', '5F', extreme('pmax')),
  ...floats('CMP', 'C2', compare, undefined, 'imm'),
  ...compareFlagsRows('UCOMI', '2E', false),
  ...compareFlagsRows('COMI', '2F', true),
];
