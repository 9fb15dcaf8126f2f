/** Replacing the active L1 table, changing the disk's size, preallocation. */
import { IoError, UserError } from '../../base/index.ts';
import type { Preallocation } from '../format.ts';
import { u32be, u64be, viewOf } from '../layout.ts';
import { alignUp, zeroRange } from '../request.ts';
import { resizeBitmaps } from './bitmaps.ts';
import { headerFieldOffsets, LIMITS } from './header.ts';
import { commit, commitWhenFull, encodeL1, hasDataFile, type Image, type L1Table } from './image.ts';
import { dataEntry, EMPTY_ENTRY, entryAt, makeTableWritable, replaceEntry } from './mapping.ts';
import { zeroDisk } from './zero.ts';

/** Writes `table` to new clusters and makes it the active one, for a disk of `sizeBytes`; the old table's clusters go. */
export async function switchL1(
  image: Image,
  table: Pick<L1Table, 'tables' | 'copied'>,
  sizeBytes: number,
): Promise<void> {
  const { clusterBytes } = image.geometry;
  const { file, header, refcounts } = image;
  await commit(image);
  const bytes = new Uint8Array(alignUp(table.tables.length * 8, clusterBytes));
  bytes.set(encodeL1(table));
  const { first } = await refcounts.allocate(bytes.length / clusterBytes);
  await refcounts.writeDirty();
  await file.write(first * clusterBytes, bytes);
  await file.flush();
  const old = { offset: image.l1.offset, bytes: header.l1Entries * 8 };
  image.l1 = { offset: first * clusterBytes, tables: table.tables, copied: table.copied, dirty: new Set() };
  header.l1Entries = table.tables.length;
  header.l1Offset = image.l1.offset;
  setSize(image, sizeBytes);
  await writeSizes(image);
  if (old.bytes > 0) refcounts.free(old.offset / clusterBytes, Math.ceil(old.bytes / clusterBytes));
}

function setSize(image: Image, sizeBytes: number): void {
  image.header.size = sizeBytes;
  image.sizeBytes = sizeBytes;
}

/** The fields from `size` to `l1_table_offset`, in one write. */
async function writeSizes(image: Image): Promise<void> {
  const { size, cryptMethod, l1Entries, l1Offset } = image.header;
  const bytes = new Uint8Array(24);
  const view = viewOf(bytes);
  u64be.put(view, 0, size);
  u32be.put(view, 8, cryptMethod);
  u32be.put(view, 12, l1Entries);
  u64be.put(view, 16, l1Offset);
  await image.file.write(headerFieldOffsets.size, bytes);
  await image.file.flush();
}

/** How many L1 entries a disk of `sizeBytes` needs. @throws UserError when too many */
export function l1EntriesFor(l2Coverage: number, sizeBytes: number): number {
  const entries = Math.ceil(sizeBytes / l2Coverage);
  if (entries * 8 > LIMITS.l1Bytes || sizeBytes > LIMITS.offset) {
    const limit = Math.min(LIMITS.offset, (LIMITS.l1Bytes / 8) * l2Coverage);
    throw new UserError(`${sizeBytes} bytes are too many for a qcow2 disk of this cluster size: at most ${limit}`);
  }
  return entries;
}

export async function resizeDisk(image: Image, sizeBytes: number): Promise<void> {
  const oldSize = image.sizeBytes;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw new UserError(`${sizeBytes} is no size of a disk`);
  if (image.header.version < 3 && image.snapshots.length > 0) {
    throw new UserError(`${image.name}: a version 2 image that has snapshots cannot change its size`);
  }
  await image.lock.exclusive(() => resizeBitmaps(image, sizeBytes));
  if (sizeBytes < oldSize) return shrink(image, sizeBytes);
  await image.lock.exclusive(async () => {
    const needed = Math.max(1, l1EntriesFor(image.geometry.l2Coverage, sizeBytes));
    const { tables, copied } = image.l1;
    if (needed > tables.length) {
      const more = needed - tables.length;
      const grown = {
        tables: [...tables, ...new Array(more).fill(0)],
        copied: [...copied, ...new Array(more).fill(false)],
      };
      await switchL1(image, grown, sizeBytes);
    } else {
      setSize(image, sizeBytes);
      await writeSizes(image);
    }
    if (hasDataFile(image)) await image.dataFile.resize?.(sizeBytes);
  });
  const hidden = Math.min(
    sizeBytes,
    Math.max(alignUp(oldSize, image.geometry.clusterBytes), image.backing?.sizeBytes ?? 0),
  );
  if (hidden > oldSize) await zeroDisk(image, oldSize, hidden - oldSize, false);
}

async function shrink(image: Image, sizeBytes: number): Promise<void> {
  const { clusterBytes } = image.geometry;
  await image.lock.exclusive(async () => {
    setSize(image, sizeBytes);
    await writeSizes(image);
    const end = image.l1.tables.length * image.geometry.l2Coverage;
    for (let at = alignUp(sizeBytes, clusterBytes); at < end; ) {
      const index = Math.floor(at / image.geometry.l2Coverage);
      const next = (index + 1) * image.geometry.l2Coverage;
      if (image.l1.tables[index] === 0) {
        at = next;
        continue;
      }
      await makeTableWritable(image, at);
      for (; at < next; at += clusterBytes) {
        if ((await entryAt(image, at)) !== EMPTY_ENTRY) await replaceEntry(image, at, EMPTY_ENTRY);
      }
      await commitWhenFull(image);
    }
    await commit(image);
    await commit(image);
    if (hasDataFile(image)) await image.dataFile.resize?.(sizeBytes);
  });
  await trimFile(image);
}

/** Cuts clusters that nothing uses off the end of the file. */
async function trimFile(image: Image): Promise<void> {
  const { clusterBytes } = image.geometry;
  const { file, refcounts } = image;
  if (file.resize === undefined) return;
  const clusters = Math.ceil(file.sizeBytes / clusterBytes);
  let used = clusters;
  while (used > 0 && (await refcounts.get(used - 1)) === 0) used -= 1;
  if (used < clusters) await file.resize(used * clusterBytes);
}

/** Gives every cluster of the disk from `from` on its place in the file. */
export async function preallocate(image: Image, from: number, mode: Preallocation): Promise<void> {
  if (mode === 'off') return;
  const { clusterBytes, l2Coverage } = image.geometry;
  await image.lock.exclusive(async () => {
    for (let at = from - (from % clusterBytes); at < image.sizeBytes; ) {
      await makeTableWritable(image, at);
      const tableEnd = Math.min(alignUp(image.sizeBytes, clusterBytes), at - (at % l2Coverage) + l2Coverage);
      while (at < tableEnd) {
        const wanted = (tableEnd - at) / clusterBytes;
        const place = hasDataFile(image)
          ? { first: at / clusterBytes, count: wanted }
          : await image.refcounts.allocate(wanted, 1);
        const host = place.first * clusterBytes;
        await fill(image, host, place.count * clusterBytes, mode);
        for (let i = 0; i < place.count; i += 1, at += clusterBytes) {
          await replaceEntry(image, at, dataEntry(image, host + i * clusterBytes));
        }
      }
      await commitWhenFull(image);
    }
    await commit(image);
  });
}

const FILL_CHUNK_BYTES = 2 ** 20;

async function fill(image: Image, host: number, length: number, mode: Preallocation): Promise<void> {
  const { dataFile } = image;
  if (image.encryption !== undefined)
    throw new IoError('io', `${image.name}: an encrypted image cannot be preallocated`);
  const end = host + length;
  if (dataFile.sizeBytes < end) {
    if (dataFile.resize === undefined) throw new IoError('no-space', `${image.name}: no space left for ${end} bytes`);
    await dataFile.resize(end);
  }
  if (mode === 'falloc') await zeroRange(dataFile, host, length);
  if (mode !== 'full') return;
  const zeros = new Uint8Array(Math.min(length, FILL_CHUNK_BYTES));
  for (let at = host; at < end; at += zeros.length)
    await dataFile.write(at, zeros.subarray(0, Math.min(zeros.length, end - at)));
}
