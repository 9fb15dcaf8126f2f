/**
 * The x87 register stack and exception bookkeeping that all x87 semantics
 * share: emitters for use inside semantics and library functions, and the
 * library functions of the common cases (SDM vol. 1, 8.1–8.5).
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  type LibraryFunction,
  ne,
  or,
  select,
  shl,
  shrU,
  xor,
} from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import {
  cs,
  floatExponent,
  floatFlags,
  fprSignificand,
  fpuControl,
  fpuCs,
  fpuDp,
  fpuIp,
  fpuOpcode,
  fpuStatus,
  fpuTags,
  fpuTop,
} from '../state.ts';

/** Bits of the status word. */
export const statusBits = {
  IE: 1,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  C3: 1 << 14,
  B: 1 << 15,
} as const;
export const conditionBits: number = statusBits.C0 | statusBits.C1 | statusBits.C2 | statusBits.C3;
/** What a stack underflow raises, and an overflow: C1 tells them apart. */
export const underflow: number = statusBits.IE | statusBits.SF;
export const overflow: number = statusBits.IE | statusBits.SF | statusBits.C1;

/** An 80-bit value; the exponent with the sign, 16 bits. */
export interface Extended {
  readonly significand: Expr;
  readonly exponent: Expr;
}
export const extended = (exponent: number, significand: bigint): Extended => ({
  significand: i64(significand),
  exponent: i32(exponent),
});
/** The QNaN that a masked invalid operation gives. */
export const indefinite: Extended = extended(0xffff, 3n << 62n);

const registers = fprSignificand[0].offset;

/** A NaN (or a pseudo-NaN or pseudo-infinity). */
export const isNan = (x: Extended): Expr =>
  and(eq(and(x.exponent, i32(0x7fff)), i32(0x7fff)), ne(x.significand, i64(1n << 63n)));

/** Number of the physical register that is ST(i). */
const physical = (b: Builder, i: Expr): Expr => b.let(and(add(b.get(fpuTop), i), i32(7)));

export const isEmpty = (b: Builder, i: Expr): Expr => eqz(and(shrU(b.get(fpuTags), physical(b, i)), i32(1)));

/** ST(i), whatever its tag. */
export function readSt(b: Builder, i: Expr): Extended {
  const slot = b.let(shl(physical(b, i), i32(4)));
  return { significand: b.getAt(slot, registers, 'i64', 8), exponent: b.getAt(slot, registers + 8, 'i32', 2) };
}

/** Writes ST(i) and marks it as in use. */
export function writeSt(b: Builder, i: Expr, value: Extended): void {
  const register = physical(b, i);
  const slot = b.let(shl(register, i32(4)));
  b.putAt(slot, registers, value.significand, 8);
  b.putAt(slot, registers + 8, value.exponent, 4);
  b.put(fpuTags, or(b.get(fpuTags), shl(i32(1), register)));
}

/** Marks ST(i) as empty. */
export function freeSt(b: Builder, i: Expr): void {
  b.put(fpuTags, and(b.get(fpuTags), xor(shl(i32(1), physical(b, i)), i32(-1))));
}

export function rotateTop(b: Builder, by: 1 | -1): void {
  b.put(fpuTop, and(add(b.get(fpuTop), i32(by)), i32(7)));
}

export function pop(b: Builder): void {
  freeSt(b, i32(0));
  rotateTop(b, 1);
}

/** The value that a soft-float function has just returned. */
export const result = (b: Builder, significand: Expr): Extended => ({ significand, exponent: b.get(floatExponent) });

/** Sets C3, C2, C1 and C0 (bits as in the status word). */
export function setConditions(b: Builder, bits: Expr): void {
  b.put(fpuStatus, or(and(b.get(fpuStatus), i32(~conditionBits)), bits));
}

/** C1 ← 0. */
export function clearC1(b: Builder): void {
  b.put(fpuStatus, and(b.get(fpuStatus), i32(~statusBits.C1)));
}

/** Calls `x87_complete`: 1 when the result may be stored. */
export const complete = (b: Builder, flags: Expr): Expr => b.call('x87_complete', flags);

/** Runs a soft-float call from clean flags; its result and flags. */
export function clean<T>(b: Builder, compute: () => T): { value: T; flags: Expr } {
  b.put(floatFlags, i32(0));
  const value = compute();
  return { value, flags: b.get(floatFlags) };
}

/** Remembers this instruction (not the control instructions) and its operand's offset for FNSTENV; after what may fault. */
export function remember(b: X86Builder, operandOffset?: Expr): void {
  b.put(fpuIp, b.ip());
  b.put(fpuOpcode, b.immediate2());
  if (!b.long64) b.put(fpuCs, b.get(cs.selector));
  if (operandOffset) b.put(fpuDp, operandOffset);
}

/** Offset and linear address of the memory operand. */
export function memoryOperand(b: X86Builder, size: number, write: boolean): { offset: Expr; linear: Expr } {
  const offset = b.let(b.effectiveAddress(0));
  return { offset, linear: b.let(b.linearOfOperand(offset, size, write)) };
}

/**
 * `x87_complete` (flags) → 1 if the instruction stores its result: takes exceptions (bits 0–5, and SF and C1) into
 * the status word. Unmasked IE, DE and ZE keep it from storing and hide what would be found out later.
 */
const completeFunction: LibraryFunction = {
  name: 'x87_complete',
  params: ['i32'],
  result: 'i32',
  body(b, flags) {
    const status = b.variable(and(b.get(fpuStatus), i32(~statusBits.C1)));
    const stores = b.variable(i32(1));
    b.if(flags, () => {
      const unmasked = b.variable(and(flags, and(xor(b.get(fpuControl), i32(-1)), i32(0x3f))));
      b.if(and(unmasked, i32(7)), () => {
        b.set(stores, i32(0));
        b.set(flags, and(flags, select(and(flags, i32(statusBits.SF)), i32(overflow | 6), i32(7))));
      });
      b.set(status, or(status, flags));
      b.if(unmasked, () => b.set(status, or(status, i32(statusBits.ES | statusBits.B))));
    });
    b.put(fpuStatus, status);
    return stores;
  },
};

/** `x87_push` (significand, exponent, flags): loads a value, or the indefinite where the stack is full. */
const pushFunction: LibraryFunction = {
  name: 'x87_push',
  params: ['i64', 'i32', 'i32'],
  result: undefined,
  body(b, significand, exponent, flags) {
    b.if(and(eqz(isEmpty(b, i32(-1))), eqz(and(flags, i32(statusBits.SF)))), () => {
      b.set(flags, i32(overflow));
      b.set(significand, indefinite.significand);
      b.set(exponent, indefinite.exponent);
    });
    // An unmasked DE does not keep a load from being done.
    const blocked = b.let(and(flags, and(xor(b.get(fpuControl), i32(-1)), i32(statusBits.IE))));
    complete(b, flags);
    b.if(eqz(blocked), () => {
      rotateTop(b, -1);
      writeSt(b, i32(0), { significand, exponent });
    });
    return undefined;
  },
};

export const push = (b: Builder, value: Extended, flags: Expr): void => {
  b.call('x87_push', value.significand, value.exponent, flags);
};

/** Stores `value` in ST(i) as far as `flags` allow; 1 if so. */
export function storeResult(b: Builder, i: Expr, value: Extended, flags: Expr): Expr {
  const stores = complete(b, flags);
  b.if(stores, () => writeSt(b, i, value));
  return stores;
}

/** Runs `compute` if none of the registers is empty; else a stack underflow, for which ST(target) becomes the indefinite. 1 if a result was stored. */
export function unlessEmpty(b: Builder, sources: readonly Expr[], target: Expr, compute: () => Expr): Expr {
  const stores = b.variable(i32(0));
  b.if(
    sources.map((i) => isEmpty(b, i)).reduce(or),
    () => b.set(stores, storeResult(b, target, indefinite, i32(underflow))),
    () => b.set(stores, compute()),
  );
  return stores;
}

export const stackFunctions: readonly LibraryFunction[] = [completeFunction, pushFunction];
