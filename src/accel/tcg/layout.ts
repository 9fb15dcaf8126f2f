/**
 * Where things lie in the engine's memory: one shared WebAssembly.Memory that
 * holds the CPU state, the TLBs, decoded code and the guest's RAM, so that
 * generated code reaches all of them with 32-bit addresses.
 */
import { stateSize } from '../../target/index.ts';

/** The CPU state (target/x86/state.ts). */
export const stateBase = 0x1000;

/**
 * A TLB set serves one privilege: kernel, kernel with EFLAGS.AC set (which
 * lifts SMAP), and user in one of several contexts (PCIDs).
 * Data entries (32 bytes): read tag i64, write tag i64, addend i32 (engine
 * address - linear address), flags i32 (see tlb.ts). Execute entries (16 bytes):
 * tag i64, entry table i32, flags i32. Behind them two lists of word indices of
 * entries that were filled (negative: an execute entry), of pages that are not
 * global and of such that are; how long the lists are; and the decoding mode
 * that the execute entries are of.
 */
const dataBytes = 4096 * 32;
const executeBytes = 4096 * 16;
const listBytes = (4096 + 4096) * 4;
export const tlb = {
  base: 0x1_0000,
  /** User sets. */
  contexts: 8,
  sets: 2 + 8,
  entries: 4096,
  entryShift: 5,
  /**
   * The index is the page number, with address bits this much higher folded in, so that arrays a power of two apart do
   * not evict each other. Neighbouring pages always have different entries (tlb.test.ts), which `hit` needs.
   */
  foldShift: 9,
  readTag: 0,
  writeTag: 8,
  addend: 16,
  flags: 20,
  executeOffset: dataBytes,
  executeEntries: 4096,
  executeShift: 4,
  table: 8,
  executeFlags: 12,
  localList: dataBytes + executeBytes,
  globalList: dataBytes + executeBytes + listBytes,
  localCount: dataBytes + executeBytes + 2 * listBytes,
  globalCount: dataBytes + executeBytes + 2 * listBytes + 4,
  mode: dataBytes + executeBytes + 2 * listBytes + 8,
  stride: dataBytes + executeBytes + 2 * listBytes + 64,
} as const;

/** Index of the TLB set for a privilege; user sets follow each other. */
export const tlbSets = { kernel: 0, kernelAc: 1, user: 2 } as const;

/** Where bulk accesses of the system side (FXSAVE areas) pass through; a page. */
export const copyBuffer = { base: 0xf000, size: 0x1000 } as const;

/** A tag that no address has: bits below 12 are set. */
export const noTag = -1n;

/** An i32 that counts how often decoded code was dropped, because its page changed or for want of room. */
export const codeChanges = tlb.base + tlb.sets * tlb.stride;

/**
 * What generated page walks (emit/walk.ts) share with the engine: i32 how many there were; i32, not 0: the engine fills
 * all TLB entries itself; and the ranges of linear pages that lie in large ones, as f64 first and last, of the lower
 * and the upper half of the address space.
 */
export const walk = { count: codeChanges + 4, off: codeChanges + 8, largePages: codeChanges + 24 } as const;

/** A bit for each page of the engine's memory: it may have decoded code. */
export const codePages = { base: 0x2a_0000, size: 0x2_0000 } as const;

/** An i32 for each of some hashes of records: how often the interpreter came there from a region (interpreter.ts). */
export const departures = { base: 0x2c_0000, size: 0x4000 } as const;

/** Decoded code: entry tables and records, handed out from the bottom, given back all at once. */
export const code = { base: 0x30_0000, size: 60 << 20 } as const;
/** What translated code keeps in memory (see compiler.ts); it is forgotten together with the decoded code. */
export const regionArea = { base: code.base + code.size, size: 1 << 20 } as const;
/**
 * A page's entry table: an i32 for each run of `chunkBytes` bytes, the address of a chunk, which has an i32 for each
 * of these bytes: the record of the instruction that starts there, or 0. Runs where none starts share a chunk of zeros.
 * Behind these are three i32 about the page: where its bytes are (an engine address), the mode that it was decoded
 * for, and how often its code was dropped.
 */
export const entryTable = {
  pointers: 256,
  host: 256,
  mode: 260,
  drops: 264,
  size: 272,
  chunkShift: 6,
  chunkBytes: 64,
  chunkSize: 256,
  emptyChunk: code.base,
} as const;

/** The record that an entry table has for `offset`, or 0. */
export function recordIn(words: Int32Array, table: number, offset: number): number {
  const chunk = words[(table >> 2) + (offset >> entryTable.chunkShift)];
  return Atomics.load(words, (chunk >> 2) + (offset & (entryTable.chunkBytes - 1)));
}

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
  /** u16: by which of its region's entries, where the record leads into one. */
  entry: 54,
  /** i32: branch target's distance from the start of the page. */
  branch: 56,
  /** i32: how often a first translation ran the block that starts here, and 1; 0: it is in none. */
  runs: 60,
} as const;

if (stateBase + stateSize > copyBuffer.base) throw new Error('the CPU state does not fit before the copy buffer');
if (walk.largePages + 32 > codePages.base) throw new Error('the TLB does not fit before the bits of code pages');
if (departures.base + departures.size > code.base) throw new Error('the counters do not fit before the code');
