/** The VHD format of Virtual PC and Hyper-V, which QEMU calls vpc: fixed and dynamic disks. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockExtent, BlockNode } from '../../contract/index.ts';
import type { Format, ImageNode, OpenOptions } from '../format.ts';
import { u32be, u64be, viewOf } from '../layout.ts';
import { rwLock } from '../lock.ts';
import { alignUp, checkRange, checkWritable, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';
import {
  DISK_MAX_BYTES,
  DISK_TYPE,
  DYNAMIC_COOKIE,
  encodeDynamic,
  encodeFooter,
  FOOTER_COOKIE,
  footerLayout,
  readDynamic,
  readFooter,
  sizeOf,
  UNALLOCATED,
  VERSION,
  type VhdFooter,
} from './layout.ts';

export const vhd: Format = {
  name: 'vpc',
  createOptions: [
    { name: 'size', help: 'Virtual disk size' },
    { name: 'subformat', help: 'Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed}' },
    { name: 'force_size', help: 'Exactly the size given; always on here' },
  ],
  probe: (head) => (decodeUtf8(head.subarray(0, 8)) === FOOTER_COOKIE ? 100 : 0),
  open: openVhd,
};

export interface VhdCreateOptions {
  readonly sizeBytes: number;
  readonly isFixed?: boolean;
  /** 16 random bytes. */
  readonly uuid: Uint8Array;
  /** Seconds since 1970. */
  readonly nowSeconds: number;
}

const BLOCK_BYTES = 2 ** 21;
const TABLE_OFFSET = 1536;
/** 2000-01-01, where the format's time begins. */
const EPOCH_SECONDS = 946_684_800;

/** Writes an empty image of exactly `sizeBytes` to `file`, which must be empty. @throws UserError when it is too large */
export async function createVhd(file: BlockNode, options: VhdCreateOptions): Promise<void> {
  const { sizeBytes, isFixed = false, uuid, nowSeconds } = options;
  if (sizeBytes > DISK_MAX_BYTES) throw new UserError(`a VHD disk has at most 2040 GiB, not ${sizeBytes} bytes`);
  const dataOffset = new Uint8Array(8).fill(0xff);
  if (!isFixed) u64be.put(viewOf(dataOffset), 0, footerLayout.size);
  const footer = encodeFooter({
    cookie: encodeUtf8(FOOTER_COOKIE),
    features: 2,
    version: VERSION,
    dataOffset,
    timestamp: Math.max(0, nowSeconds - EPOCH_SECONDS),
    // The creator by which readers know that the size is meant exactly.
    creatorApp: encodeUtf8('win '),
    creatorVersion: 0x00060001,
    creatorOs: encodeUtf8('Wi2k'),
    originalBytes: sizeBytes,
    currentBytes: sizeBytes,
    ...geometryOf(sizeBytes),
    diskType: isFixed ? DISK_TYPE.fixed : DISK_TYPE.dynamic,
    checksum: 0,
    uuid,
    savedState: 0,
    reserved: new Uint8Array(427),
  });
  if (isFixed) {
    await file.resize?.(sizeBytes);
    await file.write(sizeBytes, footer);
    return file.flush();
  }
  const tableEntries = Math.ceil(sizeBytes / BLOCK_BYTES);
  const dynamic = encodeDynamic({
    cookie: encodeUtf8(DYNAMIC_COOKIE),
    dataOffset: new Uint8Array(8).fill(0xff),
    tableOffset: TABLE_OFFSET,
    version: VERSION,
    tableEntries,
    blockBytes: BLOCK_BYTES,
    checksum: 0,
    parentUuid: new Uint8Array(16),
    parentTimestamp: 0,
    reserved: 0,
    parentName: new Uint8Array(512),
    parentLocators: new Uint8Array(192),
    rest: new Uint8Array(256),
  });
  const table = new Uint8Array(alignUp(tableEntries * 4, 512)).fill(0xff);
  await file.write(0, footer);
  await file.write(footer.length, dynamic);
  await file.write(TABLE_OFFSET, table);
  await file.write(TABLE_OFFSET + table.length, footer);
  await file.flush();
}

/** Cylinders, heads and sectors for a size, as the specification's appendix computes them. */
function geometryOf(sizeBytes: number): Pick<VhdFooter, 'cylinders' | 'heads' | 'sectorsPerTrack'> {
  const sectors = Math.min(Math.floor(sizeBytes / 512), 65535 * 16 * 255);
  const divide = (heads: number, sectorsPerTrack: number) => ({
    cylinders: Math.floor(Math.floor(sectors / sectorsPerTrack) / heads),
    heads,
    sectorsPerTrack,
  });
  if (sectors >= 65535 * 16 * 63) return divide(16, 255);
  const tracks = Math.floor(sectors / 17);
  const heads = Math.max(4, Math.floor((tracks + 1023) / 1024));
  if (tracks < heads * 1024 && heads <= 16) return divide(heads, 17);
  return Math.floor(sectors / 31) < 16 * 1024 ? divide(16, 31) : divide(16, 63);
}

async function openVhd(file: BlockNode, { name, readOnly = file.readOnly }: OpenOptions): Promise<ImageNode> {
  const footer = await readFooter(file, name);
  const isFixed = footer.diskType === DISK_TYPE.fixed;
  const blocks = isFixed ? fixedBlocks(file, footer, name) : await dynamicBlocks(file, footer, name);
  const size = sizeOf(footer);
  const lock = rwLock();
  const { blockBytes } = blocks;
  const eachPart = async (
    offset: number,
    length: number,
    visit: (block: number, from: number, at: number, n: number) => Promise<void>,
  ) => {
    for (let done = 0; done < length; ) {
      const from = (offset + done) % blockBytes;
      const n = Math.min(blockBytes - from, length - done);
      await visit(Math.floor((offset + done) / blockBytes), from, done, n);
      done += n;
    }
  };
  return {
    format: vhd.name,
    info: isFixed ? {} : { clusterBytes: blockBytes },
    sizeBytes: size,
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: isFixed ? file.limits.preferredBytes : blockBytes },
    async read(offset, target) {
      checkRange(name, size, offset, target.length);
      await lock.shared(() =>
        eachPart(offset, target.length, async (block, from, at, n) => {
          const place = blocks.placeOf(block);
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
          const place = blocks.placeOf(block);
          if (place === undefined) await blocks.allocate(block, from, part);
          else await file.write(place + from, part);
        }),
      );
    },
    async flush() {
      if (!readOnly) await lock.exclusive(blocks.commit);
    },
    async extents(offset, length) {
      checkRange(name, size, offset, length);
      const extents: BlockExtent[] = [];
      await eachPart(offset, length, async (block, from, at, n) => {
        const place = blocks.placeOf(block);
        const data = place !== undefined;
        const where = data ? { childOffset: place + from } : {};
        extents.push({ offset: offset + at, length: n, allocated: true, zero: !data, data, ...where });
      });
      return extents;
    },
    async close() {
      if (!readOnly) await blocks.commit();
      await file.close();
    },
  };
}

interface Blocks {
  readonly blockBytes: number;
  /** Where a block's data begins, when it has a place. */
  placeOf(block: number): number | undefined;
  /** Gives a block its place, with `source` at `from` and zeros around it. */
  allocate(block: number, from: number, source: Uint8Array): Promise<void>;
  commit(): Promise<void>;
}

/** The whole disk is one block, at the file's beginning. */
function fixedBlocks(file: BlockNode, footer: VhdFooter, name: string): Blocks {
  if (sizeOf(footer) + footerLayout.size > file.sizeBytes) {
    throw new UserError(`${name}: not a usable VHD image: the file is shorter than its disk`);
  }
  return {
    blockBytes: Number.MAX_SAFE_INTEGER,
    placeOf: () => 0,
    allocate: async () => {},
    commit: () => file.flush(),
  };
}

async function dynamicBlocks(file: BlockNode, footer: VhdFooter, name: string): Promise<Blocks> {
  const { tableOffset, tableEntries, blockBytes } = await readDynamic(file, footer, name);
  const table = new Uint8Array(tableEntries * 4);
  await file.read(tableOffset, table);
  const view = viewOf(table);
  /** Before each block's data: a bit for each of its sectors. */
  const bitmapBytes = alignUp(Math.ceil(blockBytes / 512 / 8), 512);
  const changed = new Set<number>();
  const dataStart = tableOffset + table.length;
  let end = alignUp(dataStart, 512);
  for (let i = 0; i < tableEntries; i += 1) {
    const sector = u32be.get(view, i * 4);
    if (sector === UNALLOCATED) continue;
    if (sector * 512 < dataStart)
      throw new UserError(`${name}: not a usable VHD image: block ${i} lies over its table`);
    end = Math.max(end, sector * 512 + bitmapBytes + blockBytes);
  }
  return {
    blockBytes,
    placeOf(block) {
      const sector = u32be.get(view, block * 4);
      return sector === UNALLOCATED ? undefined : sector * 512 + bitmapBytes;
    },
    async allocate(block, from, source) {
      const place = end;
      if (place / 512 >= UNALLOCATED) throw new IoError('no-space', `${name}: the file cannot grow beyond 2 TiB`);
      const content = new Uint8Array(bitmapBytes + blockBytes).fill(0xff, 0, bitmapBytes);
      content.set(source, bitmapBytes + from);
      await file.write(place + content.length, encodeFooter(footer));
      await file.write(place, content);
      end = place + content.length;
      u32be.put(view, block * 4, place / 512);
      changed.add(block);
    },
    async commit() {
      if (changed.size > 0) {
        await file.flush();
        for (const block of changed)
          await file.write(tableOffset + block * 4, table.subarray(block * 4, block * 4 + 4));
        changed.clear();
      }
      await file.flush();
    },
  };
}
