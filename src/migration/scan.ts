/**
 * Looks over large pieces of memory sixteen bytes at a time: a small WebAssembly module on the guest's own memory
 * (core specification 3.0, chapter 5: binary format). Where the memory is no WebAssembly.Memory, the same in TypeScript.
 */
import type { GuestMemory } from '../contract/index.ts';
import { checksumOf, isZeroPage, PAGE_BYTES } from './format.ts';

export interface Scanner {
  /** Whether the page at this offset of the buffer is zero. */
  isZeroPage(offset: number): boolean;
  /** checksumOf, faster where the bytes lie in the scanner's memory. */
  checksum(bytes: Uint8Array): number;
}

/** Whose RAM it is. */
export type Ram = Pick<GuestMemory, 'buffer' | 'ranges' | 'memory'>;

export function scannerOf({ buffer, memory }: Pick<GuestMemory, 'buffer' | 'memory'>): Scanner {
  if (memory === undefined) return { isZeroPage: (offset) => isZeroPage(buffer, offset), checksum: checksumOf };
  const { isZero, lanes } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()), { host: { memory } })
    .exports as { isZero(at: number, end: number): number; lanes(at: number, end: number): number };
  return {
    isZeroPage: (offset) => isZero(offset, offset + PAGE_BYTES) !== 0,
    checksum: (bytes) => {
      const { byteOffset, length } = bytes;
      const isThere = bytes.buffer === buffer && length > 0 && length % STEP_BYTES === 0;
      return isThere ? lanes(byteOffset, byteOffset + length) >>> 0 : checksumOf(bytes);
    },
  };
}

/** Zeros of one's own, which `checksum` is fast for. */
export function scannedMemory(length: number): { readonly bytes: Uint8Array; readonly checksum: Scanner['checksum'] } {
  const pages = Math.ceil(length / WASM_PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const buffer = memory.buffer as ArrayBufferLike as SharedArrayBuffer;
  return { bytes: new Uint8Array(buffer, 0, length), checksum: scannerOf({ buffer, memory }).checksum };
}

const WASM_PAGE_BYTES = 0x1_0000;
/** Of memory that is looked at in one turn of a loop. */
const STEP_BYTES = 64;

const i32 = 0x7f;
const v128 = 0x7b;
const op = {
  loop: 0x03,
  if: 0x04,
  end: 0x0b,
  branchIf: 0x0d,
  return: 0x0f,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  i32: 0x41,
  notEqual: 0x47,
  add: 0x6a,
  multiply: 0x6c,
  xor: 0x73,
  noResult: 0x40,
} as const;
const vector = { load: 0x00, constant: 0x0c, splat: 0x11, lane: 0x1b, or: 0x50, xor: 0x51, anyTrue: 0x53 } as const;
/** i32x4.mul has a number of two bytes. */
const MULTIPLY_LANES = [0xfd, 0xb5, 0x01];

const AT = [op.get, 0];
const END = [op.get, 1];

/** A signed number as LEB128. */
function number(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value | 0; ; rest >>= 7) {
    const isLast = rest >> 6 === 0 || rest >> 6 === -1;
    bytes.push(isLast ? rest & 0x7f : (rest & 0x7f) | 0x80);
    if (isLast) return bytes;
  }
}

/** A length: below 2 ** 13 it is one or two bytes. */
const size = (value: number) => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, value >> 7]);
const counted = (bytes: readonly number[]) => [...size(bytes.length), ...bytes];
const list = (items: readonly (readonly number[])[]) => [...size(items.length), ...items.flat()];
const section = (id: number, content: readonly number[]) => [id, ...counted(content)];
const text = (word: string) => counted([...word].map((letter) => letter.charCodeAt(0)));
const load = (offset: number) => [...AT, 0xfd, vector.load, 0, ...size(offset)];
const next = [...AT, op.i32, ...number(STEP_BYTES), op.add, op.tee, 0, ...END, op.notEqual, op.branchIf, 0];

/** (at, end) → 1 when all of it is zero. */
const IS_ZERO = [
  ...[op.loop, op.noResult],
  ...load(0),
  ...[16, 32, 48].flatMap((offset) => [...load(offset), 0xfd, vector.or]),
  ...[0xfd, vector.anyTrue, op.if, op.noResult, op.i32, 0, op.return, op.end],
  ...next,
  op.end,
  ...[op.i32, 1, op.end],
];

const PRIME = 0x01000193;
const START = 0x811c9dc5;
const LANES = [2];
const PRIMES = [3];
const constant = (words: readonly number[]) => [
  ...[0xfd, vector.constant],
  ...words.flatMap((word) => [word & 0xff, (word >> 8) & 0xff, (word >> 16) & 0xff, (word >> 24) & 0xff]),
];

/** (at, end) → checksumOf: its four chains are a vector's lanes, folded one after the other at the end. */
const CHECKSUM = [
  ...[...constant([START, START | 1, START | 2, START | 4]), op.set, ...LANES],
  ...[op.i32, ...number(PRIME), 0xfd, vector.splat, op.set, ...PRIMES],
  ...[op.loop, op.noResult],
  ...[0, 16, 32, 48].flatMap((offset) => [
    ...[op.get, ...LANES, ...load(offset), 0xfd, vector.xor, op.get, ...PRIMES, ...MULTIPLY_LANES, op.set, ...LANES],
  ]),
  ...next,
  op.end,
  ...[op.i32, ...number(START)],
  ...[0, 1, 2, 3].flatMap((lane) => [
    ...[op.get, ...LANES, 0xfd, vector.lane, lane, op.xor, op.i32, ...number(PRIME), op.multiply],
  ]),
  op.end,
];

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const pair = [0x60, ...list([[i32], [i32]]), ...list([[i32]])];
  /** A memory that threads share, of up to 4 GiB. */
  const memory = [0x02, 0x03, 0, ...[0x80, 0x80, 0x04]];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list([pair])),
    ...section(2, list([[...text('host'), ...text('memory'), ...memory]])),
    ...section(3, list([[0], [0]])),
    ...section(
      7,
      list([
        [...text('isZero'), 0, 0],
        [...text('lanes'), 0, 1],
      ]),
    ),
    ...section(10, list([counted([...list([]), ...IS_ZERO]), counted([...list([[2, v128]]), ...CHECKSUM])])),
  ]);
}
