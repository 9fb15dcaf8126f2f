/** Addition to square root on vectors and their lane 0: the fast paths that fp.ts describes, and the functions behind them. */
import {
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  type LibraryFunction,
  ltU,
  op,
  shl,
  sub,
} from '../../ir/index.ts';
import type { FloatLanes, X86Builder } from '../builder.ts';
import { mxcsr } from '../state.ts';
import {
  abs,
  allLanes,
  bitsOf,
  denormal,
  double,
  type Format,
  fastRounding,
  lane0Of,
  laneOf,
  mergeLane0,
  mxcsrBit,
  on,
  single,
  slowly,
  slowlyUnless,
  v,
  withLane,
} from './fp.ts';
import { zero128 } from './vec.ts';

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

/** Those of two operands that may be denormal for all that is known. */
const untamed = (b: X86Builder, lanes: FloatLanes, x: Expr, y: Expr): Expr[] =>
  [x, y].filter((e) => !b.isTame(e, lanes));

/** Lanes where the operands and the result are normal. */
function goodLanes(b: X86Builder, f: Format, x: Expr, y: Expr, r: Expr): Expr {
  const mask = b.constant(f.magnitude);
  const magnitude = b.let(v('and', r, mask));
  const least = untamed(b, f.shape, x, y).reduce<Expr>((m, e) => on(f, 'pmin', m, v('and', e, mask)), magnitude);
  return v('and', on(f, 'gt', least, b.constant(f.smallest)), on(f, 'lt', magnitude, b.constant(f.infinity)));
}

/** The same for lane 0 alone, as an i32. */
function goodScalar(b: X86Builder, f: Format, x: Expr, y: Expr, r: Expr): Expr {
  // Without its sign, a normal number is between two numbers as an integer.
  const twice = shl(op(`${f.bits}.reinterpret_${f.float}`, r), constLike(f.bits, 1));
  const least = 2n * f.smallestBits + 1n;
  const normal = ltU(sub(twice, constLike(f.bits, least)), constLike(f.bits, 2n * f.infinityBits - least));
  const doubtful = untamed(b, f.float, x, y);
  if (doubtful.length === 0) return normal;
  const smaller = doubtful.map((e) => abs(f, e)).reduce((p, q) => on(f, 'pmin', p, q));
  return and(normal, op(`${f.float}.ge`, laneOf(f, smaller), f.constant(f.smallestNumber)));
}

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

const constLike = (type: 'i32' | 'i64', value: bigint | number): Expr =>
  type === 'i64' ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));

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
        const mayBeExact = eq(
          and(m, i32(mxcsrBit.PE | mxcsrBit.DAZ | mxcsrBit.masks | mxcsrBit.RC | mxcsrBit.FTZ)),
          i32(mxcsrBit.masks),
        );
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

/** Lanes that need no soft-float and are not denormal, zeros included: the second look, where the first one fails. */
const exactAndTame = (f: Format, name: Arithmetic, x: Expr, y: Expr, r: Expr): Expr =>
  v('andnot', exactEnough(f, name, x, y, r), denormal(f, r));

/** Runs `compute` where neither look finds the results good; behind it, what was computed and its operands are tame. */
function settle(
  b: X86Builder,
  f: Format,
  lanes: FloatLanes,
  good: Expr,
  second: () => Expr,
  values: readonly Expr[],
  compute: () => void,
): void {
  const whole = lanes === f.shape;
  const hasDenormal = () => {
    const any = values.map((e) => denormal(f, e)).reduce((p, q) => v('or', p, q));
    return whole ? op('v128.any_true', any) : lane0Of(f, any);
  };
  b.ifUnlikely(eqz(and(b.roundsFast(), good)), () =>
    b.if(
      and(b.roundsFast(), whole ? allLanes(f, second()) : lane0Of(f, second())),
      () => {},
      () => {
        slowly(b, compute);
        b.insist(() => eqz(hasDenormal()));
      },
    ),
  );
  for (const e of values) b.noteTame(e, lanes);
}

/** x op y for each pair of halves, exceptions included. */
export function arithmetic(
  b: X86Builder,
  f: Format,
  name: Arithmetic,
  pairs: readonly (readonly [Expr, Expr])[],
): Expr[] {
  const results = pairs.map(([x, y]) => b.variable(native(f, name, x, y)));
  const both = (lanes: (x: Expr, y: Expr, r: Expr) => Expr) =>
    pairs.map(([x, y], i) => lanes(x, y, results[i])).reduce((p, q) => v('and', p, q));
  const good = allLanes(
    f,
    both((x, y, r) => goodLanes(b, f, x, y, r)),
  );
  const second = () => both((x, y, r) => exactAndTame(f, name, x, y, r));
  settle(b, f, f.shape, good, second, [...results, ...pairs.flat()], () => {
    for (const [i, [x, y]] of pairs.entries()) b.set(results[i], b.call(slowName(f, name, false), x, y));
  });
  return results;
}

/** x with lane 0 replaced by x op y, exceptions included. */
export function scalarArithmetic(b: X86Builder, f: Format, name: Arithmetic, x: Expr, y: Expr): Expr {
  const r = b.let(op(`${f.float}.${name}`, laneOf(f, x), laneOf(f, y)));
  const out = b.variable(withLane(f, x, r));
  const second = () => exactAndTame(f, name, x, y, out);
  settle(b, f, f.float, goodScalar(b, f, x, y, r), second, [out, x, y], () =>
    b.set(out, b.call(slowName(f, name, true), x, y)),
  );
  return out;
}

/** Lanes whose square root is inexact at worst. */
const goodRadicand = (f: Format, x: Expr): Expr => v('and', on(f, 'ge', x, f.smallest), on(f, 'lt', x, f.infinity));

/** Square roots of the lanes of each vector, exceptions included. */
export function squareRoots(b: X86Builder, f: Format, xs: readonly Expr[]): Expr[] {
  const results = xs.map((x) => b.variable(on(f, 'sqrt', x)));
  const good = xs.map((x) => goodRadicand(f, x)).reduce((p, q) => v('and', p, q));
  slowlyUnless(b, and(b.roundsFast(), allLanes(f, good)), () => {
    for (const [i, x] of xs.entries()) b.set(results[i], b.call(slowName(f, 'sqrt', false), x, x));
  });
  return results;
}

/** `rest` with lane 0 replaced by the square root of x's, exceptions included. */
export function scalarSquareRoot(b: X86Builder, f: Format, rest: Expr, x: Expr): Expr {
  const out = b.variable(withLane(f, rest, op(`${f.float}.sqrt`, laneOf(f, x))));
  slowlyUnless(b, and(b.roundsFast(), lane0Of(f, goodRadicand(f, x))), () =>
    b.set(out, b.call(slowName(f, 'sqrt', true), rest, x)),
  );
  return out;
}

export const arithmeticLibrary: readonly LibraryFunction[] = [single, double].flatMap((f) => [
  ...[false, true].flatMap((scalar) => [
    ...(['add', 'sub', 'mul', 'div'] as const).map((name) => slowArithmetic(f, name, scalar)),
    slowSquareRoot(f, scalar),
  ]),
  slowArithmetic(f, 'addsub', false),
]);
