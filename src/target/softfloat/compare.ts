/** Comparison, quiet and signalling. */
import { and, type Builder, type Expr, eq, i32, type LibraryFunction, ltS, ltU, ne, or, select } from '../ir/index.ts';
import {
  exception,
  type FloatFormat,
  f32,
  f64,
  f80,
  isNan,
  isZero,
  normalise,
  type Parts,
  raiseFlags,
  raiseIfSignalling,
  unpack,
  valueParams,
} from './format.ts';

/** What comparisons return: ZF, PF and CF as COMISS sets them (SDM vol. 2). */
const relation = { greater: 0, less: 1, equal: 0x40, unordered: 0x45 } as const;

/** `<format>_compare` (a, b, signalling[, mxcsr]). */
function compare(format: FloatFormat): LibraryFunction {
  const width = valueParams(format).length;
  const extended = format.name === 'f80';
  return {
    name: `${format.name}_compare`,
    params: [...valueParams(format), ...valueParams(format), 'i32', ...(extended ? [] : ['i32' as const])],
    result: 'i32',
    body(b, ...args) {
      const x = unpack(b, format, args);
      const y = unpack(b, format, args.slice(width));
      const signalling = args[2 * width];
      const control = extended ? i32(0) : args[2 * width + 1];
      const out = b.variable(i32(relation.unordered));
      b.if(
        or(isNan(format, x), isNan(format, y)),
        () => {
          b.if(signalling, () => raiseFlags(b, i32(exception.invalid)));
          raiseIfSignalling(b, format, [x, y]);
        },
        () => {
          raiseFlags(b, or(normalise(b, format, x, control), normalise(b, format, y, control)));
          b.set(out, finiteRelation(b, x, y));
        },
      );
      return out;
    },
  };
}

/** Relation of two normalised operands that are not NaNs. */
function finiteRelation(b: Builder, x: Parts, y: Parts): Expr {
  const out = b.variable(i32(relation.equal));
  const sameMagnitude = b.let(and(eq(x.exponent, y.exponent), eq(x.significand, y.significand)));
  const bothZero = and(isZero(x), isZero(y));
  b.if(
    or(bothZero, and(sameMagnitude, eq(x.sign, y.sign))),
    () => {},
    () => {
      const smaller = or(
        ltS(x.exponent, y.exponent),
        and(eq(x.exponent, y.exponent), ltU(x.significand, y.significand)),
      );
      // With different signs the negative one is less; with equal negative signs the order is the magnitudes' reversed.
      const less = select(eq(x.sign, y.sign), ne(smaller, x.sign), x.sign);
      b.set(out, less);
    },
  );
  return out;
}

export const compareFunctions: readonly LibraryFunction[] = [f32, f64, f80].map(compare);
