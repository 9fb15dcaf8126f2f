/**
 * The state of a machine inside a snapshot: it lies where the mapping goes on behind the disk, in whole L2 tables of
 * its own (docs/interop/qcow2.txt, "Snapshots": the size of the VM state).
 */
import { IoError, UserError } from '../../base/index.ts';
import { commit, hasDataFile, type Image, type L1Table } from './image.ts';
import { l1EntriesFor, switchL1 } from './l1.ts';
import { readDisk } from './read.ts';
import { writeClusters } from './write.ts';

/** As much is written at once; a multiple of every cluster size. */
const CHUNK_BYTES = 2 * 2 ** 20;

function firstEntry(image: Image, diskBytes: number): number {
  return l1EntriesFor(image.geometry.l2Coverage, diskBytes);
}

/** Writes pieces behind the active disk. @returns how many bytes they were */
export async function writeVmState(
  image: Image,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<number> {
  if (hasDataFile(image)) throw new UserError(`${image.name}: the state of a machine does not go into a data file`);
  const start = firstEntry(image, image.sizeBytes) * image.geometry.l2Coverage;
  const chunk = new Uint8Array(CHUNK_BYTES);
  let [used, written] = [0, 0];
  const flush = async () => {
    chunk.fill(0, used);
    await image.lock.exclusive(() => growFor(image, start + written + CHUNK_BYTES));
    await writeClusters(image, start + written, chunk);
    written += used;
    used = 0;
  };
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const count = Math.min(piece.length - at, CHUNK_BYTES - used);
      chunk.set(piece.subarray(at, at + count), used);
      used += count;
      at += count;
      if (used === CHUNK_BYTES) await flush();
    }
  }
  if (used > 0) await flush();
  return written;
}

async function growFor(image: Image, end: number): Promise<void> {
  const { tables, copied } = image.l1;
  const more = firstEntry(image, end) - tables.length;
  if (more <= 0) return;
  const grown = {
    tables: [...tables, ...new Array<number>(more).fill(0)],
    copied: [...copied, ...new Array<boolean>(more).fill(false)],
  };
  await switchL1(image, grown, image.sizeBytes);
}

/**
 * Makes the active disk forget what lies behind it; under the lock.
 * @param free gives up what an L1 table leads to
 */
export async function dropVmState(image: Image, free: (table: L1Table) => Promise<void>): Promise<void> {
  const { l1 } = image;
  const first = firstEntry(image, image.sizeBytes);
  const dropped = l1.tables.map((offset, index) => (index < first ? 0 : offset));
  if (dropped.every((offset) => offset === 0)) return;
  for (const [index, offset] of dropped.entries()) {
    if (offset === 0) continue;
    l1.tables[index] = 0;
    l1.copied[index] = false;
    l1.dirty.add(index);
  }
  await commit(image);
  await free({ offset: 0, tables: dropped, copied: dropped.map(() => false), dirty: new Set() });
  await commit(image);
}

/** Fills `target` with what lies behind a snapshot's disk; under the lock. */
export async function readVmState(
  image: Image,
  l1: L1Table,
  diskBytes: number,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const { l2Coverage } = image.geometry;
  const at = firstEntry(image, diskBytes) * l2Coverage + offset;
  if (at + target.length > l1.tables.length * l2Coverage) {
    throw new IoError('io', `${image.name}: the L1 table of the snapshot is too short for its machine's state`);
  }
  await readDisk({ ...image, l1, backing: undefined }, at, target);
}
