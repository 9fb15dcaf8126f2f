/** What comparisons, minima and maxima do before they compare: exact operations, where only NaNs and denormals matter. */
import { and, type Expr, i32, type LibraryFunction, op, or, select, shl, type Variable } from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { floatFlags } from '../state.ts';
import { denormal, double, type Format, lane0Of, noDaz, on, single, slowly, v } from './fp.ts';
import { ones128, zero128 } from './vec.ts';

/** Lanes with a NaN or a denormal (or the smallest normal number: the check is one subtraction and one comparison). */
export const oddLanes = (b: X86Builder, f: Format, x: Expr): Expr => {
  const below = op(`${f.ints}.sub`, v('and', x, b.constant(f.magnitude)), b.constant(f.units));
  return v('or', on(f, 'ne', x, x), on(f, 'lt', below, b.constant(f.smallest)));
};

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
  const variables = pairs.map(([x, y]): [Variable, Variable] => [b.variable(x), b.variable(y)]);
  const which = scalar ? f.float : f.shape;
  const oddOf = (e: Expr) => (b.isTame(e, which) ? on(f, 'ne', e, e) : oddLanes(b, f, e));
  const odd = pairs.map(([x, y]) => v('or', oddOf(x), oddOf(y))).reduce((p, q) => v('or', p, q));
  const isOdd = scalar ? lane0Of(f, odd) : op('v128.any_true', odd);
  b.ifUnlikely(isOdd, () => {
    slowly(b, () => {
      for (const [x, y] of variables) b.call(`sse_operands_${f.shape}`, x, y, signalling, scalar ? f.lane0 : ones128);
    });
    for (const pair of variables) for (const e of pair) b.set(e, b.call(`sse_daz_${f.shape}`, e));
    b.insist(() => {
      const any = pairs
        .flat()
        .map((e) => denormal(f, e))
        .reduce((p, q) => v('or', p, q));
      return op('i32.eqz', scalar ? lane0Of(f, any) : op('v128.any_true', any));
    });
  });
  for (const e of pairs.flat()) b.noteTame(e, which);
  return variables;
}

export const compareLibrary: readonly LibraryFunction[] = [single, double].flatMap((f) => [
  operandFlags(f),
  denormalsAreZero(f),
]);
