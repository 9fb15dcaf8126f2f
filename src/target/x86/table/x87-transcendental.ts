/** x87 transcendental instructions (SDM vol. 1, 8.3.7). */
import {
  and,
  type Builder,
  type Expr,
  eqz,
  i32,
  i64,
  type LibraryFunction,
  ltS,
  ltU,
  or,
  select,
  sub,
} from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { fpuControl, fpuStatus } from '../state.ts';
import { type Row, row } from './row.ts';
import {
  clean,
  complete,
  type Extended,
  extended,
  indefinite,
  isEmpty,
  isNan,
  overflow,
  pop,
  readSt,
  remember,
  result,
  rotateTop,
  statusBits,
  storeResult,
  underflow,
  unlessEmpty,
  writeSt,
} from './x87-stack.ts';

const unit = { unit: 'x87', cpuid: 'fpu' } as const;
const st0 = i32(0);
const st1 = i32(1);

const setC2 = (b: Builder): void => b.put(fpuStatus, or(b.get(fpuStatus), i32(statusBits.C2)));
const clearC2 = (b: Builder): void => b.put(fpuStatus, and(b.get(fpuStatus), i32(~statusBits.C2)));

/** 1 for a finite |x| >= 2^63, which FSIN, FCOS, FSINCOS and FPTAN do not take. */
const isTooLarge = (x: Extended): Expr =>
  and(
    ltU(sub(and(x.exponent, i32(0x7fff)), i32(0x3fff + 63)), i32(0x7fff - (0x3fff + 63))),
    ltS(x.significand, i64(0)),
  );

const call = (b: Builder, name: string, ...operands: Extended[]): Extended =>
  result(b, b.call(`f80_${name}`, ...operands.flatMap((x) => [x.significand, x.exponent]), b.get(fpuControl)));

/** `x87_<name>`: ST(0) ← f(ST(0)). */
const unary = (name: 'f2xm1' | 'fsin' | 'fcos'): LibraryFunction => ({
  name: `x87_${name}`,
  params: [],
  result: undefined,
  body(b) {
    const compute = () => {
      const { value, flags } = clean(b, () => call(b, name, readSt(b, st0)));
      return storeResult(b, st0, value, flags);
    };
    if (name === 'f2xm1') unlessEmpty(b, [st0], st0, compute);
    else {
      clearC2(b);
      unlessEmpty(b, [st0], st0, () => {
        b.if(isTooLarge(readSt(b, st0)), () => setC2(b), compute);
        return i32(1);
      });
    }
    return undefined;
  },
});

/** `x87_<name>`: ST(1) ← f(ST(0), ST(1)), pop. */
const binary = (name: 'fyl2x' | 'fyl2xp1' | 'fpatan'): LibraryFunction => ({
  name: `x87_${name}`,
  params: [],
  result: undefined,
  body(b) {
    const stores = unlessEmpty(b, [st0, st1], st1, () => {
      const { value, flags } = clean(b, () => call(b, name, readSt(b, st0), readSt(b, st1)));
      return storeResult(b, st1, value, flags);
    });
    b.if(stores, () => pop(b));
    return undefined;
  },
});

/** `x87_<name>`: ST(0) ← f(ST(0)), then push a second result. */
const pushing = (
  name: string,
  compute: (b: Builder, x: Extended) => [first: Extended, second: Extended],
): LibraryFunction => ({
  name: `x87_${name}`,
  params: [],
  result: undefined,
  body(b) {
    const replace = (first: Extended, second: Extended) => {
      writeSt(b, st0, first);
      rotateTop(b, -1);
      writeSt(b, st0, second);
    };
    clearC2(b);
    const empty = b.let(isEmpty(b, st0));
    b.if(
      or(empty, eqz(isEmpty(b, i32(-1)))),
      () => b.if(complete(b, select(empty, i32(underflow), i32(overflow))), () => replace(indefinite, indefinite)),
      () => {
        const x = readSt(b, st0);
        b.if(
          isTooLarge(x),
          () => setC2(b),
          () => {
            const { value, flags } = clean(b, () => compute(b, x));
            b.if(complete(b, flags), () => replace(...value));
          },
        );
      },
    );
    return undefined;
  },
});

const one = extended(0x3fff, 1n << 63n);

/** FPTAN pushes 1, or the NaN that is its result. */
function tangentAndOne(b: Builder, x: Extended): [Extended, Extended] {
  const tangent = call(b, 'fptan', x);
  const nan = b.let(isNan(tangent));
  const significand = b.let(select(nan, tangent.significand, one.significand));
  return [tangent, { significand, exponent: b.let(select(nan, tangent.exponent, one.exponent)) }];
}

export const x87TranscendentalLibrary: readonly LibraryFunction[] = [
  ...(['f2xm1', 'fsin', 'fcos'] as const).map(unary),
  ...(['fyl2x', 'fyl2xp1', 'fpatan'] as const).map(binary),
  pushing('fptan', tangentAndOne),
  pushing('fsincos', (b, x) => [call(b, 'fsin', x), call(b, 'fcos', x)]),
];

const calling = (name: string) => (b: X86Builder) => {
  b.call(`x87_${name}`);
  remember(b);
};

export const x87TranscendentalRows: readonly Row[] = [
  row('F2XM1', 'D9 =F0', '', calling('f2xm1'), unit),
  row('FYL2X', 'D9 =F1', '', calling('fyl2x'), unit),
  row('FPTAN', 'D9 =F2', '', calling('fptan'), unit),
  row('FPATAN', 'D9 =F3', '', calling('fpatan'), unit),
  row('FYL2XP1', 'D9 =F9', '', calling('fyl2xp1'), unit),
  row('FSINCOS', 'D9 =FB', '', calling('fsincos'), unit),
  row('FSIN', 'D9 =FE', '', calling('fsin'), unit),
  row('FCOS', 'D9 =FF', '', calling('fcos'), unit),
];
