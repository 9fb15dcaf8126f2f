/** VHD structures (Microsoft, "Virtual Hard Disk Image Format Specification", 2006), big-endian. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { bytesOf, type LayoutOf, layout, u8, u16be, u32be, u64be } from '../layout.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8 } from '../text.ts';

export const footerLayout = layout({
  cookie: bytesOf(8),
  features: u32be,
  version: u32be,
  dataOffset: bytesOf(8),
  timestamp: u32be,
  creatorApp: bytesOf(4),
  creatorVersion: u32be,
  creatorOs: bytesOf(4),
  originalBytes: u64be,
  currentBytes: u64be,
  cylinders: u16be,
  heads: u8,
  sectorsPerTrack: u8,
  diskType: u32be,
  checksum: u32be,
  uuid: bytesOf(16),
  savedState: u8,
  reserved: bytesOf(427),
});
export type VhdFooter = LayoutOf<typeof footerLayout>;

export const dynamicLayout = layout({
  cookie: bytesOf(8),
  dataOffset: bytesOf(8),
  tableOffset: u64be,
  version: u32be,
  tableEntries: u32be,
  blockBytes: u32be,
  checksum: u32be,
  parentUuid: bytesOf(16),
  parentTimestamp: u32be,
  reserved: u32be,
  parentName: bytesOf(512),
  locators: bytesOf(192),
  rest: bytesOf(256),
});
/** One of eight ways to find the parent; `space` bytes of the file are kept for `length` of them. */
export const locatorLayout = layout({
  code: u32be,
  space: u32be,
  length: u32be,
  reserved: u32be,
  offset: u64be,
});
export const LOCATORS = 8;
/** Names as Windows writes them, UTF-16 little-endian: relative to the disk, and absolute. */
export const LOCATOR = { none: 0, relative: 0x57327275, absolute: 0x57326b75 } as const;

export type VhdDynamic = LayoutOf<typeof dynamicLayout>;

export const FOOTER_COOKIE = 'conectix';
export const DYNAMIC_COOKIE = 'cxsparse';
export const DISK_TYPE = { fixed: 2, dynamic: 3, differencing: 4 } as const;
export const VERSION = 0x00010000;
export const UNALLOCATED = 0xffffffff;
/** The largest disk that the specification allows: 2040 GiB. */
export const DISK_MAX_BYTES = 2040 * 2 ** 30;
const BLOCK_MAX_BYTES = 2 ** 28;
const TABLE_MAX_ENTRIES = 2 ** 22;
/** Programs whose disk has the footer's size; others mean the cylinders, heads and sectors. */
const EXACT_CREATORS = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS'];

/** One's complement of the sum of all bytes but the checksum's own. */
export function checksumOf(bytes: Uint8Array, checksumOffset: number): number {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) if (i < checksumOffset || i >= checksumOffset + 4) sum += byte;
  return ~sum >>> 0;
}

export function encodeFooter(footer: VhdFooter): Uint8Array<ArrayBuffer> {
  const checksum = checksumOf(footerLayout.write(footer), footerLayout.offsetOf('checksum'));
  return footerLayout.write({ ...footer, checksum });
}

export function encodeDynamic(dynamic: VhdDynamic): Uint8Array<ArrayBuffer> {
  const checksum = checksumOf(dynamicLayout.write(dynamic), dynamicLayout.offsetOf('checksum'));
  return dynamicLayout.write({ ...dynamic, checksum });
}

function isFooter(bytes: Uint8Array): boolean {
  return decodeUtf8(bytes.subarray(0, 8)) === FOOTER_COOKIE;
}

/** Reads the footer: a dynamic disk has a copy at its beginning, a fixed one only that at its end. */
export async function readFooter(file: BlockNode, name: string): Promise<VhdFooter> {
  const bytes = new Uint8Array(footerLayout.size);
  await readPadded(file, 0, bytes);
  if (!isFooter(bytes) && file.sizeBytes >= bytes.length) await file.read(file.sizeBytes - bytes.length, bytes);
  const bad = (what: string): never => {
    throw new UserError(`${name}: not a usable VHD image: ${what}`);
  };
  if (!isFooter(bytes)) bad('it has no footer');
  const footer = footerLayout.read(bytes);
  if (footer.checksum !== checksumOf(bytes, footerLayout.offsetOf('checksum')))
    bad('the checksum of its footer is wrong');
  const types: readonly number[] = Object.values(DISK_TYPE);
  if (!types.includes(footer.diskType)) bad(`disk type ${footer.diskType}; 2, 3 and 4 are known`);
  if (sizeOf(footer) > DISK_MAX_BYTES) bad(`its disk of ${sizeOf(footer)} bytes is larger than 2040 GiB`);
  return footer;
}

export function sizeOf(footer: VhdFooter): number {
  const { cylinders, heads, sectorsPerTrack, creatorApp, currentBytes } = footer;
  const isLargest = cylinders === 65535 && heads === 16 && sectorsPerTrack === 255;
  if (isLargest || EXACT_CREATORS.includes(decodeUtf8(creatorApp))) return currentBytes - (currentBytes % 512);
  return cylinders * heads * sectorsPerTrack * 512;
}

export async function readDynamic(file: BlockNode, footer: VhdFooter, name: string): Promise<VhdDynamic> {
  const bad = (what: string): never => {
    throw new UserError(`${name}: not a usable VHD image: ${what}`);
  };
  const offset = u64be.get(new DataView(footer.dataOffset.buffer), 0);
  if (offset > file.sizeBytes) bad('its dynamic header is beyond the end of the file');
  const bytes = new Uint8Array(dynamicLayout.size);
  await readPadded(file, offset, bytes);
  const dynamic = dynamicLayout.read(bytes);
  const { blockBytes, tableEntries, tableOffset } = dynamic;
  if (decodeUtf8(dynamic.cookie) !== DYNAMIC_COOKIE) bad('it has no dynamic header');
  if (dynamic.checksum !== checksumOf(bytes, dynamicLayout.offsetOf('checksum'))) {
    bad('the checksum of its dynamic header is wrong');
  }
  if (blockBytes < 512 || blockBytes > BLOCK_MAX_BYTES || 2 ** Math.floor(Math.log2(blockBytes)) !== blockBytes) {
    bad(`its blocks have ${blockBytes} bytes; a power of two from 512 to 256 MiB is allowed`);
  }
  if (tableEntries > TABLE_MAX_ENTRIES)
    bad(`its table has ${tableEntries} entries; at most ${TABLE_MAX_ENTRIES} are supported`);
  if (tableEntries * blockBytes < sizeOf(footer)) bad(`its table of ${tableEntries} blocks is too small for its disk`);
  if (tableOffset + tableEntries * 4 > file.sizeBytes) bad('its table reaches beyond the end of the file');
  return dynamic;
}
