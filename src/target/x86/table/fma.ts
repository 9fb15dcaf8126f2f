/**
 * FMA: a·b + c rounded once (SDM vol. 1, 14.5). WebAssembly has no fused
 * operation, so the fast path builds it from error-free transformations
 * (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved
 * algorithms using rounding to odd", 2008); soft-float does the rest.
 */
import { and, type Builder, type Expr, i32, type LibraryFunction, op } from '../../ir/index.ts';
import type { Semantics } from '../builder.ts';
import { mxcsr } from '../state.ts';
import {
  abs,
  allLanes,
  bitsOf,
  denormal,
  double,
  type Format,
  fastRounding,
  mergeLane0,
  readHalves,
  single,
  slowly,
  v,
  withLane,
  writeAll,
} from './fp.ts';
import type { Row } from './row.ts';
import { avx, lanes, pick, zero128 } from './vec.ts';

const d = (name: string, ...args: Expr[]): Expr => op(`f64x2.${name}`, ...args);

/** x + y and its rounding error (Knuth). */
function twoSum(b: Builder, x: Expr, y: Expr): [sum: Expr, error: Expr] {
  const sum = b.let(d('add', x, y));
  const yPart = b.let(d('sub', sum, x));
  return [sum, b.let(d('add', d('sub', x, d('sub', sum, yPart)), d('sub', y, yPart)))];
}

/** x as a sum of two numbers of at most 26 bits (Veltkamp). */
function split(b: Builder, x: Expr): [high: Expr, low: Expr] {
  const scaled = b.let(d('mul', x, lanes(8, 0x41a0000002000000n))); // 2^27 + 1
  const high = b.let(d('sub', scaled, d('sub', scaled, x)));
  return [high, b.let(d('sub', x, high))];
}

/** x · y and its rounding error (Dekker). */
function twoProduct(b: Builder, x: Expr, y: Expr): [product: Expr, error: Expr] {
  const product = b.let(d('mul', x, y));
  const [xHigh, xLow] = split(b, x);
  const [yHigh, yLow] = split(b, y);
  const first = d('sub', d('mul', xHigh, yHigh), product);
  const error = d('add', d('add', d('add', first, d('mul', xHigh, yLow)), d('mul', xLow, yHigh)), d('mul', xLow, yLow));
  return [product, b.let(error)];
}

/** x + y rounded to odd: where inexact, the neighbour whose last bit is 1. */
function oddSum(b: Builder, x: Expr, y: Expr): Expr {
  const [sum, error] = twoSum(b, x, y);
  const even = op('i64x2.eq', v('and', sum, lanes(8, 1)), zero128);
  const towards = v('or', op('i64x2.shr_s', v('xor', sum, error), i32(63)), lanes(8, 1));
  return b.let(op('i64x2.add', sum, v('and', v('and', d('ne', error, zero128), even), towards)));
}

/** Doubles: right where every magnitude is between 2^-900 and 2^990, as `good` says. */
function fusedDoubles(b: Builder, x: Expr, y: Expr, z: Expr): { result: Expr; good: Expr } {
  const [productHigh, productLow] = twoProduct(b, x, y);
  const [innerHigh, innerLow] = twoSum(b, z, productLow);
  const [outerHigh, outerLow] = twoSum(b, productHigh, innerHigh);
  const result = b.let(d('add', outerHigh, oddSum(b, innerLow, outerLow)));
  // A NaN among the operands makes the result one; pmin and pmax keep a NaN in their first operand.
  const magnitudes = [result, productHigh, x, y, z].map((e) => abs(double, e));
  const least = magnitudes.reduce((p, q) => d('pmin', p, q));
  const greatest = magnitudes.reduce((p, q) => d('pmax', p, q));
  return {
    result,
    good: v('and', d('gt', least, lanes(8, 0x07b0000000000000n)), d('lt', greatest, lanes(8, 0x7dd0000000000000n))),
  };
}

/** Singles: the product is exact in doubles, and a sum rounded to odd there rounds on to single correctly. */
function fusedSingles(b: Builder, x: Expr, y: Expr, z: Expr): { result: Expr; good: Expr } {
  const half = (part: (e: Expr) => Expr) => {
    const promoted = [x, y, z].map((e) => b.let(d('promote_low_f32x4', part(e))));
    return op('f32x4.demote_f64x2_zero', oddSum(b, b.let(d('mul', promoted[0], promoted[1])), promoted[2]));
  };
  const result = b.let(
    pick(
      8,
      half((e) => e),
      half((e) => pick(8, e, e, 1, 1)),
      0,
      2,
    ),
  );
  const denormals = [x, y, z].map((e) => denormal(single, e)).reduce((p, q) => v('or', p, q));
  const inRange = v(
    'and',
    op('f32x4.gt', abs(single, result), single.smallest),
    op('f32x4.lt', abs(single, result), single.infinity),
  );
  return { result, good: v('andnot', inRange, denormals) };
}

const functionName = (f: Format, scalar: boolean): string => `sse_fma_${scalar ? f.float : f.shape}`;

/**
 * `sse_fma_<shape>` (a, b, c, signedA, signedC, even, odd): signedA and signedC are a and c with the signs that the
 * instruction gives them; even and odd say the same to soft-float for even and odd lanes. `sse_fma_<float>`: lane 0 only.
 */
const fmaFunction = (f: Format, scalar: boolean): LibraryFunction => ({
  name: functionName(f, scalar),
  params: ['v128', 'v128', 'v128', 'v128', 'v128', 'i32', 'i32'],
  result: 'v128',
  body(b, a, y, c, signedA, signedC, even, odd) {
    const m = b.get(mxcsr);
    const only0 = (e: Expr) => (scalar ? b.let(mergeLane0(f, e, f.one)) : e);
    const { result, good } = (f.size === 4 ? fusedSingles : fusedDoubles)(b, only0(signedA), only0(y), only0(signedC));
    const out = b.variable(result);
    b.if(
      and(fastRounding(m), allLanes(f, good)),
      () => {},
      () => {
        for (let i = 0; i < (scalar ? 1 : f.count); i++)
          b.set(
            out,
            withLane(
              f,
              out,
              b.call(`${f.float}_fma`, bitsOf(f, a, i), bitsOf(f, y, i), bitsOf(f, c, i), i & 1 ? odd : even, m),
              i,
            ),
          );
      },
    );
    return out;
  },
});

/** Soft-float's sign codes: bit 0 negates the product, bit 1 the addend. */
interface Signs {
  readonly even: number;
  readonly odd: number;
}

/** Operand numbers of the two factors and the addend, by the digits of the mnemonic. */
const orders = { '132': [0, 2, 1], '213': [1, 0, 2], '231': [1, 2, 0] } as const;
type Order = keyof typeof orders;

const fused =
  (f: Format, scalar: boolean, order: Order, signs: Signs): Semantics =>
  (b) => {
    const signMask = (bit: number): Expr => {
      const of = (code: number) => (code & bit ? 1n << BigInt(f.size * 8 - 1) : 0n);
      return lanes(f.size, of(signs.even), of(signs.odd));
    };
    const flip = (e: Expr, bit: number) => ((signs.even | signs.odd) & bit ? b.let(v('xor', e, signMask(bit))) : e);
    const sources = [0, 1, 2].map((i) => readHalves(b, i));
    const results: Expr[] = [];
    slowly(b, () => {
      for (let half = 0; half < sources[0].length; half++) {
        const [x, y, z] = orders[order].map((i) => sources[i][half]);
        results.push(
          b.let(b.call(functionName(f, scalar), x, y, z, flip(x, 1), flip(z, 2), i32(signs.even), i32(signs.odd))),
        );
      }
    });
    if (scalar) b.writeVector(0, mergeLane0(f, results[0], sources[0][0]));
    else writeAll(b, results);
  };

/** All forms of one operation; `opcode` is that of the packed 132 form, the scalar one is the next. */
function fma(name: string, opcode: number, signs: Signs, withScalars: boolean): Row[] {
  const hex = (n: number) => n.toString(16).toUpperCase();
  return (Object.keys(orders) as Order[]).flatMap((order, i) => {
    const at = opcode + 16 * i;
    const rows = (
      [
        ['PS', 'W0', single],
        ['PD', 'W1', double],
      ] as const
    ).map(([suffix, w, f]) =>
      avx(`V${name}${order}${suffix}`, `66.0F38.${w} ${hex(at)}`, 'Vx,Hx,Wx', fused(f, false, order, signs), {
        cpuid: 'fma',
      }),
    );
    if (!withScalars) return rows;
    const scalars = (
      [
        ['SS', 'W0', single],
        ['SD', 'W1', double],
      ] as const
    ).map(([suffix, w, f]) => {
      const size = suffix.toLowerCase();
      return avx(
        `V${name}${order}${suffix}`,
        `66.0F38.${w} ${hex(at + 1)}`,
        `V${size},H${size},W${size}`,
        fused(f, true, order, signs),
        { cpuid: 'fma' },
      );
    });
    return [...rows, ...scalars];
  });
}

export const fmaLibrary: readonly LibraryFunction[] = [single, double].flatMap((f) => [
  fmaFunction(f, false),
  fmaFunction(f, true),
]);

export const fmaRows: readonly Row[] = [
  ...fma('FMADDSUB', 0x96, { even: 2, odd: 0 }, false),
  ...fma('FMSUBADD', 0x97, { even: 0, odd: 2 }, false),
  ...fma('FMADD', 0x98, { even: 0, odd: 0 }, true),
  ...fma('FMSUB', 0x9a, { even: 2, odd: 2 }, true),
  ...fma('FNMADD', 0x9c, { even: 1, odd: 1 }, true),
  ...fma('FNMSUB', 0x9e, { even: 3, odd: 3 }, true),
];
