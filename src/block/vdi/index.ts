/** VirtualBox's disk image format, dynamic and static: a map of blocks of 1 MiB. */
import { UserError } from '../../base/index.ts';
import type { BlockExtent, BlockNode } from '../../contract/index.ts';
import type { CheckResult, Format, ImageNode, OpenOptions } from '../format.ts';
import { u32le, viewOf } from '../layout.ts';
import { rwLock } from '../lock.ts';
import { alignUp, checkRange, checkWritable, readPadded } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import {
  BLOCK_BYTES,
  BLOCKS_MAX,
  DISCARDED,
  headerLayout,
  IMAGE_TYPE,
  isVdi,
  readVdiHeader,
  UNALLOCATED,
  VDI_SIGNATURE,
  VDI_VERSION,
  type VdiHeader,
} from './layout.ts';

export const vdi: Format = {
  name: 'vdi',
  createOptions: [
    { name: 'size', help: 'Virtual disk size' },
    { name: 'static', help: 'VDI static (pre-allocated) image' },
  ],
  probe: (head) => (isVdi(head) ? 100 : 0),
  open: openVdi,
};

export interface VdiCreateOptions {
  readonly sizeBytes: number;
  readonly isStatic?: boolean;
  /** 16 random bytes each, which name the image and its state. */
  readonly imageUuid: Uint8Array;
  readonly snapshotUuid: Uint8Array;
}

/** Writes an empty image to `file`, which must be empty. @throws UserError when the disk would be too large */
export async function createVdi(file: BlockNode, options: VdiCreateOptions): Promise<void> {
  const { sizeBytes, isStatic = false, imageUuid, snapshotUuid } = options;
  const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
  if (blocks > BLOCKS_MAX)
    throw new UserError(`a VDI disk has at most ${BLOCKS_MAX * BLOCK_BYTES} bytes, not ${sizeBytes}`);
  const text = new Uint8Array(64);
  text.set(encodeUtf8('<<< Vireo VM Virtual Disk Image >>>\n'));
  const header: VdiHeader = {
    text,
    signature: VDI_SIGNATURE,
    version: VDI_VERSION,
    headerBytes: 0x180,
    imageType: isStatic ? IMAGE_TYPE.static : IMAGE_TYPE.dynamic,
    flags: 0,
    description: new Uint8Array(256),
    mapOffset: 512,
    dataOffset: 512 + alignUp(blocks * 4, 512),
    cylinders: 0,
    heads: 0,
    sectors: 0,
    sectorBytes: 512,
    unused: 0,
    diskBytes: sizeBytes,
    blockBytes: BLOCK_BYTES,
    blockExtraBytes: 0,
    blocks,
    blocksAllocated: isStatic ? blocks : 0,
    imageUuid,
    snapshotUuid,
    linkUuid: new Uint8Array(16),
    parentUuid: new Uint8Array(16),
    rest: new Uint8Array(56),
  };
  const map = new Uint8Array(header.dataOffset - header.mapOffset).fill(0, blocks * 4);
  for (let i = 0; i < blocks; i += 1) u32le.put(viewOf(map), i * 4, isStatic ? i : UNALLOCATED);
  await file.write(0, headerLayout.write(header));
  await file.write(header.mapOffset, map);
  if (isStatic) await file.resize?.(header.dataOffset + blocks * BLOCK_BYTES);
  await file.flush();
}

async function openVdi(file: BlockNode, { name, readOnly = file.readOnly }: OpenOptions): Promise<ImageNode> {
  const header = await readVdiHeader(file, name);
  const map = new Uint8Array(header.blocks * 4);
  await readPadded(file, header.mapOffset, map);
  const view = viewOf(map);
  const lock = rwLock();
  const dirtySectors = new Set<number>();
  const size = header.diskBytes;

  const placeOf = (block: number): number | undefined => {
    const entry = view.getUint32(block * 4, true);
    return entry >= header.blocks ? undefined : header.dataOffset + entry * BLOCK_BYTES;
  };
  /** Calls `visit` for each part of a range that lies in one block. */
  const eachPart = async (
    offset: number,
    length: number,
    visit: (block: number, from: number, at: number, n: number) => Promise<void>,
  ) => {
    for (let done = 0; done < length; ) {
      const from = (offset + done) % BLOCK_BYTES;
      const n = Math.min(BLOCK_BYTES - from, length - done);
      await visit(Math.floor((offset + done) / BLOCK_BYTES), from, done, n);
      done += n;
    }
  };
  /** Brings the count to the file before the map that needs it, and both after the data. */
  const commit = async () => {
    if (dirtySectors.size > 0) {
      const count = new Uint8Array(4);
      u32le.put(viewOf(count), 0, header.blocksAllocated);
      await file.write(headerLayout.offsetOf('blocksAllocated'), count);
      await file.flush();
      for (const sector of dirtySectors) {
        await file.write(header.mapOffset + sector * 512, map.subarray(sector * 512, sector * 512 + 512));
      }
      dirtySectors.clear();
    }
    await file.flush();
  };
  const allocate = async (block: number, from: number, source: Uint8Array) => {
    if (header.blocksAllocated >= header.blocks) throw new UserError(`${name}: all its blocks are in use; check it`);
    const index = header.blocksAllocated;
    const content = new Uint8Array(BLOCK_BYTES);
    content.set(source, from);
    await file.write(header.dataOffset + index * BLOCK_BYTES, content);
    header.blocksAllocated += 1;
    view.setUint32(block * 4, index, true);
    dirtySectors.add(Math.floor((block * 4) / 512));
  };

  return {
    format: 'vdi',
    info: { clusterBytes: BLOCK_BYTES },
    sizeBytes: size,
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: BLOCK_BYTES },
    async read(offset, target) {
      checkRange(name, size, offset, target.length);
      await lock.shared(() =>
        eachPart(offset, target.length, async (block, from, at, n) => {
          const place = placeOf(block);
          if (place === undefined) target.fill(0, at, at + n);
          else await readPadded(file, place + from, target.subarray(at, at + n));
        }),
      );
    },
    async write(offset, source) {
      checkWritable(name, readOnly);
      checkRange(name, size, offset, source.length);
      await lock.exclusive(() =>
        eachPart(offset, source.length, async (block, from, at, n) => {
          const part = source.subarray(at, at + n);
          const place = placeOf(block);
          if (place === undefined) await allocate(block, from, part);
          else await file.write(place + from, part);
        }),
      );
    },
    async flush() {
      if (!readOnly) await lock.exclusive(commit);
    },
    async extents(offset, length) {
      checkRange(name, size, offset, length);
      const extents: BlockExtent[] = [];
      await eachPart(offset, length, async (block, from, at, n) => {
        const place = placeOf(block);
        const data = place !== undefined;
        const where = data ? { childOffset: place + from } : {};
        extents.push({ offset: offset + at, length: n, allocated: true, zero: !data, data, ...where });
      });
      return extents;
    },
    check: async () => checkMap(header, view),
    async close() {
      if (!readOnly) await commit();
      await file.close();
    },
  };
}

const MESSAGES_MAX = 1000;

/** Entries beyond what is allocated, and blocks that two entries share. */
function checkMap(header: VdiHeader, map: DataView): CheckResult {
  const messages: string[] = [];
  let corruptions = 0;
  let used = 0;
  const complain = (message: string) => {
    corruptions += 1;
    if (messages.length < MESSAGES_MAX) messages.push(message);
  };
  const seen = new Set<number>();
  for (let block = 0; block < header.blocks; block += 1) {
    const entry = map.getUint32(block * 4, true);
    if (entry === UNALLOCATED || entry === DISCARDED) continue;
    used += 1;
    if (entry >= header.blocksAllocated) complain(`ERROR: block index ${block} out of range, is ${entry}`);
    else if (seen.has(entry)) complain(`ERROR: block index ${entry} also used twice`);
    seen.add(entry);
  }
  let leaks = 0;
  if (used < header.blocksAllocated) {
    // Places are counted before the map has them, so that a loss of power can only waste some.
    leaks = header.blocksAllocated - used;
    messages.push(`Leaked ${leaks} blocks: ${header.blocksAllocated} are counted, and the map has ${used}`);
  } else if (used > header.blocksAllocated) {
    complain(`ERROR: allocated blocks mismatch, is ${used}, should be ${header.blocksAllocated}`);
  }
  return {
    corruptions,
    leaks,
    corruptionsFixed: 0,
    leaksFixed: 0,
    checkErrors: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
    imageEndOffset: 0,
    messages,
  };
}
