/**
 * Disks that a machine gives up and takes: while a machine moves from one process to another, both know them, and one
 * has them open. What was read from an image before it was taken would be old, so it is opened anew.
 */
import { IoError, UserError } from '../base/index.ts';
import type { BlockNode } from '../contract/index.ts';
import type { DiskNode, DiskOptions } from './config.ts';
import type { BlockService, MachineBackends } from './parts.ts';

/** A node that can be without its image; requests are refused then. */
export interface OwnedDisk extends BlockNode {
  readonly isOpen: boolean;
  take(): Promise<void>;
  release(): Promise<void>;
}

/** @param isElsewhere another process has the disk: it is only looked at, and still to be taken */
export async function openOwnedDisk(
  disk: DiskOptions,
  { openDisk }: MachineBackends,
  isElsewhere: boolean,
): Promise<OwnedDisk> {
  const first = await openDisk(disk, { lookOnly: isElsewhere });
  let known = { sizeBytes: first.sizeBytes, limits: first.limits };
  let node: BlockNode | undefined = first;
  const gone = () => Promise.reject(new IoError('io', `${disk.file} was given up: another process may have it`));
  const release = async () => {
    const released = node;
    if (released === undefined) return;
    if (!released.readOnly) await released.flush();
    known = { sizeBytes: released.sizeBytes, limits: released.limits };
    node = undefined;
    await released.close();
  };
  if (isElsewhere) await release();
  const isWritable = disk.readOnly !== true;
  return {
    get isOpen() {
      return node !== undefined;
    },
    get sizeBytes() {
      return node?.sizeBytes ?? known.sizeBytes;
    },
    get limits() {
      return node?.limits ?? known.limits;
    },
    readOnly: !isWritable || (!isElsewhere && first.readOnly),
    read: (offset, target) => node?.read(offset, target) ?? gone(),
    write: (offset, source) => node?.write(offset, source) ?? gone(),
    flush: () => node?.flush() ?? gone(),
    extents: (offset, length) => node?.extents(offset, length) ?? gone(),
    // What a guest was offered stays: an image that cannot do it does nothing, or writes zeros.
    ...(isWritable &&
      ({
        discard: async (offset, length) => (node === undefined ? gone() : node.discard?.(offset, length)),
        writeZeroes: async (offset, length, how) => {
          if (node === undefined) return gone();
          return node.writeZeroes?.(offset, length, how) ?? writeZeros(node, offset, length);
        },
        resize: (sizeBytes) => node?.resize?.(sizeBytes) ?? Promise.reject(cannotResize(disk)),
      } satisfies Partial<BlockNode>)),
    immediate: {
      read: (offset, targets) => node?.immediate?.read(offset, targets) ?? false,
      write: (offset, sources) => node?.immediate?.write(offset, sources) ?? false,
    },
    async take() {
      node ??= await openDisk(disk, { lookOnly: false });
    },
    release,
    close: async () => {
      const closed = node;
      node = undefined;
      await closed?.close();
    },
  };
}

/** A disk on a node of the graph: the graph gives up and takes all images at once. */
export function openGraphDisk(
  { media }: DiskOptions,
  { name, drive, device, limits }: DiskNode,
  block: BlockService | undefined,
  onChange: () => void,
): OwnedDisk {
  if (block === undefined) throw new UserError('the disks of this machine cannot stand on block nodes');
  const node = block.attach({ drive, device, node: name, isRemovable: media === 'cdrom', limits, onChange });
  return Object.create(node, {
    isOpen: { get: () => block.isOpen },
    take: { value: () => block.take() },
    release: { value: () => block.release() },
  }) as OwnedDisk;
}

function cannotResize({ file }: DiskOptions): IoError {
  return new IoError('io', `the size of ${file} cannot be changed now`);
}

const ZEROS_BYTES = 1024 * 1024;

async function writeZeros(node: BlockNode, offset: number, length: number): Promise<void> {
  const zeros = new Uint8Array(Math.min(length, ZEROS_BYTES));
  for (let at = 0; at < length; at += zeros.length) {
    await node.write(offset + at, zeros.subarray(0, Math.min(zeros.length, length - at)));
  }
}

/** All that are open are closed, also when one of them fails; throws what failed first. */
export async function releaseDisks(disks: readonly OwnedDisk[]): Promise<void> {
  const results = await Promise.allSettled(disks.map((disk) => disk.release()));
  const failed = results.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

/** All or none. */
export async function takeDisks(disks: readonly OwnedDisk[]): Promise<void> {
  const taken: OwnedDisk[] = [];
  try {
    for (const disk of disks.filter(({ isOpen }) => !isOpen)) {
      await disk.take();
      taken.push(disk);
    }
  } catch (error) {
    await releaseDisks(taken);
    throw error;
  }
}
