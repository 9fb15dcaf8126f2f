/** Makes VHD images. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { u64be, viewOf } from '../layout.ts';
import { alignUp } from '../request.ts';
import { encodeUtf8 } from '../text.ts';
import {
  DISK_MAX_BYTES,
  DISK_TYPE,
  DYNAMIC_COOKIE,
  encodeDynamic,
  encodeFooter,
  FOOTER_COOKIE,
  footerLayout,
  VERSION,
  type VhdFooter,
} from './layout.ts';
import { encodeParent } from './locator.ts';

export interface VhdCreateOptions {
  readonly sizeBytes: number;
  readonly isFixed?: boolean;
  /** 16 random bytes. */
  readonly uuid: Uint8Array;
  /** Seconds since 1970. */
  readonly nowSeconds: number;
  /** Readers take the size from cylinders, heads and sectors: `sizeBytes` must be `vhdGeometrySize` of something. */
  readonly usesGeometry?: boolean;
  /** Makes a differencing disk. */
  readonly parent?: { readonly filename: string; readonly uuid: Uint8Array; readonly modifiedSeconds: number };
}

const BLOCK_BYTES = 2 ** 21;
const TABLE_OFFSET = 1536;
/** 2000-01-01, where the format's time begins. */
const EPOCH_SECONDS = 946_684_800;

/** Writes an empty image of exactly `sizeBytes` to `file`, which must be empty. @throws UserError when it is too large */
export async function createVhd(file: BlockNode, options: VhdCreateOptions): Promise<void> {
  const { sizeBytes, isFixed = false, uuid, nowSeconds, usesGeometry = false, parent } = options;
  if (sizeBytes > DISK_MAX_BYTES) throw new UserError(`a VHD disk has at most 2040 GiB, not ${sizeBytes} bytes`);
  if (isFixed && parent !== undefined) throw new UserError('a fixed VHD disk cannot have a backing file');
  const dataOffset = new Uint8Array(8).fill(0xff);
  if (!isFixed) u64be.put(viewOf(dataOffset), 0, footerLayout.size);
  const footer = encodeFooter({
    cookie: encodeUtf8(FOOTER_COOKIE),
    features: 2,
    version: VERSION,
    dataOffset,
    timestamp: formatTime(nowSeconds),
    // By the creator readers know whether the size is meant exactly.
    creatorApp: encodeUtf8(usesGeometry ? 'vreo' : 'win '),
    creatorVersion: 0x00060001,
    creatorOs: encodeUtf8('Wi2k'),
    originalBytes: sizeBytes,
    currentBytes: sizeBytes,
    ...geometryOf(Math.floor(sizeBytes / 512)),
    diskType: isFixed ? DISK_TYPE.fixed : parent === undefined ? DISK_TYPE.dynamic : DISK_TYPE.differencing,
    checksum: 0,
    uuid,
    savedState: 0,
    reserved: new Uint8Array(427),
  });
  if (isFixed) {
    await file.write(sizeBytes, footer);
    return file.flush();
  }
  const named = parent === undefined ? undefined : encodeParent(parent.filename, TABLE_OFFSET);
  const tableOffset = TABLE_OFFSET + (named?.data.length ?? 0);
  const tableEntries = Math.ceil(sizeBytes / BLOCK_BYTES);
  const dynamic = encodeDynamic({
    cookie: encodeUtf8(DYNAMIC_COOKIE),
    dataOffset: new Uint8Array(8).fill(0xff),
    tableOffset,
    version: VERSION,
    tableEntries,
    blockBytes: BLOCK_BYTES,
    checksum: 0,
    parentUuid: parent?.uuid ?? new Uint8Array(16),
    parentTimestamp: parent === undefined ? 0 : formatTime(parent.modifiedSeconds),
    reserved: 0,
    parentName: named?.parentName ?? new Uint8Array(512),
    locators: named?.locators ?? new Uint8Array(192),
    rest: new Uint8Array(256),
  });
  const table = new Uint8Array(alignUp(tableEntries * 4, 512)).fill(0xff);
  await file.write(0, footer);
  await file.write(footer.length, dynamic);
  if (named !== undefined) await file.write(TABLE_OFFSET, named.data);
  await file.write(tableOffset, table);
  await file.write(tableOffset + table.length, footer);
  await file.flush();
}

function formatTime(seconds: number): number {
  return Math.min(Math.max(0, Math.floor(seconds) - EPOCH_SECONDS), 0xffffffff);
}

/** The smallest size from `sizeBytes` on that cylinders, heads and sectors can tell. */
export function vhdGeometrySize(sizeBytes: number): number {
  const wanted = Math.ceil(sizeBytes / 512);
  for (let sectors = wanted; ; sectors += 1) {
    const { cylinders, heads, sectorsPerTrack } = geometryOf(sectors);
    const told = cylinders * heads * sectorsPerTrack;
    // The largest geometry means that the size is told elsewhere.
    if (told >= wanted || sectors >= GEOMETRY_MAX_SECTORS) return Math.max(told, wanted) * 512;
  }
}

const GEOMETRY_MAX_SECTORS = 65535 * 16 * 255;

/** Cylinders, heads and sectors for a size, as the specification's appendix computes them. */
function geometryOf(allSectors: number): Pick<VhdFooter, 'cylinders' | 'heads' | 'sectorsPerTrack'> {
  const sectors = Math.min(allSectors, GEOMETRY_MAX_SECTORS);
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
