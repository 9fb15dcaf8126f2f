/**
 * Persistent dirty bitmaps (docs/interop/qcow2.txt, "Bitmaps"). They are marked
 * "in use" in the file before the first write, and stored again at close.
 */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { BitmapInfo, Bitmaps } from '../format.ts';
import { joinBytes, layout, u8, u16be, u32be, u64be, viewOf } from '../layout.ts';
import { alignUp, checkWritable, isZero, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import { AUTOCLEAR, EXTENSION, encodeHeader, LIMITS, type Qcow2Header } from './header.ts';
import { commit, type Image } from './image.ts';

const extension = layout({ count: u32be, reserved: u32be, directoryBytes: u64be, directoryOffset: u64be });
const row = layout({
  tableOffset: u64be,
  tableEntries: u32be,
  flags: u32be,
  type: u8,
  granularityBits: u8,
  nameBytes: u16be,
  extraBytes: u32be,
});

export const BITMAP_FLAG = { inUse: 1, auto: 2, extraDataCompatible: 4 } as const;
const DIRTY_TRACKING = 1;
const BITMAPS_MAX = 65535;
const DIRECTORY_MAX_BYTES = 64 * 2 ** 20;
const BITMAP_MAX_BYTES = 64 * 2 ** 20;

export interface Bitmap {
  readonly name: string;
  readonly granularityBits: number;
  readonly extra: Uint8Array;
  flags: number;
  tableOffset: number;
  tableEntries: number;
  /** The bits, lowest first in each byte; loaded when the image is first written to. */
  bits?: Uint8Array;
}

interface Directory {
  readonly offset: number;
  readonly bytes: number;
}

/** Where the bitmap directory lies, when the image has valid bitmaps. */
export function bitmapDirectory(header: Qcow2Header): Directory | undefined {
  const found = header.extensions.find(({ type }) => type === EXTENSION.bitmaps);
  if (found === undefined || found.data.length < extension.size || (header.autoclear & AUTOCLEAR.bitmaps) === 0n)
    return;
  const { directoryOffset, directoryBytes } = extension.read(found.data);
  return { offset: directoryOffset, bytes: directoryBytes };
}

/** Reads the bitmap directory. @throws UserError that names the bitmap */
export async function readBitmaps(file: BlockNode, header: Qcow2Header, name: string): Promise<Bitmap[]> {
  const directory = bitmapDirectory(header);
  if (directory === undefined) return [];
  const bad = (what: string): never => {
    throw new UserError(`${name}: the image's bitmaps are not usable: ${what}`);
  };
  if (directory.bytes > DIRECTORY_MAX_BYTES) bad(`their directory has ${directory.bytes} bytes; at most 64 MiB fit`);
  const bytes = new Uint8Array(directory.bytes);
  await readPadded(file, directory.offset, bytes);
  const bitmaps: Bitmap[] = [];
  for (let at = 0; at + row.size <= bytes.length; ) {
    const entry = row.read(bytes, at);
    const end = at + row.size + entry.extraBytes + entry.nameBytes;
    if (end > bytes.length || entry.type !== DIRTY_TRACKING || bitmaps.length >= BITMAPS_MAX) bad('a malformed entry');
    if (entry.granularityBits < 9 || entry.granularityBits > 31) bad(`granularity of 2^${entry.granularityBits} bytes`);
    const bitmapName = decodeUtf8(bytes.subarray(end - entry.nameBytes, end));
    if (entry.tableEntries * 8 > LIMITS.l1Bytes || entry.tableOffset > LIMITS.offset)
      bad(`the table of "${bitmapName}"`);
    const { flags, granularityBits, tableOffset, tableEntries } = entry;
    const extra = bytes.slice(at + row.size, at + row.size + entry.extraBytes);
    bitmaps.push({ name: bitmapName, flags, granularityBits, tableOffset, tableEntries, extra });
    at = alignUp(end, 8);
  }
  return bitmaps;
}

function encodeDirectory(bitmaps: readonly Bitmap[]): Uint8Array<ArrayBuffer> {
  const parts = bitmaps.map((bitmap) => {
    const name = encodeUtf8(bitmap.name);
    const { extra, flags, granularityBits, tableOffset, tableEntries } = bitmap;
    const sizes = { nameBytes: name.length, extraBytes: extra.length };
    const part = new Uint8Array(alignUp(row.size + extra.length + name.length, 8));
    part.set(row.write({ tableOffset, tableEntries, flags, granularityBits, type: DIRTY_TRACKING, ...sizes }));
    part.set(extra, row.size);
    part.set(name, row.size + extra.length);
    return part;
  });
  return joinBytes(parts);
}

function bitmapBytes(image: Image, { granularityBits }: Bitmap): number {
  return Math.ceil(Math.ceil(image.sizeBytes / 2 ** granularityBits) / 8);
}

/** The clusters of a bitmap's table, and of its bits; entries 0 and 1 stand for all zeros and all ones. */
export async function bitmapTable(image: Image, bitmap: Bitmap): Promise<number[]> {
  const bytes = new Uint8Array(bitmap.tableEntries * 8);
  await readPadded(image.file, bitmap.tableOffset, bytes);
  const view = viewOf(bytes);
  return Array.from({ length: bitmap.tableEntries }, (_, i) => u64be.get(view, i * 8));
}

async function load(image: Image, bitmap: Bitmap): Promise<Uint8Array> {
  const { clusterBytes } = image.geometry;
  const length = bitmapBytes(image, bitmap);
  if (length > BITMAP_MAX_BYTES) throw new UserError(`${image.name}: bitmap "${bitmap.name}" is larger than 64 MiB`);
  const bits = new Uint8Array(length);
  for (const [i, entry] of (await bitmapTable(image, bitmap)).entries()) {
    const part = bits.subarray(i * clusterBytes, (i + 1) * clusterBytes);
    if (entry === 1) part.fill(0xff);
    else if (entry !== 0) await readPadded(image.file, entry, part);
  }
  return bits;
}

/** Loads what must be kept up and marks it "in use" in the file, before the first change to the disk. */
async function activate(image: Image): Promise<void> {
  const { file, header } = image;
  for (const bitmap of image.bitmaps) {
    if ((bitmap.flags & BITMAP_FLAG.inUse) !== 0) continue;
    bitmap.bits = await load(image, bitmap);
    bitmap.flags |= BITMAP_FLAG.inUse;
  }
  await file.write(bitmapDirectory(header)!.offset, encodeDirectory(image.bitmaps));
  await file.flush();
}

/** Makes the bitmaps fit a disk whose size is about to change; what is new is clean. */
export async function resizeBitmaps(image: Image, sizeBytes: number): Promise<void> {
  if (image.bitmaps.length === 0) return;
  const broken = image.bitmaps.find(({ bits, flags }) => bits === undefined && (flags & BITMAP_FLAG.inUse) !== 0);
  if (broken !== undefined) {
    throw new UserError(`${image.name}: bitmap '${broken.name}' is inconsistent: remove it before changing the size`);
  }
  await (image.bitmapsLoaded ??= activate(image));
  for (const bitmap of image.bitmaps) {
    const count = Math.ceil(sizeBytes / 2 ** bitmap.granularityBits);
    const length = Math.ceil(count / 8);
    if (length > BITMAP_MAX_BYTES) throw new UserError(`Bitmap "${bitmap.name}" would be larger than 64 MiB`);
    const bits = new Uint8Array(length);
    bits.set(bitmap.bits!.subarray(0, length));
    if (count % 8 !== 0) bits[length - 1] &= (1 << (count % 8)) - 1;
    bitmap.bits = bits;
  }
}

/** Sets the bits of a range that is about to change. */
export async function recordInBitmaps(image: Image, offset: number, length: number): Promise<void> {
  if (image.bitmaps.length === 0 || length === 0) return;
  await (image.bitmapsLoaded ??= activate(image));
  for (const { bits, flags, granularityBits } of image.bitmaps) {
    if (bits === undefined || (flags & BITMAP_FLAG.auto) === 0) continue;
    setBits(bits, granularityBits, offset, length);
  }
}

/** Stores the bitmaps that were loaded, and says that they are valid again. */
export async function storeBitmaps(image: Image): Promise<void> {
  const changed = image.bitmaps.filter(({ bits }) => bits !== undefined);
  image.bitmapsLoaded = undefined;
  if (changed.length === 0) return;
  for (const bitmap of changed) await storeBits(image, bitmap);
  await writeDirectory(image);
}

async function storeBits(image: Image, bitmap: Bitmap): Promise<void> {
  const { file, refcounts } = image;
  const { clusterBytes } = image.geometry;
  freeBitmap(image, bitmap, await bitmapTable(image, bitmap));
  const bits = bitmap.bits!;
  const table = new Uint8Array(alignUp(Math.max(1, Math.ceil(bits.length / clusterBytes) * 8), clusterBytes));
  for (let at = 0, i = 0; at < bits.length; at += clusterBytes, i += 1) {
    const part = bits.subarray(at, at + clusterBytes);
    if (isZero(part)) continue;
    const { first } = await refcounts.allocate(1);
    const cluster = new Uint8Array(clusterBytes);
    cluster.set(part);
    await file.write(first * clusterBytes, cluster);
    u64be.put(viewOf(table), i * 8, first * clusterBytes);
  }
  const { first } = await refcounts.allocate(table.length / clusterBytes);
  await file.write(first * clusterBytes, table);
  bitmap.tableOffset = first * clusterBytes;
  bitmap.tableEntries = Math.ceil(bits.length / clusterBytes);
  bitmap.flags &= ~BITMAP_FLAG.inUse;
  delete bitmap.bits;
}

function freeBitmap(image: Image, bitmap: Bitmap, table: readonly number[]): void {
  const { clusterBytes } = image.geometry;
  for (const entry of table) if (entry > 1) image.refcounts.free(entry / clusterBytes, 1);
  if (table.length > 0)
    image.refcounts.free(bitmap.tableOffset / clusterBytes, Math.ceil((table.length * 8) / clusterBytes));
}

/** Writes the directory to new clusters and the header's extension with it; without bitmaps there is neither. */
async function writeDirectory(image: Image): Promise<void> {
  const { file, header, refcounts } = image;
  const { clusterBytes } = image.geometry;
  const old = bitmapDirectory(header);
  const bytes = encodeDirectory(image.bitmaps);
  header.extensions = header.extensions.filter(({ type }) => type !== EXTENSION.bitmaps);
  header.autoclear &= ~AUTOCLEAR.bitmaps;
  if (bytes.length > 0) {
    const { first } = await refcounts.allocate(Math.ceil(bytes.length / clusterBytes));
    await file.write(first * clusterBytes, bytes);
    const sizes = { directoryBytes: bytes.length, directoryOffset: first * clusterBytes };
    const data = extension.write({ count: image.bitmaps.length, reserved: 0, ...sizes });
    header.extensions.push({ type: EXTENSION.bitmaps, data });
    header.autoclear |= AUTOCLEAR.bitmaps;
  }
  await commit(image);
  await file.write(0, encodeHeader(header));
  await file.flush();
  if (old !== undefined) refcounts.free(old.offset / clusterBytes, Math.ceil(old.bytes / clusterBytes));
  await commit(image);
}

/** The bitmaps of an image, for whoever manages them. */
export function bitmapsOf(image: Image): Bitmaps {
  const find = (name: string): Bitmap => {
    const found = image.bitmaps.find((bitmap) => bitmap.name === name);
    if (found === undefined) throw new UserError(`Dirty bitmap '${name}' not found`);
    if ((found.flags & BITMAP_FLAG.inUse) !== 0 && found.bits === undefined) {
      throw new UserError(`Bitmap '${name}' is inconsistent and cannot be used: it can only be removed`);
    }
    return found;
  };
  const change = (body: () => Promise<void> | void) =>
    image.lock.exclusive(async () => {
      checkWritable(image.name, image.readOnly);
      if (image.bitmaps.length > 0) await (image.bitmapsLoaded ??= activate(image));
      try {
        await body();
      } finally {
        await storeBitmaps(image);
      }
    });
  return {
    list: () => image.bitmaps.map(describeBitmap),
    add: ({ name, granularityBytes }) =>
      change(() => {
        const granularityBits = Math.log2(granularityBytes);
        if (!Number.isInteger(granularityBits) || granularityBits < 9 || granularityBits > 31) {
          throw new UserError('Granularity must be a power of two from 512 bytes to 2 GiB');
        }
        if (image.header.version < 3) throw new UserError('Cannot store dirty bitmaps in qcow2 v2 files');
        if (name === '' || encodeUtf8(name).length > 1023)
          throw new UserError('The name of a bitmap has 1 to 1023 bytes');
        if (image.bitmaps.some((bitmap) => bitmap.name === name)) throw new UserError(`Bitmap already exists: ${name}`);
        const extra = new Uint8Array(0);
        const bitmap: Bitmap = {
          name,
          granularityBits,
          extra,
          flags: BITMAP_FLAG.auto,
          tableOffset: 0,
          tableEntries: 0,
        };
        const length = bitmapBytes(image, bitmap);
        if (length > BITMAP_MAX_BYTES) throw new UserError(`Bitmap "${name}" would be larger than 64 MiB`);
        image.bitmaps.push({ ...bitmap, bits: new Uint8Array(length) });
      }),
    remove: (name) =>
      change(async () => {
        const index = image.bitmaps.findIndex((bitmap) => bitmap.name === name);
        if (index < 0) throw new UserError(`Dirty bitmap '${name}' not found`);
        const [bitmap] = image.bitmaps.splice(index, 1);
        freeBitmap(image, bitmap, await bitmapTable(image, bitmap));
        if (image.bitmaps.every(({ bits }) => bits === undefined)) await writeDirectory(image);
      }),
    clear: (name) =>
      change(() => {
        find(name).bits!.fill(0);
      }),
    setEnabled: (name, isEnabled) =>
      change(() => {
        const bitmap = find(name);
        bitmap.flags = isEnabled ? bitmap.flags | BITMAP_FLAG.auto : bitmap.flags & ~BITMAP_FLAG.auto;
      }),
    dirtyRanges: async (name) => rangesOf(image, find(name)),
    mark: (name, ranges) =>
      change(() => {
        const { bits, granularityBits } = find(name);
        for (const { offset, length } of ranges) {
          if (length > 0 && offset < image.sizeBytes)
            setBits(bits!, granularityBits, offset, Math.min(length, image.sizeBytes - offset));
        }
      }),
  };
}

async function rangesOf(image: Image, bitmap: Bitmap): Promise<{ offset: number; length: number }[]> {
  const bits = bitmap.bits ?? (await load(image, bitmap));
  const granularity = 2 ** bitmap.granularityBits;
  const ranges: { offset: number; length: number }[] = [];
  for (let i = 0; i * granularity < image.sizeBytes; i += 1) {
    if (((bits[i >> 3] >> (i & 7)) & 1) === 0) continue;
    const last = ranges.at(-1);
    const length = Math.min(granularity, image.sizeBytes - i * granularity);
    if (last !== undefined && last.offset + last.length === i * granularity) last.length += length;
    else ranges.push({ offset: i * granularity, length });
  }
  return ranges;
}

function setBits(bits: Uint8Array, granularityBits: number, offset: number, length: number): void {
  const last = Math.floor((offset + length - 1) / 2 ** granularityBits);
  for (let i = Math.floor(offset / 2 ** granularityBits); i <= last; i += 1) bits[i >> 3] |= 1 << (i & 7);
}

function describeBitmap({ name, flags, granularityBits }: Bitmap): BitmapInfo {
  const isInUse = (flags & BITMAP_FLAG.inUse) !== 0;
  return { name, granularityBytes: 2 ** granularityBits, isEnabled: (flags & BITMAP_FLAG.auto) !== 0, isInUse };
}

/** What `info` tells of the bitmaps, named as in QAPI's Qcow2BitmapInfo. */
export function bitmapInfo(bitmaps: readonly Bitmap[]): { flags: string[]; name: string; granularity: number }[] {
  return bitmaps.map(({ name, flags, granularityBits }) => ({
    flags: [
      ...((flags & BITMAP_FLAG.inUse) !== 0 ? ['in-use'] : []),
      ...((flags & BITMAP_FLAG.auto) !== 0 ? ['auto'] : []),
    ],
    name,
    granularity: 2 ** granularityBits,
  }));
}
