/**
 * Changing the disk: writes and compressed clusters.
 *
 * A new cluster's bytes go to the file before its L2 entry changes, and the
 * entry changes in the cache only; `commit` keeps the order on disk.
 */
import { IoError } from '../../base/index.ts';
import { alignDown, isZero } from '../request.ts';
import { recordInBitmaps } from './bitmaps.ts';
import { writeData } from './data.ts';
import { compressionOf } from './header.ts';
import { commitWhenFull, hasDataFile, type Image } from './image.ts';
import {
  compressedEntry,
  dataEntry,
  type Entry,
  entriesAt,
  entryAt,
  KIND,
  kindOf,
  lookup,
  makeTableWritable,
  replaceEntry,
  setDataRun,
} from './mapping.ts';
import { readDisk } from './read.ts';

/** Writes. The caller checked the range. */
export async function writeDisk(image: Image, offset: number, source: Uint8Array): Promise<void> {
  await recordInBitmaps(image, offset, source.length);
  await writeClusters(image, offset, source);
}

/** The same where no bitmap has a bit: behind the disk. */
export async function writeClusters(image: Image, offset: number, source: Uint8Array): Promise<void> {
  let done = await image.lock.shared(() => writeInPlace(image, offset, source));
  while (done < source.length) {
    const place = await image.lock.exclusive(async () => {
      const found = await writeSome(image, offset + done, source.subarray(done));
      done += found.length;
      await commitWhenFull(image);
      return found.place;
    });
    if (place === undefined) continue;
    // Others go on meanwhile: nothing leads to the new clusters yet.
    const bytes = place.count * image.geometry.clusterBytes;
    try {
      await writeData(image, place.host, offset + done, source.subarray(done, done + bytes));
    } catch (error) {
      if (!hasDataFile(image)) image.refcounts.free(place.host / image.geometry.clusterBytes, place.count);
      throw error;
    }
    const at = offset + done;
    await image.lock.exclusive(async () => {
      await makeTableWritable(image, at);
      await setDataRun(image, at, place.host, place.count);
      await commitWhenFull(image);
    });
    done += bytes;
  }
}

interface Place {
  readonly host: number;
  /** In clusters. */
  readonly count: number;
}

/** Writes what it can at once and says how much, or finds a place for whole clusters that need a new one. */
async function writeSome(
  image: Image,
  offset: number,
  source: Uint8Array,
): Promise<{ readonly length: number; readonly place?: Place }> {
  const length = await writeInPlace(image, offset, source);
  if (length > 0) return { length };
  const clusters = await newClusters(image, offset, source.length);
  if (clusters > 0) return { length, place: await allocateData(image, offset, clusters) };
  return { length: await writePart(image, offset, partOf(image, offset, source)) };
}

/** Writes to clusters that are there and ours alone; returns how many bytes from the beginning it could. */
async function writeInPlace(image: Image, offset: number, source: Uint8Array): Promise<number> {
  for (let done = 0; done < source.length; ) {
    const run = await lookup(image, offset + done, source.length - done);
    if (run.kind !== KIND.normal || !run.copied) return done;
    await writeData(image, run.host, offset + done, source.subarray(done, done + run.length));
    done += run.length;
  }
  return source.length;
}

/** Writes the first part of `source` to clusters that must be got first, all under the lock; returns how much. */
async function writeNew(image: Image, offset: number, source: Uint8Array): Promise<number> {
  const clusters = await newClusters(image, offset, source.length);
  if (clusters === 0) return writePart(image, offset, partOf(image, offset, source));
  await makeTableWritable(image, offset);
  const { host, count } = await allocateData(image, offset, clusters);
  const bytes = count * image.geometry.clusterBytes;
  await writeData(image, host, offset, source.subarray(0, bytes));
  await setDataRun(image, offset, host, count);
  return bytes;
}

/** What of `source` lies in the cluster of `offset`. */
function partOf({ geometry: { clusterBytes } }: Image, offset: number, source: Uint8Array): Uint8Array {
  return source.subarray(0, clusterBytes - (offset % clusterBytes));
}

/** How many whole clusters from `offset` on, in one L2 table, need a new place; 0 when the first is not whole. */
async function newClusters(image: Image, offset: number, length: number): Promise<number> {
  const { clusterBytes, l2Coverage } = image.geometry;
  if (offset % clusterBytes !== 0 || length < clusterBytes) return 0;
  const wanted = Math.min(Math.floor(length / clusterBytes), (l2Coverage - (offset % l2Coverage)) / clusterBytes);
  let clusters = 0;
  while (clusters < wanted) {
    const more = await entriesAt(image, offset + clusters * clusterBytes, wanted - clusters, (entry) =>
      isOurs(image, entry),
    );
    clusters += more.count;
    if (more.stopped) break;
  }
  return clusters;
}

/** True when the cluster has a place that may be written. */
function isOurs(image: Image, entry: Entry): boolean {
  return entry.copied && !entry.compressed && (entry.host !== 0 || hasDataFile(image));
}

async function allocateData(image: Image, offset: number, clusters: number): Promise<Place> {
  if (hasDataFile(image)) return { host: offset, count: clusters };
  const { first, count } = await image.refcounts.allocate(clusters, 1);
  return { host: first * image.geometry.clusterBytes, count };
}

/** Writes bytes of one cluster that is not whole there: copies what else its subclusters need. Returns how many. */
async function writePart(image: Image, offset: number, source: Uint8Array): Promise<number> {
  await makeTableWritable(image, offset);
  const { clusterBytes, subclusterBytes, subclusters } = image.geometry;
  const start = alignDown(offset, clusterBytes);
  const [from, to] = [offset - start, offset - start + source.length];
  const old = await entryAt(image, offset);
  const inPlace = isOurs(image, old);
  const { host } = inPlace ? old : await allocateData(image, start, 1);
  let { allocBits, zeroBits } = old.compressed ? { allocBits: 0xffffffff, zeroBits: 0 } : old;

  image.partBuffer ??= new Uint8Array(clusterBytes);
  const cluster = image.partBuffer;
  /** Subclusters that the file must get now; the rest of the buffer is of no account. */
  const fresh: boolean[] = [];
  for (let i = 0; i < subclusters; i += 1) {
    const [begin, end] = [i * subclusterBytes, (i + 1) * subclusterBytes];
    const isTouched = from < end && to > begin;
    const kind = kindOf(image, old, i);
    const mustMove = !inPlace && (kind === KIND.normal || kind === KIND.compressed);
    fresh.push(isTouched || mustMove || subclusters === 1);
    const isCovered = from <= begin && to >= end;
    if (fresh[i] && !isCovered) await readDisk(image, start + begin, cluster.subarray(begin, end));
    if (isTouched) {
      allocBits |= 1 << i;
      zeroBits &= ~(1 << i);
    }
  }
  cluster.set(source, from);
  const sparse =
    image.encryption === undefined &&
    !hasDataFile(image) &&
    host >= image.file.sizeBytes &&
    image.file.resize !== undefined;
  for (let i = 0; i < subclusters; ) {
    let end = i + 1;
    while (end < subclusters && fresh[end] === fresh[i]) end += 1;
    if (fresh[i]) await writeSpan(image, host, start, cluster, i * subclusterBytes, end * subclusterBytes, sparse);
    i = end;
  }
  const bits =
    subclusters === 1 ? { allocBits: 0, zeroBits: 0 } : { allocBits: allocBits >>> 0, zeroBits: zeroBits >>> 0 };
  await replaceEntry(image, start, { ...dataEntry(image, host), ...bits });
  return source.length;
}

/** Writes [begin, end) of a cluster; what is zeros beyond the file's end is there already. */
async function writeSpan(
  image: Image,
  host: number,
  disk: number,
  cluster: Uint8Array,
  begin: number,
  end: number,
  sparse: boolean,
) {
  let [first, last] = [begin, end];
  if (sparse) {
    const unit = 4096;
    while (first + unit <= last && isZero(cluster.subarray(first, first + unit))) first += unit;
    while (last - unit >= first && isZero(cluster.subarray(last - unit, last))) last -= unit;
  }
  if (last > first) await writeData(image, host + first, disk + first, cluster.subarray(first, last));
}

/** Writes all of `source`, wherever it must go. The caller holds the lock. */
export async function writeAll(image: Image, offset: number, source: Uint8Array): Promise<void> {
  for (let done = 0; done < source.length; ) {
    done += await writeInPlace(image, offset + done, source.subarray(done));
    if (done < source.length) done += await writeNew(image, offset + done, source.subarray(done));
  }
}

/** Compresses one cluster and writes it; one that does not become smaller is written as it is. */
export async function writeCompressedCluster(image: Image, offset: number, source: Uint8Array): Promise<void> {
  const { clusterBytes } = image.geometry;
  const isLast = offset + source.length === image.sizeBytes;
  if (offset % clusterBytes !== 0 || (source.length !== clusterBytes && !(isLast && source.length < clusterBytes))) {
    throw new IoError(
      'out-of-range',
      `${image.name}: a compressed write is one whole cluster of ${clusterBytes} bytes`,
    );
  }
  if (hasDataFile(image)) throw new IoError('io', `${image.name}: no compression with an external data file`);
  if (image.encryption !== undefined) throw new IoError('io', `${image.name}: no compression with encryption`);
  if (image.compression === undefined) throw new IoError('io', `${image.name}: no compressor was given`);
  const cluster = source.length === clusterBytes ? source : new Uint8Array(clusterBytes);
  if (cluster !== source) cluster.set(source);
  const packed = await image.compression.compress(compressionOf(image.header), cluster);
  if (packed === undefined) return writeDisk(image, offset, source);
  await recordInBitmaps(image, offset, source.length);
  await image.lock.exclusive(async () => {
    await makeTableWritable(image, offset);
    const host = await allocateBytes(image, packed.length);
    await image.file.write(host, packed);
    await replaceEntry(image, offset, compressedEntry(host, packed.length));
    await commitWhenFull(image);
  });
  image.compression.giveBack?.(packed);
}

/** Finds room for compressed data: after the last one where it fits, else in a new cluster. */
async function allocateBytes(image: Image, length: number): Promise<number> {
  const { refcounts, geometry } = image;
  const { clusterBytes } = geometry;
  let host = image.compressedEnd;
  const used = Math.floor(host / clusterBytes);
  const isFull = host % clusterBytes === 0 || (await refcounts.get(used)) >= refcounts.maxCount;
  if (!isFull && (host % clusterBytes) + length <= clusterBytes) {
    await refcounts.increment(used, 1);
  } else {
    const { first } = await refcounts.allocate(1);
    if (!isFull && first === used + 1) await refcounts.increment(used, 1);
    else host = first * clusterBytes;
  }
  image.compressedEnd = host + length;
  return host;
}
