/**
 * The format of snapshots and of live migration, as a file or as a stream.
 *
 * It begins with 16 bytes: `MAGIC` and the version as a byte. Sections follow. Each has a header of 32 bytes, then its
 * payload. All numbers are little-endian.
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
 * - `state`, the first and once: what machine it is, as JSON (record-text.ts).
 * - `blob`: files that the state refers to.
 * - `ram`: a piece of RAM at a multiple of 4 KiB of the file, so that it can be mapped; zeros stand before it.
 * - `page`: the same without zeros before it, for streams.
 * - `zero`: a piece of RAM that is zero.
 * - `device`: the state of one device as JSON: its name, the version of its record, the record.
 * - `end`.
 *
 * Blobs come before RAM; RAM and devices come in any order, later pieces of RAM replacing earlier ones. RAM that no
 * piece names is zero. No checksum protects against somebody who wants to deceive.
 *
 * Version 1 had all devices in `state`, and neither `page` nor `device`; its payloads' checksum was one chain.
 */
import { UserError } from '../base/index.ts';

export const MAGIC = 'vireo machine';
export const VERSION = 2;
export const PREAMBLE_BYTES = 16;
export const HEADER_BYTES = 32;
export const PAGE_BYTES = 4096;

export const KIND = { state: 1, blob: 2, ram: 3, zero: 4, end: 5, device: 6, page: 7 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** Of a payload. A zero section may be as long as RAM is. */
export const LENGTH_MAX: Readonly<Record<Kind, number>> = {
  [KIND.state]: 64 * 1024 ** 2,
  [KIND.blob]: 1024 ** 3,
  [KIND.ram]: 4 * 1024 ** 2,
  [KIND.zero]: Number.MAX_SAFE_INTEGER,
  [KIND.end]: Number.MAX_SAFE_INTEGER,
  [KIND.device]: 64 * 1024 ** 2,
  [KIND.page]: 4 * 1024 ** 2,
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

/** @returns the version. @throws UserError unless these 16 bytes begin a snapshot of a version that is known */
export function checkPreamble(bytes: Uint8Array): number {
  const expected = encodePreamble();
  const version = bytes[PREAMBLE_BYTES - 1];
  if (expected.some((byte, i) => i < PREAMBLE_BYTES - 1 && byte !== bytes[i])) {
    throw new UserError('this is not a snapshot of a Vireo machine');
  }
  if (version < 1 || version > VERSION) {
    throw new UserError(`the snapshot is of format ${version}; this version of Vireo reads formats 1 to ${VERSION}`);
  }
  return version;
}

export function encodeHeader({ kind, address, length, checksum }: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, kind, true);
  view.setBigUint64(8, BigInt(address), true);
  view.setBigUint64(16, BigInt(length), true);
  view.setUint32(24, checksum, true);
  view.setUint32(28, chainChecksum(bytes.subarray(0, 28)), true);
  return bytes;
}

/** @throws UserError when it is damaged */
export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(28, true) !== chainChecksum(bytes.subarray(0, 28))) throw damaged('the header of a section');
  const kind = view.getUint32(0, true) as Kind;
  const address = Number(view.getBigUint64(8, true));
  const length = Number(view.getBigUint64(16, true));
  const max = LENGTH_MAX[kind];
  if (max === undefined) throw damaged(`the kind ${kind} of a section`);
  if (length > max || !Number.isSafeInteger(address)) throw damaged('the length of a section');
  if (isRam(kind) && (address % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0)) throw damaged('the address of RAM');
  return { kind, address, length, checksum: view.getUint32(24, true) };
}

export function isRam(kind: Kind): boolean {
  return kind === KIND.ram || kind === KIND.zero || kind === KIND.page;
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

/** Of a payload, as a version computes it. */
export function payloadChecksum(bytes: Uint8Array, version: number): number {
  return version === 1 ? chainChecksum(bytes) : checksumOf(bytes);
}

/**
 * Four chains of FNV-1a over little-endian 32-bit words, each over every fourth word, which a processor computes side
 * by side; then FNV-1a over the four results and over the bytes that are left.
 */
export function checksumOf(bytes: Uint8Array): number {
  const count = bytes.length >> 4;
  // Words cannot be read across their alignment.
  const from = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Int32Array(from.buffer, from.byteOffset, count * 4);
  let [a, b, c, d] = [FNV_OFFSET | 0, FNV_OFFSET | 1, FNV_OFFSET | 2, FNV_OFFSET | 4];
  for (let at = 0; at < words.length; at += 4) {
    a = Math.imul(a ^ words[at], FNV_PRIME);
    b = Math.imul(b ^ words[at + 1], FNV_PRIME);
    c = Math.imul(c ^ words[at + 2], FNV_PRIME);
    d = Math.imul(d ^ words[at + 3], FNV_PRIME);
  }
  let hash = FNV_OFFSET;
  for (const lane of [a, b, c, d]) hash = Math.imul(hash ^ lane, FNV_PRIME);
  for (let at = count * 16; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at], FNV_PRIME);
  return hash >>> 0;
}

/** FNV-1a over the little-endian 32-bit words, then over the bytes that are left. */
function chainChecksum(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wordBytes = bytes.length & ~3;
  let hash = FNV_OFFSET;
  for (let at = 0; at < wordBytes; at += 4) hash = Math.imul(hash ^ view.getUint32(at, true), FNV_PRIME);
  for (let at = wordBytes; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at], FNV_PRIME);
  return hash >>> 0;
}

export function isZeroPage(buffer: SharedArrayBuffer, offset: number): boolean {
  const words = new Uint32Array(buffer, offset, PAGE_BYTES / 4);
  for (let i = 0; i < words.length; i += 4) {
    if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) !== 0) return false;
  }
  return true;
}
