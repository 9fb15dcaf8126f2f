/** Zeros and discards: marks in tables where they will do, bytes where they must. */
import { alignDown, alignUp, zeroRange } from '../request.ts';
import { recordInBitmaps } from './bitmaps.ts';
import { AUTOCLEAR } from './header.ts';
import { commit, commitWhenFull, hasDataFile, type Image } from './image.ts';
import { EMPTY_ENTRY, entryAt, KIND, lookup, makeTableWritable, replaceEntry, zeroEntry } from './mapping.ts';
import { writeAll } from './write.ts';

/** Makes a range zeros: by marks for whole subclusters, by writing for the rest. */
export async function zeroDisk(image: Image, offset: number, length: number, mayUnmap: boolean): Promise<void> {
  await recordInBitmaps(image, offset, length);
  await zeroRawDataFile(image, offset, length);
  const canMark = image.header.version >= 3 || image.backing === undefined;
  await eachCluster(image, offset, length, false, async (at, part) => {
    if (canMark) await zeroInCluster(image, at, part, mayUnmap);
    else if (!(await isUnstoredZero(image, at, part))) await writeAll(image, at, new Uint8Array(part));
  });
}

/** An external data file that is a raw image too must really have the zeros. */
async function zeroRawDataFile(image: Image, offset: number, length: number): Promise<void> {
  if ((image.header.autoclear & AUTOCLEAR.rawDataFile) === 0n || !hasDataFile(image)) return;
  await zeroRange(image.dataFile, offset, length);
}

/** Makes [at, at + part), which lies in one cluster, zeros. */
async function zeroInCluster(image: Image, at: number, part: number, mayUnmap: boolean): Promise<void> {
  const { clusterBytes, subclusterBytes } = image.geometry;
  const end = at + part;
  let [first, last] = [alignDown(at, subclusterBytes), alignUp(end, subclusterBytes)];
  const lastEnd = Math.min(last, image.sizeBytes);
  // An edge that is zeros already may be marked with the rest; otherwise its part is written.
  const isHeadZero = first === at || (await isUnstoredZero(image, first, at - first, subclusterBytes));
  const isTailZero =
    lastEnd === end || (await isUnstoredZero(image, last - subclusterBytes, lastEnd - last + subclusterBytes));
  if (!isHeadZero) first = Math.min(last, first + subclusterBytes);
  if (!isTailZero) last = Math.max(first, last - subclusterBytes);
  if (first >= last) return writeAll(image, at, new Uint8Array(part));
  if (at < first) await writeAll(image, at, new Uint8Array(first - at));
  if (end > last) await writeAll(image, last, new Uint8Array(end - last));
  const start = alignDown(at, clusterBytes);
  if (last - first === clusterBytes) return zeroCluster(image, start, mayUnmap);
  await zeroSubclusters(image, start, first, last);
}

async function zeroSubclusters(image: Image, start: number, first: number, last: number): Promise<void> {
  const { subclusterBytes } = image.geometry;
  const old = await entryAt(image, start);
  if (old.compressed) return writeAll(image, first, new Uint8Array(Math.min(last, image.sizeBytes) - first));
  let { allocBits, zeroBits } = old;
  for (let at = first; at < last; at += subclusterBytes) {
    const bit = 1 << ((at - start) / subclusterBytes);
    allocBits &= ~bit;
    zeroBits |= bit;
  }
  await makeTableWritable(image, start);
  await replaceEntry(image, start, { ...old, allocBits: allocBits >>> 0, zeroBits: zeroBits >>> 0 });
}

/** True when a range reads as zeros and no bytes are stored for it, nor for its first `alsoBytes` beyond. */
async function isUnstoredZero(image: Image, offset: number, length: number, alsoBytes = length): Promise<boolean> {
  const run = await lookup(image, offset, Math.min(Math.max(length, alsoBytes), image.sizeBytes - offset));
  if (run.kind === KIND.normal || run.kind === KIND.compressed) return false;
  if (run.length < Math.min(Math.max(length, alsoBytes), image.sizeBytes - offset)) return false;
  if (run.kind === KIND.zero || run.kind === KIND.zeroAllocated || image.backing === undefined) return true;
  const available = Math.min(length, image.backing.sizeBytes - offset);
  if (available <= 0) return true;
  const extents = await image.backing.extents(offset, available);
  const covered = extents.reduce((sum, extent) => sum + extent.length, 0);
  return covered === available && extents.every(({ zero }) => zero);
}

async function zeroCluster(image: Image, offset: number, mayUnmap: boolean): Promise<void> {
  const old = await entryAt(image, offset);
  if (image.header.version < 3) {
    if (old.host === 0) return;
    await makeTableWritable(image, offset);
    return replaceEntry(image, offset, EMPTY_ENTRY);
  }
  const keeps = !old.compressed && !mayUnmap;
  if (image.geometry.subclusters === 1 && old.zero && (keeps || old.host === 0)) return;
  await makeTableWritable(image, offset);
  const place = keeps || hasDataFile(image) ? { host: old.host, copied: old.copied } : undefined;
  await replaceEntry(image, offset, zeroEntry(image, place));
}

/** Gives whole clusters of a range back; they read as zeros afterwards. Parts of clusters stay as they are. */
export async function discardDisk(image: Image, offset: number, length: number): Promise<void> {
  if (image.header.version < 3 && image.backing !== undefined) return;
  await recordInBitmaps(image, offset, length);
  const { clusterBytes } = image.geometry;
  const end = offset + length;
  const first = alignUp(offset, clusterBytes);
  const last = end === image.sizeBytes ? end : alignDown(end, clusterBytes);
  if (first < last) await zeroRawDataFile(image, first, last - first);
  await eachCluster(image, offset, length, true, async (at, part) => {
    if (at % clusterBytes !== 0 || (part !== clusterBytes && at + part !== image.sizeBytes)) return;
    const old = await entryAt(image, at);
    const isAllocated = old.host !== 0 || old.copied;
    if (!isAllocated && image.backing === undefined) return;
    await makeTableWritable(image, at);
    const place = hasDataFile(image) && !old.compressed ? { host: old.host, copied: old.copied } : undefined;
    await replaceEntry(image, at, image.header.version >= 3 ? zeroEntry(image, place) : EMPTY_ENTRY);
  });
}

/** Visits a range cluster by cluster under the lock; `skipsEmpty`: not where whole L2 tables are absent. */
async function eachCluster(
  image: Image,
  offset: number,
  length: number,
  skipsEmpty: boolean,
  visit: (at: number, part: number) => Promise<void>,
) {
  const { clusterBytes } = image.geometry;
  for (let done = 0; done < length; ) {
    const batchEnd = Math.min(length, done + clusterBytes * 256);
    await image.lock.exclusive(async () => {
      while (done < batchEnd) {
        const at = offset + done;
        const skipped = skipsEmpty ? skippable(image, at, length - done) : 0;
        const part = skipped > 0 ? skipped : Math.min(alignUp(at + 1, clusterBytes) - at, length - done);
        if (skipped === 0) await visit(at, part);
        done += part;
      }
      await commitWhenFull(image);
    });
  }
}

/** How many bytes from `at` on have no L2 table and read as zeros anyway. */
function skippable(image: Image, at: number, length: number): number {
  const { l2Coverage } = image.geometry;
  if (image.backing !== undefined || image.l1.tables[Math.floor(at / l2Coverage)] !== 0) return 0;
  return Math.min(length, l2Coverage - (at % l2Coverage));
}

/** Forgets all that is allocated (after a commit to the backing file). */
export async function emptyDisk(image: Image): Promise<void> {
  const { clusterBytes, l2Coverage } = image.geometry;
  await image.lock.exclusive(async () => {
    for (const [index, table] of image.l1.tables.entries()) {
      if (table === 0) continue;
      const end = Math.min(image.sizeBytes, (index + 1) * l2Coverage);
      await makeTableWritable(image, index * l2Coverage);
      for (let at = index * l2Coverage; at < end; at += clusterBytes) await replaceEntry(image, at, EMPTY_ENTRY);
      await commitWhenFull(image);
    }
    await commit(image);
  });
}
