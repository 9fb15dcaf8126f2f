/** Reading the disk. */
import { IoError } from '../../base/index.ts';
import type { BlockExtent } from '../../contract/index.ts';
import { zstdFrameBytes } from '../compression.ts';
import { appendExtent } from '../extents.ts';
import { alignDown, readPadded } from '../request.ts';
import { readData } from './data.ts';
import type { Image } from './image.ts';
import { compressedSpan, type Entry, KIND, lookup } from './mapping.ts';

/** Fills `target` from the disk, the backing file included. The caller checked the range and holds the lock. */
export async function readDisk(image: Image, offset: number, target: Uint8Array): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const run = await lookup(image, offset + done, target.length - done);
    const part = target.subarray(done, done + run.length);
    switch (run.kind) {
      case KIND.normal:
        await readData(image, run.host, offset + done, part);
        break;
      case KIND.compressed:
        await readCompressed(image, run.entry!, offset + done, part);
        break;
      case KIND.zero:
      case KIND.zeroAllocated:
        part.fill(0);
        break;
      default:
        if (image.backing === undefined) part.fill(0);
        else await readPadded(image.backing, offset + done, part);
    }
    done += run.length;
  }
}

async function readCompressed(image: Image, entry: Entry, offset: number, target: Uint8Array): Promise<void> {
  const { clusterBytes } = image.geometry;
  const inCluster = offset - alignDown(offset, clusterBytes);
  if (target.length === clusterBytes) return unpack(image, entry, target);
  const cluster = new Uint8Array(clusterBytes);
  await unpack(image, entry, cluster);
  target.set(cluster.subarray(inCluster, inCluster + target.length));
}

async function unpack(image: Image, entry: Entry, target: Uint8Array): Promise<void> {
  const { offset, length, kind } = compressedSpan(image, entry);
  if (image.compression === undefined) {
    throw new IoError('io', `${image.name}: it has ${kind} compressed clusters, and no decompressor was given`);
  }
  const buffer = image.scratch.pop() ?? new Uint8Array(compressedBytesMax(image));
  try {
    const packed = buffer.subarray(0, length);
    await readPadded(image.file, offset, packed);
    const frame = kind === 'zstd' ? packed.subarray(0, zstdFrameBytes(packed)) : packed;
    await image.compression.decompress(kind, frame, target).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new IoError('io', `${image.name}: the compressed cluster at ${offset} cannot be unpacked: ${reason}`);
    });
  } finally {
    if (image.scratch.length < SCRATCH_MAX) image.scratch.push(buffer);
  }
}

/** Buffers for packed clusters that are kept. */
const SCRATCH_MAX = 32;

/** The most that an entry can say: its count of sectors has so many bits as a cluster has. */
function compressedBytesMax({ geometry: { clusterBytes } }: Image): number {
  return 2 * clusterBytes;
}

const EXTENTS_MAX = 1024;

/** The extents of a range, neighbours of one kind joined. */
export async function diskExtents(image: Image, offset: number, length: number): Promise<BlockExtent[]> {
  const extents: BlockExtent[] = [];
  for (let done = 0; done < length && extents.length < EXTENTS_MAX; ) {
    const run = await lookup(image, offset + done, length - done);
    const { kind } = run;
    const allocated = kind !== KIND.unallocated && kind !== KIND.reserved;
    const isZero = kind === KIND.zero || kind === KIND.zeroAllocated;
    const hasPlace = kind === KIND.normal || kind === KIND.zeroAllocated || kind === KIND.reserved;
    appendExtent(extents, {
      offset: offset + done,
      length: run.length,
      allocated,
      zero: isZero || (!allocated && (image.backing === undefined || offset + done >= image.backing.sizeBytes)),
      data: kind === KIND.normal || kind === KIND.compressed,
      ...(hasPlace ? { childOffset: run.host } : {}),
      ...(kind === KIND.compressed ? { compressed: true } : {}),
    });
    done += run.length;
  }
  return extents;
}
