/**
 * The snapshot format, as a file or as a stream.
 *
 * It begins with 16 bytes: `MAGIC` and the version as u32. Sections follow. Each
 * has a header of 32 bytes, then its payload; the header of RAM is followed by
 * zeros up to the next multiple of 4 KiB, so that a file's RAM can be mapped.
 * All numbers are little-endian.
 *
 * | offset | type | field |
 * |---|---|---|
 * | 0 | u32 | kind, see `KIND` |
 * | 4 | u32 | 0 |
 * | 8 | u64 | RAM and zero: guest physical address, a multiple of 4 KiB; else 0 |
 * | 16 | u64 | payload in bytes; zero: bytes of RAM, without a payload; end: how many sections came before |
 * | 24 | u32 | checksum of the payload |
 * | 28 | u32 | checksum of the 28 bytes before |
 *
 * The sections are one `state`, any number of `blob`s, RAM in any order, later
 * pieces replacing earlier ones, and `end`. RAM that no piece names is zero.
 * No checksum protects against somebody who wants to deceive.
 */
import { UserError } from '../base/index.ts';

export const MAGIC = 'vireo machine';
export const VERSION = 1;
export const PREAMBLE_BYTES = 16;
export const HEADER_BYTES = 32;
export const PAGE_BYTES = 4096;

export const KIND = { state: 1, blob: 2, ram: 3, zero: 4, end: 5 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** Of a payload. A zero section may be as long as RAM is. */
export const LENGTH_MAX: Readonly<Record<Kind, number>> = {
  [KIND.state]: 64 * 1024 ** 2,
  [KIND.blob]: 1024 ** 3,
  [KIND.ram]: 4 * 1024 ** 2,
  [KIND.zero]: Number.MAX_SAFE_INTEGER,
  [KIND.end]: Number.MAX_SAFE_INTEGER,
};

export interface Header {
  readonly kind: Kind;
  readonly address: number;
  readonly length: number;
  readonly checksum: number;
}

export function encodePreamble(): Uint8Array {
  const bytes = new Uint8Array(PREAMBLE_BYTES);
  for (let i = 0; i < MAGIC.length; i++) bytes[i] = MAGIC.charCodeAt(i);
  bytes[PREAMBLE_BYTES - 1] = VERSION;
  return bytes;
}

/** @throws UserError unless these 16 bytes begin a snapshot of a version that is known */
export function checkPreamble(bytes: Uint8Array): void {
  const expected = encodePreamble();
  const version = bytes[PREAMBLE_BYTES - 1];
  if (expected.some((byte, i) => i < PREAMBLE_BYTES - 1 && byte !== bytes[i])) {
    throw new UserError('this is not a snapshot of a Vireo machine');
  }
  if (version !== VERSION) {
    throw new UserError(`the snapshot is of format ${version}; this version of Vireo reads format ${VERSION}`);
  }
}

export function encodeHeader({ kind, address, length, checksum }: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, kind, true);
  view.setBigUint64(8, BigInt(address), true);
  view.setBigUint64(16, BigInt(length), true);
  view.setUint32(24, checksum, true);
  view.setUint32(28, checksumOf(bytes.subarray(0, 28)), true);
  return bytes;
}

/** @throws UserError when it is damaged */
export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(28, true) !== checksumOf(bytes.subarray(0, 28))) throw damaged('the header of a section');
  const kind = view.getUint32(0, true) as Kind;
  const address = Number(view.getBigUint64(8, true));
  const length = Number(view.getBigUint64(16, true));
  const max = LENGTH_MAX[kind];
  if (max === undefined) throw damaged(`the kind ${kind} of a section`);
  if (length > max || !Number.isSafeInteger(address)) throw damaged('the length of a section');
  const isRam = kind === KIND.ram || kind === KIND.zero;
  if (isRam && (address % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0)) throw damaged('the address of RAM');
  return { kind, address, length, checksum: view.getUint32(24, true) };
}

/** How many zeros stand between the end of RAM's header and its payload. */
export function paddingBefore(offset: number): number {
  return (PAGE_BYTES - (offset % PAGE_BYTES)) % PAGE_BYTES;
}

export function damaged(what: string): UserError {
  return new UserError(`the snapshot is damaged: ${what} is wrong`);
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** FNV-1a over the little-endian 32-bit words, then over the bytes that are left; goes on from an earlier checksum of whole words. */
export function checksumOf(bytes: Uint8Array, before: number = FNV_OFFSET): number {
  let hash = before | 0;
  const wordBytes = bytes.length & ~3;
  if (bytes.byteOffset % 4 === 0) {
    for (const word of new Uint32Array(bytes.buffer, bytes.byteOffset, wordBytes >> 2)) {
      hash = Math.imul(hash ^ word, FNV_PRIME);
    }
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < wordBytes; at += 4) hash = Math.imul(hash ^ view.getUint32(at, true), FNV_PRIME);
  }
  for (let at = wordBytes; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at], FNV_PRIME);
  return hash >>> 0;
}
