/**
 * Where things lie in the engine's memory: one shared WebAssembly.Memory that
 * holds the CPU state, the TLBs, decoded code and the guest's RAM, so that
 * generated code reaches all of them with 32-bit addresses.
 */
import { stateSize } from '../../target/index.ts';

/** The CPU state (target/x86/state.ts). */
export const stateBase = 0x1000;

/**
 * A TLB set serves one privilege: user, kernel, and kernel with EFLAGS.AC set
 * (which lifts SMAP). Data entries (32 bytes): read tag i64, write tag i64,
 * addend i32 (engine address - linear address), flags i32 (see mmu.ts).
 * Execute entries (16 bytes): tag i64, entry table i32, flags i32.
 */
export const tlb = {
  base: 0x10000,
  sets: 3,
  entries: 4096,
  entryShift: 5,
  /**
   * The index is the page number, with higher address bits folded in, so that arrays a power of two apart do not evict
   * each other. The fold leaves bit 0 alone: so neighbouring pages always have different entries, which `hit` needs.
   */
  foldShift: 21,
  readTag: 0,
  writeTag: 8,
  addend: 16,
  flags: 20,
  executeOffset: 4096 * 32,
  executeEntries: 1024,
  executeShift: 4,
  table: 8,
  executeFlags: 12,
  stride: 4096 * 32 + 1024 * 16,
} as const;

/** Where bulk accesses of the system side (FXSAVE areas) pass through; a page. */
export const copyBuffer = { base: 0xf000, size: 0x1000 } as const;

/** For each TLB set an i32: the decoding mode that its execute entries are of. */
export const tlbModes = tlb.base + tlb.sets * tlb.stride;
/** Index of the TLB set for a privilege. */
export const tlbSets = { user: 0, kernel: 1, kernelAc: 2 } as const;

/** A tag that no address has: bits below 12 are set. */
export const noTag = -1n;

/** Decoded code: entry tables and records, handed out from the bottom, given back all at once. */
export const code = { base: 0x10_0000, size: 63 << 20 } as const;
/** An entry table has an i32 for each byte of a page: the record of the instruction that starts there, or 0. */
export const entryTableSize = 4096 * 4;

/** Guest RAM. */
export const ramBase = 0x400_0000;
/** The most RAM that fits under the 4 GiB of a 32-bit memory. */
export const maxRamBytes = 0x1_0000_0000 - ramBase;

/** A decoded instruction, 64 bytes. Register fields are byte offsets in the CPU state. */
export const record = {
  size: 64,
  /** u16: case of the interpreter's switch. */
  op: 0,
  /** u16: index of the handler in the function table. */
  handler: 2,
  /** u16: offset of the instruction in its page. */
  offset: 4,
  /** u8 */
  length: 6,
  /** u8: log2 of the index scale. */
  scale: 7,
  /** Four u16: where operand i's register is, or its number (segment, control, debug, x87). */
  registers: 8,
  /** i64; branches have `target` in its place. */
  displacement: 16,
  /** i32: record of the branch target in the same page, or 0. */
  target: 16,
  /** i64 */
  immediate: 24,
  /** u16: the base and index registers and the segment's base. */
  base: 32,
  index: 34,
  segmentBase: 36,
  /** u8: number of the segment. */
  segment: 38,
  /** i64: all ones, or the low 32 or 16 bits. */
  mask: 40,
  /** i32: second immediate. */
  immediate2: 48,
  /** u16: the vector register that a gather's index names. */
  vectorIndex: 52,
  /** i32: branch target's distance from the start of the page. */
  branch: 56,
} as const;

if (stateBase + stateSize > copyBuffer.base) throw new Error('the CPU state does not fit before the copy buffer');
