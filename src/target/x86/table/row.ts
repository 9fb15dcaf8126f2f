/**
 * The shape of an instruction's definition: one row, from which come decoding,
 * disassembly, the interpreter's handler, translated code, and the cases of the
 * differential tests.
 *
 * Pattern: bytes in the notation of the Intel SDM (vol. 2, 3.1.1.1):
 *   `01`, `0F AF`, `66 0F 38 00`, `0F BA /4`, `50+r`, `0F 01 =D0` (ModRM exactly D0),
 *   `D8 =C0+i` (ModRM C0 to C7), `VEX.66.0F38.W0 18` (also `VEX.L0`, `VEX.L1`; absent L or W: any).
 *   A mandatory prefix is NP, 66, F3 or F2; without one, 66 is the operand size and F2/F3 are ignored or REP.
 *
 * Operands: the SDM's opcode-map codes (vol. 2, A.2), comma-separated, destination first:
 *   E G I J M O X Y S C D R  general, immediate, branch offset, memory, moffs, segment, control, debug;  K  DS:rDI
 *   V W H U M  vector register, register/memory, VEX.vvvv, register only;  P Q N  MMX;  L  register in imm8[7:4];
 *   B  VEX.vvvv as a general register;  Z  register in the opcode's low bits (`+r`);
 *   a register name (AL, rAX, CL, DX, 1) fixes it; STi is ModRM's low bits as an x87 register.
 *   Sizes: b w d q v z y  and  x (16 or 32 by VEX.L) dq (16) qq (32) ps pd (x) ss (4) sd (8).
 *   I with b is sign-extended to the operand size by `read` (Ibu: zero-extended).
 */
import type { Semantics, Variant } from '../builder.ts';

/** CPUID features that gate rows, by the names QEMU and Linux use. */
export type Feature =
  | 'fpu'
  | 'cx8'
  | 'cmov'
  | 'mmx'
  | 'fxsr'
  | 'sse'
  | 'sse2'
  | 'sse3'
  | 'ssse3'
  | 'sse4_1'
  | 'sse4_2'
  | 'sse4a'
  | 'popcnt'
  | 'cx16'
  | 'movbe'
  | 'aes'
  | 'pclmulqdq'
  | 'xsave'
  | 'avx'
  | 'f16c'
  | 'fma'
  | 'avx2'
  | 'bmi1'
  | 'bmi2'
  | 'lzcnt'
  | 'adx'
  | 'rdrand'
  | 'rdseed'
  | 'syscall'
  | 'sep'
  | 'rdtscp'
  | 'fsgsbase'
  | 'invpcid'
  | 'smap'
  | 'clflush'
  | 'clflushopt'
  | 'clwb'
  | 'monitor'
  | 'lahf_lm'
  | 'xsaveopt'
  | 'xsavec'
  | 'xsaves'
  | 'msr'
  | 'tsc'
  | 'rdpid'
  | 'prefetchw'
  | 'lm'
  | 'sha_ni'
  | 'erms'
  | 'nopl'
  | 'vaes'
  | 'vpclmulqdq';

export interface RowOptions {
  /** #UD unless the CPU model has it. */
  readonly cpuid?: Feature;
  readonly mode?: 'no64' | 'only64';
  /** LOCK is allowed when the destination is in memory. */
  readonly lock?: true;
  /** Default operand size 64 in 64-bit mode (PUSH, POP, near branches); `branch`: and 66 is ignored there. */
  readonly size64?: 'stack' | 'branch';
  /** Facts beyond the operands' sizes that the semantics look at: each value gets a handler of its own. */
  readonly by?: readonly (keyof Variant)[];
  /**
   * The instruction always leaves the straight line (jump, return, most helpers that change mode); `jump`: by a jump of
   * its own, as near branches do.
   */
  readonly ends?: true | 'jump';
  /**
   * The next instruction is the last of its block, so that a changed interrupt flag is seen (STI, POPF, MOV SS);
   * `window`: the semantics call `interruptWindow`.
   */
  readonly shadow?: true | 'window';
  /** A string instruction on memory alone: under REP its handler may be called until it is done. */
  readonly repeats?: true;
  /** CPL must be 0, else #GP(0). Checked before anything else. */
  readonly privileged?: true;
  /** Only without REX.B: 90 is NOP, but 41 90 is XCHG. */
  readonly withoutRexB?: true;
  /** #UD in real and virtual-8086 mode. */
  readonly protectedOnly?: true;
  /** Flags that the manual leaves undefined afterwards: not compared by the differential tests. */
  readonly undefinedFlags?: number;
  /** Kind of execution-environment check made before: x87 and MMX #NM/#MF, SSE and AVX #UD/#NM. */
  readonly unit?: 'x87' | 'x87-nowait' | 'mmx' | 'sse' | 'avx';
  /** The memory operand has SIB with a vector register as index (gathers); #UD without SIB. */
  readonly vsib?: true;
  /** Memory operand must be aligned to its size, else #GP(0) (legacy SSE, MOVAPS, MOVNTDQ...). */
  readonly aligned?: true;
}

export interface Row extends RowOptions {
  readonly mnemonic: string;
  readonly pattern: string;
  readonly operands: string;
  readonly semantics: Semantics;
}

export function row(
  mnemonic: string,
  pattern: string,
  operands: string,
  semantics: Semantics,
  options: RowOptions = {},
): Row {
  return { mnemonic, pattern, operands, semantics, ...options };
}
