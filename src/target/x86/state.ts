/**
 * The x86 CPU state: one table of fields that lie at fixed offsets in the
 * engine's memory. Semantics, system helpers, snapshots and the debug dump all
 * use these fields; there is no second list.
 */
import type { Field, ValueType } from '../ir/index.ts';

const bytesOf: Record<ValueType, number> = { i32: 4, f32: 4, i64: 8, f64: 8, v128: 16 };
let cursor = 0;
const allFields: Field[] = [];

function field(name: string, type: ValueType): Field {
  const size = bytesOf[type];
  cursor = (cursor + size - 1) & -size;
  const result = { name, type, offset: cursor };
  cursor += size;
  allFields.push(result);
  return result;
}

function align(bytes: number): void {
  cursor = (cursor + bytes - 1) & -bytes;
}

/** General registers in encoding order; byte and word registers are the low bytes of these (little-endian). */
export const gprNames = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
export const gpr: readonly Field[] = gprNames.map((name) => field(name, 'i64'));
/** Always 0: stands for an absent base or index register and for a flat segment's base. */
export const zero = field('zero', 'i64');

/**
 * Arithmetic flags, kept lazily: CF, PF, AF, ZF, SF and OF follow from what the
 * last flag-setting instruction did (see flags.ts). `eflags` holds the others.
 */
export const flagsKind = field('flagsKind', 'i32');
export const eflags = field('eflags', 'i32');
export const flagsResult = field('flagsResult', 'i64');
export const flagsSource = field('flagsSource', 'i64');
/** The three of them as they were before INC and DEC, which leave CF alone. */
export const carryKind = field('carryKind', 'i32');
export const carryResult = field('carryResult', 'i64');
export const carrySource = field('carrySource', 'i64');

// Where the engine is. `page`: linear address of the page being executed; `linear`: where to go on (a linear address).
export const page = field('page', 'i64');
export const linear = field('linear', 'i64');
export const record = field('record', 'i32');
/** Counts down at every taken branch; negative: leave at the next one. */
export const budget = field('budget', 'i32');
/** Byte offset of the TLB for the current privilege, from the start of engine memory. */
export const tlbBase = field('tlbBase', 'i32');
/** The same for user mode in the current address space. */
export const userTlb = field('userTlb', 'i32');
/** Decoding mode: see `modeBits` in mode.ts. */
export const mode = field('mode', 'i32');
export const cpl = field('cpl', 'i32');
/** Set when `mode` or the TLB set changed: the block ends after this instruction. */
export const modeDirty = field('modeDirty', 'i32');
/** What waits, or may: bits of `pendingKinds`; looked at where the interrupt flag may have been set. */
export const interruptPending = field('interruptPending', 'i32');
export const pendingKinds = { interrupt: 1, nmi: 2 } as const;
/** RIP of the running and of the next instruction, as offsets in CS; set before a helper runs. */
export const currentIp = field('currentIp', 'i64');
export const nextIp = field('nextIp', 'i64');
/** Passes a value between generated code and the engine's slow paths. */
export const slow = field('slow', 'v128');

// A pending exception: vector (or -1), error code. CR2 is set when it is delivered.
export const faultVector = field('faultVector', 'i32');
export const faultError = field('faultError', 'i32');
export const faultAddress = field('faultAddress', 'i64');
/** Arguments and result of a helper call (see helpers in builder.ts). */
export const arg: readonly Field[] = [0, 1, 2, 3].map((i) => field(`arg${i}`, 'i64'));
/** Passes 16- and 32-byte values between generated code and helpers. */
export const vectorArg: readonly Field[] = [0, 1].map((i) => field(`vectorArg${i}`, 'v128'));

/** A segment register with its hidden part. */
export interface SegmentFields {
  readonly name: string;
  readonly selector: Field;
  /** Access rights: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16 (as in SDM vol. 3, 25.4.1). */
  readonly rights: Field;
  readonly base: Field;
  /** Last valid offset in bytes, granularity applied. */
  readonly limit: Field;
}

function segment(name: string): SegmentFields {
  return {
    name,
    base: field(`${name}.base`, 'i64'),
    selector: field(`${name}.selector`, 'i32'),
    rights: field(`${name}.rights`, 'i32'),
    limit: field(`${name}.limit`, 'i32'),
  };
}
/** ES, CS, SS, DS, FS, GS in encoding order. */
export const segments: readonly SegmentFields[] = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'].map(segment);
export const [es, cs, ss, ds, fs, gs] = segments;
export const ldtr = segment('ldtr');
export const tr = segment('tr');
export const gdtr = { base: field('gdtr.base', 'i64'), limit: field('gdtr.limit', 'i32') };
export const idtr = { base: field('idtr.base', 'i64'), limit: field('idtr.limit', 'i32') };

export const cr0 = field('cr0', 'i32');
export const cr4 = field('cr4', 'i32');
export const cr2 = field('cr2', 'i64');
export const cr3 = field('cr3', 'i64');
export const dr: readonly Field[] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => field(`dr${i}`, 'i64'));
export const efer = field('efer', 'i64');
export const xcr0 = field('xcr0', 'i64');
export const star = field('star', 'i64');
export const lstar = field('lstar', 'i64');
export const cstar = field('cstar', 'i64');
export const sfmask = field('sfmask', 'i64');
export const kernelGsBase = field('kernelGsBase', 'i64');
export const sysenterCs = field('sysenterCs', 'i64');
export const sysenterEsp = field('sysenterEsp', 'i64');
export const sysenterEip = field('sysenterEip', 'i64');
export const tscAux = field('tscAux', 'i64');
export const pat = field('pat', 'i64');
export const miscEnable = field('miscEnable', 'i64');
/** Added to the clock's count to give the TSC (IA32_TSC writes and IA32_TSC_ADJUST). */
export const tscOffset = field('tscOffset', 'i64');
export const tscAdjust = field('tscAdjust', 'i64');

/** Not 0 after STI, MOV SS or POP SS: no interrupt before the instruction at `shadowed` is done. Means nothing elsewhere. */
export const interruptShadow = field('interruptShadow', 'i32');
/** The instruction under the shadow (a linear address). */
export const shadowed = field('shadowed', 'i64');
/** Values of `interruptShadow`: who holds interrupts back for one instruction. */
export const shadows = { none: 0, sti: 1, stackSegment: 2 } as const;
/** What the CPU is doing: see `activities`. */
export const activity = field('activity', 'i32');
/** 1 from the delivery of an NMI to the next IRET. */
export const nmiBlocked = field('nmiBlocked', 'i32');
/** DR6 bits of debug traps that the instruction at hand has met; #DB is raised when it is done. */
export const pendingDebug = field('pendingDebug', 'i32');
/** ANDed to bits 31:0 of each physical address: -1, or bit 20 clear while the A20 gate is closed. */
export const a20Mask = field('a20Mask', 'i32');
export const xss = field('xss', 'i64');
// Memory type registers: stored and read back; memory types have no effect here.
export const mtrrDefault = field('mtrrDefault', 'i64');
/** FIX64K_00000, FIX16K_80000 and A0000, FIX4K_C0000 to F8000, in MSR order. */
export const mtrrFixed: readonly Field[] = Array.from({ length: 11 }, (_, i) => field(`mtrrFixed${i}`, 'i64'));
/** PHYSBASE0, PHYSMASK0, PHYSBASE1, … */
export const mtrrVariable: readonly Field[] = Array.from({ length: 16 }, (_, i) => field(`mtrrVariable${i}`, 'i64'));

// x87: registers are physical (MMX register i is the low 8 bytes of fpr i); ST(i) is fpr (fpuTop + i) & 7.
export const fpuControl = field('fpuControl', 'i32');
/** Status word without TOP. */
export const fpuStatus = field('fpuStatus', 'i32');
export const fpuTop = field('fpuTop', 'i32');
/** Bit i set: physical register i is in use (FXSAVE's abridged tag word). */
export const fpuTags = field('fpuTags', 'i32');
export const fpuOpcode = field('fpuOpcode', 'i32');
export const fpuIp = field('fpuIp', 'i64');
export const fpuDp = field('fpuDp', 'i64');
export const fpuCs = field('fpuCs', 'i32');
export const fpuDs = field('fpuDs', 'i32');
export const mxcsr = field('mxcsr', 'i32');
/** What a soft-float function raised: bits 0–5 as in MXCSR, bit 9 (x87 C1): the magnitude was rounded up. The caller clears it before. */
export const floatFlags = field('floatFlags', 'i32');
/** Second result of soft-float functions that return an 80-bit value: sign and exponent (16 bits). */
export const floatExponent = field('floatExponent', 'i32');
align(16);
/** Eight slots of 16 bytes: significand in the low 8, sign and exponent in the next 2. */
export const fprSignificand: readonly Field[] = [];
export const fprExponent: readonly Field[] = [];
for (let i = 0; i < 8; i++) {
  (fprSignificand as Field[]).push(field(`fpr${i}.significand`, 'i64'));
  (fprExponent as Field[]).push(field(`fpr${i}.exponent`, 'i32'));
  align(16);
}
align(32);
/** Sixteen slots of 32 bytes: XMM in the low half, the upper half of YMM in the high one. */
export const xmm: readonly Field[] = [];
export const ymmHigh: readonly Field[] = [];
for (let i = 0; i < 16; i++) {
  (xmm as Field[]).push(field(`xmm${i}`, 'v128'));
  (ymmHigh as Field[]).push(field(`ymm${i}.high`, 'v128'));
}
export const fprStride = 16;
export const vectorStride = 32;

/** All fields, in layout order. */
export const fields: readonly Field[] = allFields;
/** Bytes that the state takes. */
export const stateSize: number = cursor;

/** Bits of EFLAGS. */
export const flag = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;
/** Values of `activity`: running; in HLT; dead after a triple fault; waiting for a startup IPI. */
export const activities = { running: 0, halted: 1, shutdown: 2, waiting: 3 } as const;
/**
 * Upper bits of `flagsKind`: CF or OF were set apart from the others by a later instruction (rotates, BT, CLC…).
 */
export const flagsOverride = { carryValid: 1 << 8, overflowValid: 1 << 9, carry: 1 << 10, overflow: 1 << 11 } as const;
/** The six flags that are kept lazily. */
export const arithmeticFlags: number = flag.CF | flag.PF | flag.AF | flag.ZF | flag.SF | flag.OF;

/** Exception vectors. */
export const vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;
/** Vectors that push an error code. */
export const vectorsWithError: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
