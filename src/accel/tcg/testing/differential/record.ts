/**
 * What a differential test case is, what running it gives, and how both travel
 * to and from the native runner (runner.c has the same layouts as C structs).
 *
 * The memory that every case sees, in user mode (U), all else unmapped:
 *   0x8000 0x9000  two pages, writable
 *   0xB000         one page, writable; 0xC000: one page behind it, read-only
 *   0x10000000     two pages of code, not writable, filled with INT3 around the instruction
 * All of it is below 64 KiB but the code, so that 16-bit addresses reach it.
 */
import type { Instruction, ParsedRow } from '../../../../target/index.ts';

export const pageSize = 4096;
export const codeBase = 0x1000_0000;
export const codeSize = 2 * pageSize;
/** The pages of the data image, in its order. */
export const dataPages = [
  { address: 0x8000, writable: true },
  { address: 0x9000, writable: true },
  { address: 0xb000, writable: true },
  { address: 0xc000, writable: false },
] as const;
export const dataSize: number = dataPages.length * pageSize;

/** Offset of a data address within the image, or -1. */
export function imageOffset(address: number): number {
  const page = dataPages.findIndex((p) => address >= p.address && address < p.address + pageSize);
  return page < 0 ? -1 : page * pageSize + address - dataPages[page].address;
}

/** Selectors of Linux for a user program; GDT entries 4 to 6. */
export const selectors = { code32: 0x23, data: 0x2b, code64: 0x33 } as const;

/** Entry `number` of the local descriptor table; limits in pages where `pages` is set. */
export interface LocalDescriptor {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  /** Access byte: P, DPL 3, S, type. */
  readonly access: number;
  /** G, D/B, L, AVL as the high nibble of byte 6. */
  readonly flags: number;
}
/** The local descriptors (setDescriptors of runner.c): 16-bit code and data, odd limits, and every kind of protection. */
export const ldt: readonly LocalDescriptor[] = [
  { selector: 0x07, base: codeBase, limit: 0xffff, access: 0xfb, flags: 0x0 },
  { selector: 0x0f, base: 0, limit: 0xffff, access: 0xf3, flags: 0x0 },
  { selector: 0x17, base: 0x1000, limit: 0xa7ff, access: 0xf3, flags: 0x4 },
  { selector: 0x1f, base: 0, limit: 0x9000, access: 0xf7, flags: 0x4 },
  { selector: 0x27, base: 0, limit: 0xfffff, access: 0xf1, flags: 0xc },
  { selector: 0x2f, base: 0, limit: 0xfffff, access: 0xf9, flags: 0xc },
  { selector: 0x37, base: 0, limit: 0xfffff, access: 0xfb, flags: 0xc },
  { selector: 0x3f, base: 0, limit: 0xfffff, access: 0x73, flags: 0xc },
];

/** Byte offsets within a state: `struct state` of runner.c. */
export const at = {
  gpr: 0, // 16 of 8 bytes, in encoding order
  rip: 128,
  rflags: 136,
  fsBase: 144,
  gsBase: 152,
  segments: 160, // CS SS DS ES FS GS, 2 bytes each
  mxcsr: 176,
  fcw: 180,
  fsw: 182,
  ftw: 184, // abridged: bit i for physical register i
  fop: 186,
  fip: 192,
  fdp: 200,
  st: 208, // ST(0) first, 16 bytes each
  ymm: 336, // 32 bytes each
} as const;
export const stateBytes = 848;
/** Names of the selectors at `at.segments`, in their order. */
export const segmentNames = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;

/** Bytes put into memory before the case runs; within one data page. */
export interface Patch {
  readonly address: number;
  readonly bytes: Uint8Array;
}

export type Mode = 'long64' | 'code32' | 'code16';

/** What the native runner needs of a case. */
export interface NativeCase {
  /** Its number; with the seed it makes the case again. */
  readonly number: number;
  readonly mode: Mode;
  readonly state: DataView<ArrayBuffer>;
  /** Linear address of the first instruction. */
  readonly codeAddress: number;
  readonly code: Uint8Array;
  readonly patches: readonly Patch[];
  /** Of a program: its instructions. */
  readonly listing?: readonly string[];
}

export interface TestCase extends NativeCase {
  /** The row that is tested, and its decoded instruction (undefined where the encoding is meant to be #UD). */
  readonly parsed: ParsedRow;
  readonly instruction: Instruction | undefined;
}

export type Status = 'trap' | 'timeout' | 'crash' | 'system call';
const statuses: readonly Status[] = ['trap', 'timeout', 'crash', 'system call'];

/** How a case ended. INT3 behind the instruction is vector 3. */
export interface Outcome {
  readonly status: Status;
  readonly vector: number;
  readonly error: number;
  readonly cr2: bigint;
  readonly state: DataView<ArrayBuffer>;
  /** Aligned 8-byte words of memory that differ from before: address to new value. */
  readonly changes: ReadonlyMap<number, bigint>;
}

const codeBytes = 512;
const testHeader = 16;
const patchHeader = 8;
const resultHeader = 32;

/** Data of the batch: count, bytes, then the cases one behind the other. */
export function encodeBatch(cases: readonly NativeCase[]): Uint8Array {
  const sizes = cases.map((c) =>
    c.patches.reduce((sum, p) => sum + patchHeader + ((p.bytes.length + 7) & ~7), testHeader + stateBytes + codeBytes),
  );
  const out = new Uint8Array(sizes.reduce((a, b) => a + b, 8));
  const view = new DataView(out.buffer);
  view.setUint32(0, cases.length, true);
  view.setUint32(4, out.length - 8, true);
  let offset = 8;
  cases.forEach((c, i) => {
    encodeCase(c, sizes[i], out, view, offset);
    offset += sizes[i];
  });
  return out;
}

function encodeCase(c: NativeCase, size: number, out: Uint8Array, view: DataView, start: number): void {
  if (c.code.length > codeBytes) throw new Error(`${c.code.length} bytes of code in case ${c.number}`);
  view.setUint32(start, size, true);
  view.setUint32(start + 4, c.codeAddress, true);
  view.setUint16(start + 8, c.code.length, true);
  view.setUint16(start + 10, c.patches.length, true);
  out.set(new Uint8Array(c.state.buffer), start + testHeader);
  out.set(c.code, start + testHeader + stateBytes);
  let offset = start + testHeader + stateBytes + codeBytes;
  for (const patch of c.patches) {
    view.setUint16(offset, patch.address, true);
    view.setUint16(offset + 2, patch.bytes.length, true);
    out.set(patch.bytes, offset + patchHeader);
    offset += patchHeader + ((patch.bytes.length + 7) & ~7);
  }
}

/** The outcomes of a batch of `count` cases, from the runner's answer without its header. */
export function decodeOutcomes(bytes: Uint8Array, count: number): Outcome[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const outcomes: Outcome[] = [];
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const changes = new Map<number, bigint>();
    const changeCount = view.getUint16(offset + 6, true);
    for (let j = 0; j < changeCount; j++) {
      const change = offset + resultHeader + stateBytes + 16 * j;
      changes.set(view.getUint32(change, true), view.getBigUint64(change + 8, true));
    }
    const stateStart = offset + resultHeader;
    outcomes.push({
      status: statuses[view.getUint8(offset + 4)],
      vector: view.getUint8(offset + 5),
      error: view.getUint32(offset + 8, true),
      cr2: view.getBigUint64(offset + 16, true),
      state: new DataView(bytes.slice(stateStart, stateStart + stateBytes).buffer),
      changes,
    });
    offset += view.getUint32(offset, true);
  }
  return outcomes;
}
