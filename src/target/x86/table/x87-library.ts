/** Library functions of x87 arithmetic: stack checks, soft float and exceptions together, so that handlers stay small. */
import {
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  type LibraryFunction,
  or,
  select,
  shl,
  type Variable,
} from '../../ir/index.ts';
import { fpuControl, fpuStatus } from '../state.ts';
import {
  clean,
  complete,
  conditionBits,
  type Extended,
  indefinite,
  isEmpty,
  isNan,
  overflow,
  readSt,
  result,
  rotateTop,
  setConditions,
  stackFunctions,
  statusBits,
  storeResult,
  underflow,
  unlessEmpty,
  writeSt,
} from './x87-stack.ts';

export const binaryOperations = ['add', 'sub', 'mul', 'div', 'scale'] as const;
export type BinaryOperation = (typeof binaryOperations)[number];

const compute = (b: Builder, operation: BinaryOperation, x: Extended, y: Extended): Extended =>
  result(b, b.call(`f80_${operation}`, x.significand, x.exponent, y.significand, y.exponent, b.get(fpuControl)));

/** `x87_<op>` (i, j, target): ST(target) ← ST(i) op ST(j); 1 if stored. */
const registerForm = (operation: BinaryOperation): LibraryFunction => ({
  name: `x87_${operation}`,
  params: ['i32', 'i32', 'i32'],
  result: 'i32',
  body: (b, i, j, target) =>
    unlessEmpty(b, [i, j], target, () => {
      const { value, flags } = clean(b, () => compute(b, operation, readSt(b, i), readSt(b, j)));
      return storeResult(b, target, value, flags);
    }),
});

/** DE is lost when a short denormal is widened; it counts unless a NaN, an invalid operation or a division by zero goes before it. */
const withDenormal = (flags: Expr, denormal: Expr, value: Extended): Expr =>
  or(flags, select(or(and(flags, i32(5)), isNan(value)), i32(0), denormal));

/** `x87_<op>_value` (significand, exponent, denormal, reverse): ST(0) ← ST(0) op value, or value op ST(0). `denormal` is DE's bit or 0. */
const valueForm = (operation: BinaryOperation): LibraryFunction => ({
  name: `x87_${operation}_value`,
  params: ['i64', 'i32', 'i32', 'i32'],
  result: undefined,
  body(b, significand, exponent, denormal, reverse) {
    unlessEmpty(b, [i32(0)], i32(0), () => {
      const st = readSt(b, i32(0));
      const other = { significand, exponent };
      const pick = (x: Extended, y: Extended): Extended => ({
        significand: b.let(select(reverse, y.significand, x.significand)),
        exponent: b.let(select(reverse, y.exponent, x.exponent)),
      });
      const { value, flags } = clean(b, () => compute(b, operation, pick(st, other), pick(other, st)));
      return storeResult(b, i32(0), value, b.let(withDenormal(flags, denormal, value)));
    });
    return undefined;
  },
});

/** `x87_<name>`: ST(0) ← f(ST(0)). */
const unary = (name: 'sqrt' | 'round'): LibraryFunction => ({
  name: `x87_${name}`,
  params: [],
  result: undefined,
  body(b) {
    unlessEmpty(b, [i32(0)], i32(0), () => {
      const st = readSt(b, i32(0));
      const { value, flags } = clean(b, () =>
        result(b, b.call(`f80_${name}`, st.significand, st.exponent, b.get(fpuControl))),
      );
      return storeResult(b, i32(0), value, flags);
    });
    return undefined;
  },
});

/** Bits of what the comparing functions return besides ZF, PF and CF: an unmasked exception forbids to pop; a register was empty. */
export const relationBits = { image: 0x45, blocked: 1 << 8, stackFault: 1 << 9 } as const;
const unordered = 0x45;

/** `x87_relation` (i, j, signalling) and `x87_relation_value` (significand, exponent, denormal): ZF, PF, CF as FCOMI sets them, and `relationBits`. */
function relationFunction(
  name: string,
  params: ('i32' | 'i64')[],
  operands: (
    b: Builder,
    args: readonly Expr[],
  ) => { empty: Expr; other: () => Extended; first: Expr; denormal: Expr; signalling: Expr },
): LibraryFunction {
  return {
    name,
    params,
    result: 'i32',
    body(b, ...args) {
      const { empty, first, other, denormal, signalling } = operands(b, args);
      const relation = b.variable(i32(unordered));
      const flags = b.variable(i32(underflow));
      b.if(eqz(empty), () => {
        const x = readSt(b, first);
        const y = other();
        const compared = clean(b, () =>
          b.call('f80_compare', x.significand, x.exponent, y.significand, y.exponent, signalling),
        );
        b.set(relation, compared.value);
        b.set(flags, or(compared.flags, select(eq(relation, i32(unordered)), i32(0), denormal)));
      });
      b.set(relation, or(relation, select(and(flags, i32(statusBits.SF)), i32(relationBits.stackFault), i32(0))));
      return or(relation, shl(eqz(complete(b, flags)), i32(8)));
    },
  };
}

const relations: LibraryFunction[] = [
  relationFunction('x87_relation', ['i32', 'i32', 'i32'], (b, [i, j, signalling]) => ({
    empty: or(isEmpty(b, i), isEmpty(b, j)),
    first: i,
    other: () => readSt(b, j),
    denormal: i32(0),
    signalling,
  })),
  relationFunction('x87_relation_value', ['i64', 'i32', 'i32'], (b, [significand, exponent, denormal]) => ({
    empty: isEmpty(b, i32(0)),
    first: i32(0),
    other: () => ({ significand, exponent }),
    denormal,
    signalling: i32(1),
  })),
];

/** `x87_exchange` (i): FXCH; an empty register takes part as the indefinite. */
const exchange: LibraryFunction = {
  name: 'x87_exchange',
  params: ['i32'],
  result: undefined,
  body(b, i) {
    const flags = b.variable(i32(0));
    const take = (index: Expr): Extended => {
      const st = readSt(b, index);
      const significand = b.variable(st.significand);
      const exponent = b.variable(st.exponent);
      b.if(isEmpty(b, index), () => {
        b.set(flags, i32(underflow));
        b.set(significand, indefinite.significand);
        b.set(exponent, indefinite.exponent);
      });
      return { significand, exponent };
    };
    const x = take(i32(0));
    const y = take(i);
    b.if(complete(b, flags), () => {
      writeSt(b, i32(0), y);
      writeSt(b, i, x);
    });
    return undefined;
  },
};

/** `x87_remainder` (nearest): FPREM and FPREM1. */
const remainder: LibraryFunction = {
  name: 'x87_remainder',
  params: ['i32'],
  result: undefined,
  body(b, nearest) {
    b.put(fpuStatus, and(b.get(fpuStatus), i32(~statusBits.C2)));
    unlessEmpty(b, [i32(0), i32(1)], i32(0), () => {
      const x = readSt(b, i32(0));
      const y = readSt(b, i32(1));
      const { value, flags } = clean(b, () =>
        result(
          b,
          b.call('f80_remainder', x.significand, x.exponent, y.significand, y.exponent, nearest, b.get(fpuControl)),
        ),
      );
      const stores = storeResult(b, i32(0), value, and(flags, i32(0x3f)));
      b.if(and(stores, eqz(isNan(value))), () => setConditions(b, and(flags, i32(conditionBits))));
      return stores;
    });
    return undefined;
  },
};

/** `x87_extract`: FXTRACT. */
const extract: LibraryFunction = {
  name: 'x87_extract',
  params: [],
  result: undefined,
  body(b) {
    const st = readSt(b, i32(0));
    const exponent = copy(b, indefinite);
    const significand = copy(b, indefinite);
    const flags = b.variable(i32(overflow));
    b.if(
      isEmpty(b, i32(0)),
      () => b.set(flags, i32(underflow)),
      () =>
        b.if(isEmpty(b, i32(-1)), () => {
          assign(b, exponent, result(b, b.call('f80_exponent', st.significand, st.exponent)));
          const second = clean(b, () => result(b, b.call('f80_significand', st.significand, st.exponent)));
          assign(b, significand, second.value);
          b.set(flags, second.flags);
        }),
    );
    b.if(complete(b, flags), () => {
      writeSt(b, i32(0), exponent);
      rotateTop(b, -1);
      writeSt(b, i32(0), significand);
    });
    return undefined;
  },
};

interface ExtendedVariable {
  readonly significand: Variable;
  readonly exponent: Variable;
}
const copy = (b: Builder, value: Extended): ExtendedVariable => ({
  significand: b.variable(value.significand),
  exponent: b.variable(value.exponent),
});
function assign(b: Builder, variable: ExtendedVariable, value: Extended): void {
  b.set(variable.significand, value.significand);
  b.set(variable.exponent, value.exponent);
}

export const x87Library: readonly LibraryFunction[] = [
  ...stackFunctions,
  ...binaryOperations.map(registerForm),
  ...(['add', 'sub', 'mul', 'div'] as const).map(valueForm),
  unary('sqrt'),
  unary('round'),
  ...relations,
  exchange,
  remainder,
  extract,
];
