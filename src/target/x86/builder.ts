/**
 * What x86 semantics use: the IR's builder, plus operands, flags and control
 * flow of the instruction at hand.
 */
import type { Builder, Expr, IntSize } from '../ir/index.ts';
import type { FlagsKind } from './flags.ts';
import type { HelperName } from './helpers.ts';

/** The facts that make one handler differ from another; all are constants while code is emitted. */
export interface Variant {
  /** Operand size of integer instructions, in bytes. */
  readonly osize: 2 | 4 | 8;
  /** Address size in bytes; matters to string instructions, LOOP and JCXZ. */
  readonly asize: 2 | 4 | 8;
  /** Width of the stack pointer in bytes: 8 in 64-bit mode, else from SS.B. */
  readonly ssize: 2 | 4 | 8;
  /** The ModRM operand is in memory. */
  readonly memory: boolean;
  /** Vector length in bytes: 16, or 32 for VEX.L = 1. */
  readonly vl: 16 | 32;
  readonly vex: boolean;
  /** REX.W or VEX.W. */
  readonly w: boolean;
  /** 0: none, 1: REPNE/F2, 2: REP/F3; only where the row says that it looks at it. */
  readonly rep: 0 | 1 | 2;
  /** 64-bit mode. */
  readonly long64: boolean;
  /** CS, DS, ES and SS have base 0 and no limit, so that an offset is a linear address; always so in 64-bit mode. */
  readonly flat: boolean;
  /** The mode says that the checks of the row's unit (SSE, AVX) pass. */
  readonly ready: boolean;
}

/** Lane 0 or all lanes of a vector, in a float format. */
export type FloatLanes = 'f32' | 'f64' | 'f32x4' | 'f64x2';

export interface X86Builder extends Builder, Variant {
  /** The instruction is part of a translated region, for which long semantics are better a helper: that leaves it. */
  readonly inRegion: boolean;
  /** Width of operand `i` in bytes; for vectors 16 (a half), for scalar floats 4 or 8. */
  width(i: number): number;
  /** True when operand `i` is in memory. */
  inMemory(i: number): boolean;
  /**
   * Operand `i`: integers zero-extended (i32 up to 4 bytes, i64 for 8); an immediate comes sign-extended to the
   * operand size; a segment, control or debug register (S, C, D) gives its number as i32.
   */
  read(i: number): Expr;
  /** Writes an integer operand; a 4-byte register write clears the upper half. */
  write(i: number, value: Expr): void;
  /** Read, compute, write back; in memory the write is checked before `change` runs. */
  modify(i: number, change: (old: Expr) => Expr): void;
  /** A 128-bit half of a vector operand (register or memory). An 8- or 4-byte memory operand (W with size q/d/sd/ss) is zero-extended. */
  readVector(i: number, half?: 0 | 1): Expr;
  /**
   * Writes a vector register operand (or 16/32 bytes of memory). One half: legacy SSE keeps the upper
   * half of the YMM register, VEX clears it. Two halves: all of it.
   */
  writeVector(i: number, low: Expr, high?: Expr): void;
  /** Linear address of memory operand `i` (i64), segmentation applied for an access of `size` bytes. */
  address(i: number, size?: number, write?: boolean): Expr;
  /** Reads, changes and writes back `size` bytes at a linear address; the write is known to succeed before `change` runs. */
  modifyMemory(address: Expr, size: IntSize, change: (old: Expr) => Expr): void;
  /** Linear address of the unit of `size` bytes that holds bit `offset` (a value of operand `from`) of memory operand `i`; an immediate offset stays within the operand. */
  bitAddress(i: number, from: number, offset: Expr, size: IntSize, write: boolean): Expr;
  /**
   * Linear address of `offset` (i64, already cut to the address size) in segment `segment` (0–5), for an access of
   * `size` bytes; checks limit and rights outside 64-bit mode.
   */
  linear(segment: number, offset: Expr, size: number, write: boolean): Expr;
  /** Linear address of an offset (i64) in the segment of this instruction's memory operand. */
  linearOfOperand(offset: Expr, size: number, write: boolean): Expr;
  /** State `arg` i (i64): a helper's result. */
  argument(i: number): Expr;
  /** Gathers: byte offset within the CPU state of the vector register that SIB names as the index of memory operand `i`, as i32. */
  vectorIndex(i: number): Expr;
  /** Gathers: linear address of memory operand `i` with `index` (i64) instead of the index register, for a load of `size` bytes. */
  indexedAddress(i: number, index: Expr, size: number): Expr;
  /** Effective address of memory operand `i` without the segment base (LEA), as i64 cut to the address size. */
  effectiveAddress(i: number): Expr;
  /** An immediate (or any field of the record) as i32; immediates that choose an operation per bit are constants only in the translator. */
  immediate(i: number): Expr;
  /** The second immediate of ENTER, the selector of a far pointer, as i32. */
  immediate2(): Expr;
  /** Byte offset of register operand `i` within the CPU state, as i32 (for getAt and putAt). */
  registerOffset(i: number): Expr;

  /**
   * Sets all six arithmetic flags lazily; see flags.ts for what `result` and `source` mean for each kind.
   * `left` (of add and sub) is only used to fuse a following condition.
   */
  setFlags(kind: FlagsKind, size: IntSize, result: Expr, source: Expr, left?: Expr): void;
  /** Sets all but CF as INC and DEC do. */
  setStepFlags(kind: 'inc' | 'dec', size: IntSize, result: Expr): void;
  /** To be called after `setFlags` under a condition: what was set last is not known any more. */
  forgetFlags(): void;
  /** Sets all six from an EFLAGS image (i32). */
  putFlags(image: Expr): void;
  /** Changes CF (i32 0 or 1), and OF where given, and leaves the other flags alone. */
  overrideFlags(carry: Expr, overflow?: Expr): void;
  /** The six flags as an EFLAGS image (i32), other bits 0. */
  getFlags(): Expr;
  /** Condition code 0–15 (0 O, 2 B, 4 Z, 6 BE, 8 S, A P, C L, E LE; odd: negated) as i32 0 or 1. */
  condition(code: number): Expr;

  /** Sets the flags as UCOMISS and UCOMISD do for two floats. */
  setComparison(left: Expr, right: Expr): void;

  /** A constant that is better computed once for many instructions. */
  constant(e: Expr): Expr;
  /** Whether MXCSR lets the host's own arithmetic do SSE's (`fastRounding` in table/fp.ts), as i32. */
  roundsFast(): Expr;
  /** Whether these lanes of a vector are known not to be denormal. */
  isTame(e: Expr, lanes: FloatLanes): boolean;
  /** From here on they are known not to be. */
  noteTame(e: Expr, lanes: FloatLanes): void;
  /** To be called before `noteTame` on paths where it may not hold: leaves the instruction to the interpreter then. */
  insist(holds: () => Expr): void;

  /** RIP of this and of the next instruction, as an i64 offset within CS. */
  ip(): Expr;
  nextIp(): Expr;
  /** Goes on at `ip` (an i64 offset within CS, cut to the operand size by the caller). Ends the instruction. */
  jump(ip: Expr): void;
  /** Goes on at direct target operand `i`. */
  goto(i: number): void;
  gotoIf(cond: Expr, i: number): void;
  /** Leaves for the engine's loop after this instruction, so that a changed interrupt flag or mode is seen at once. */
  endBlock(): void;
  /**
   * Runs a helper of the system side (TypeScript). Arguments (i64) land in state `arg`. The helper may fault, change
   * all state, and jump; nothing may follow it in the semantics unless it is listed as returning.
   */
  helper(name: HelperName, ...args: Expr[]): void;
  /**
   * Copies (or fills, with the low `width` bytes of `value`) up to `bytes` (i64) bytes upwards at linear addresses, as
   * far as the pages go and as a multiple of 8 and `width`, when DF is 0, the TLB has the pages, and source and
   * destination do not overlap so that it shows. Returns the bytes done (i64), perhaps 0.
   */
  bulkMove(destination: Expr, source: Expr, bytes: Expr): Expr;
  bulkFill(destination: Expr, value: Expr, bytes: Expr, width: number): Expr;
  /**
   * Compares elements of `width` bytes upwards at linear address `at` with those at linear address `other` (or with the
   * value `other`) under the same conditions; returns the bytes (i64, a multiple of 16, at most `bytes`) up to where one
   * of the next 16 bytes' elements is equal (`untilEqual`), or is not.
   */
  bulkScan(at: Expr, other: Expr, otherIsAddress: boolean, bytes: Expr, width: IntSize, untilEqual: boolean): Expr;
  /**
   * The TLB set of a privilege, for state `tlbBase`. Only when `ready` (i32 0 or 1) is it for code of the decoding mode
   * in use; else a helper must change the privilege.
   */
  privilegeTlb(which: 'kernel' | 'kernelAc' | 'user'): { readonly base: Expr; readonly ready: Expr };
  /** Ticks of the TSC's clock (i64), the guest's offset not in it. */
  readTsc(): Expr;
  /** Before anything else, where the interrupt flag may get set with effect one instruction later. */
  interruptWindow(): void;
  /** Starts this instruction again (REP strings), leaving first if the budget is spent. */
  repeat(): void;
}

/** What an instruction does. */
export type Semantics = (b: X86Builder) => void;
