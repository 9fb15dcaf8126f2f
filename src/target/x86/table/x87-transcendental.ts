/** x87 transcendental instructions (SDM vol. 1, 8.3.7): the helper computes, what is here checks, rounds and stores. */
import { and, type Expr, eq, eqz, i32, i64, or, select, shrU, toI32 } from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { floatFlags, fpuControl, fpuStatus } from '../state.ts';
import { type X87OperationName, x87Answer, x87Operation } from '../x87-operations.ts';
import { type Row, row } from './row.ts';
import {
  complete,
  type Extended,
  extended,
  indefinite,
  isEmpty,
  isNan,
  overflow,
  pop,
  remember,
  result,
  rotateTop,
  statusBits,
  underflow,
  writeSt,
} from './x87-stack.ts';

const unit = { unit: 'x87', cpuid: 'fpu' } as const;
const st0 = i32(0);
const st1 = i32(1);

interface Computed {
  readonly value: Extended;
  /** Raised exceptions. */
  readonly flags: Expr;
  /** 1 when the operand is out of the instruction's range. */
  readonly tooLarge: Expr;
}

function compute(b: X86Builder, operation: X87OperationName): Computed {
  b.put(floatFlags, i32(0));
  b.helper('x87', i64(x87Operation[operation]));
  const answer = b.argument(0);
  const kind = b.let(toI32(answer));
  const significand = b.variable(b.argument(1));
  const exponent = b.variable(toI32(b.argument(3)));
  b.if(eq(kind, i32(x87Answer.number)), () => {
    const sign = toI32(shrU(answer, i64(32)));
    // These round to full precision whatever the precision control says.
    const control = or(b.get(fpuControl), i32(0x300));
    const rounded = result(b, b.call('f80_pack', sign, exponent, significand, b.argument(2), control));
    b.set(significand, rounded.significand);
    b.set(exponent, rounded.exponent);
  });
  return {
    value: { significand, exponent },
    flags: b.get(floatFlags),
    tooLarge: b.let(eq(kind, i32(x87Answer.tooLarge))),
  };
}

/** ST(0) ← f(ST(0)); C2 and nothing else when ST(0) is too large. */
const unary = (operation: X87OperationName) => (b: X86Builder) => {
  remember(b);
  if (operation !== 'powerOfTwo') b.put(fpuStatus, and(b.get(fpuStatus), i32(~statusBits.C2)));
  b.if(
    isEmpty(b, st0),
    () => b.if(complete(b, i32(underflow)), () => writeSt(b, st0, indefinite)),
    () => {
      const { value, flags, tooLarge } = compute(b, operation);
      b.if(
        tooLarge,
        () => b.put(fpuStatus, or(b.get(fpuStatus), i32(statusBits.C2))),
        () => b.if(complete(b, flags), () => writeSt(b, st0, value)),
      );
    },
  );
};

/** ST(1) ← f(ST(0), ST(1)), pop. */
const binary = (operation: X87OperationName) => (b: X86Builder) => {
  remember(b);
  const stores = b.variable(i32(0));
  b.if(
    or(isEmpty(b, st0), isEmpty(b, st1)),
    () => {
      b.set(stores, complete(b, i32(underflow)));
      b.if(stores, () => writeSt(b, st1, indefinite));
    },
    () => {
      const { value, flags } = compute(b, operation);
      b.set(stores, complete(b, flags));
      b.if(stores, () => writeSt(b, st1, value));
    },
  );
  b.if(stores, () => pop(b));
};

/** ST(0) ← f(ST(0)), then push a second result. */
const pushing =
  (operation: X87OperationName, second: (b: X86Builder, first: Extended) => Pick<Computed, 'value' | 'flags'>) =>
  (b: X86Builder) => {
    remember(b);
    b.put(fpuStatus, and(b.get(fpuStatus), i32(~statusBits.C2)));
    const replace = (first: Extended, pushed: Extended) => {
      writeSt(b, st0, first);
      rotateTop(b, -1);
      writeSt(b, st0, pushed);
    };
    b.if(
      or(isEmpty(b, st0), eqz(isEmpty(b, i32(-1)))),
      () => {
        const flags = b.variable(i32(overflow));
        b.if(isEmpty(b, st0), () => b.set(flags, i32(underflow)));
        b.if(complete(b, flags), () => replace(indefinite, indefinite));
      },
      () => {
        const first = compute(b, operation);
        b.if(
          first.tooLarge,
          () => b.put(fpuStatus, or(b.get(fpuStatus), i32(statusBits.C2))),
          () => {
            const other = second(b, first.value);
            b.if(complete(b, b.let(or(first.flags, other.flags))), () => replace(first.value, other.value));
          },
        );
      },
    );
  };

const one = extended(0x3fff, 1n << 63n);

/** FPTAN pushes 1, or the NaN that is its result. */
function oneOrNan(b: X86Builder, first: Extended): Extended {
  const nan = b.let(isNan(first));
  return {
    significand: b.let(select(nan, first.significand, one.significand)),
    exponent: b.let(select(nan, first.exponent, one.exponent)),
  };
}

export const x87TranscendentalRows: readonly Row[] = [
  row('F2XM1', 'D9 =F0', '', unary('powerOfTwo'), unit),
  row('FYL2X', 'D9 =F1', '', binary('logarithm'), unit),
  row(
    'FPTAN',
    'D9 =F2',
    '',
    pushing('tangent', (b, first) => ({ value: oneOrNan(b, first), flags: i32(0) })),
    unit,
  ),
  row('FPATAN', 'D9 =F3', '', binary('arctangent'), unit),
  row('FYL2XP1', 'D9 =F9', '', binary('logarithmOfNext'), unit),
  row(
    'FSINCOS',
    'D9 =FB',
    '',
    pushing('sine', (b) => compute(b, 'cosine')),
    unit,
  ),
  row('FSIN', 'D9 =FE', '', unary('sine'), unit),
  row('FCOS', 'D9 =FF', '', unary('cosine'), unit),
];
