/** VMDK structures (VMware, "Virtual Disk Format 5.0", "Hosted Sparse Extents" and "Stream-Optimized"), little-endian. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { bytesOf, type LayoutOf, layout, u8, u16le, u32le, u64le, viewOf } from '../layout.ts';
import { readPadded } from '../request.ts';

export const SECTOR_BYTES = 512;

/** SparseExtentHeader; sizes and places are in sectors. */
export const headerLayout = layout({
  magic: u32le,
  version: u32le,
  flags: u32le,
  capacity: u64le,
  grainSectors: u64le,
  descriptorOffset: u64le,
  descriptorSectors: u64le,
  entriesPerTable: u32le,
  redundantOffset: u64le,
  directoryOffset: u64le,
  overhead: u64le,
  isDirty: u8,
  newlines: bytesOf(4),
  compression: u16le,
  rest: bytesOf(433),
});
export type SparseHeader = LayoutOf<typeof headerLayout>;

/** The header of extents on VMFS ("COWD", ESX), which have no descriptor of their own and tables of 4096 entries. */
export const cowdLayout = layout({
  magic: u32le,
  version: u32le,
  flags: u32le,
  capacity: u32le,
  grainSectors: u32le,
  directoryOffset: u32le,
  directoryEntries: u32le,
});
const COWD_TABLE_ENTRIES = 4096;

/** Before each compressed grain; without data it announces metadata of kind `type`. */
export const grainMarkerLayout = layout({ sector: u64le, bytes: u32le });
export const markerLayout = layout({ sectors: u64le, bytes: u32le, type: u32le, rest: bytesOf(496) });

export const MAGIC = 0x564d444b;
export const COWD_MAGIC = 0x44574f43;
export const FLAG = { newlines: 1, redundant: 2, zeroGrains: 4, compressed: 0x10000, markers: 0x20000 } as const;
export const MARKER = { endOfStream: 0, table: 1, directory: 2, footer: 3 } as const;
/** What a grain table says of grains that have no place. */
export const ENTRY = { hole: 0, zero: 1 } as const;
export const DEFLATE = 1;
export const NEWLINES = Uint8Array.of(0x0a, 0x20, 0x0d, 0x0a);
/** The directory is at the end of the file, where a second header tells. */
const AT_END = 2 ** 64;

const GRAIN_SECTORS = { min: 1, max: 2 ** 15 } as const;
const TABLE_MAX_ENTRIES = 4096;
const DIRECTORY_MAX_ENTRIES = 2 ** 22;
const CAPACITY_MAX_SECTORS = 2 ** 44;
export const DESCRIPTOR_MAX_BYTES = 4 * 2 ** 20;

export interface ReadHeader {
  readonly header: SparseHeader;
  readonly directoryEntries: number;
  /** The header in use is the one at the file's end: a finished stream. */
  readonly hasFooter: boolean;
}

export function isSparse(head: Uint8Array): boolean {
  const magic = head.length < 4 ? 0 : u32le.get(viewOf(head), 0);
  return magic === MAGIC || magic === COWD_MAGIC;
}

/** What a header of the VMFS kind says, in the words of the other kind. */
function fromCowd(bytes: Uint8Array): SparseHeader {
  const { version, capacity, grainSectors, directoryOffset } = cowdLayout.read(bytes);
  return {
    ...headerLayout.read(new Uint8Array(headerLayout.size)),
    magic: MAGIC,
    version,
    capacity,
    grainSectors,
    directoryOffset,
    entriesPerTable: COWD_TABLE_ENTRIES,
  };
}

/** Reads and checks the header of a sparse extent. @throws UserError that names the field */
export async function readSparseHeader(file: BlockNode, name: string): Promise<ReadHeader> {
  const bytes = new Uint8Array(headerLayout.size);
  await readPadded(file, 0, bytes);
  let header = cowdLayout.read(bytes).magic === COWD_MAGIC ? fromCowd(bytes) : headerLayout.read(bytes);
  const hasFooter = header.magic === MAGIC && header.directoryOffset >= AT_END;
  if (hasFooter) header = await readFooter(file, name);
  const require = (isRight: boolean, what: string) => {
    if (!isRight) throw new UserError(`${name}: not a usable VMDK image: ${what}`);
  };
  const { version, capacity, grainSectors, entriesPerTable, flags } = header;
  require(header.magic === MAGIC, 'its magic number is wrong');
  require(version >= 1 && version <= 3, `its version is ${version}; 1, 2 and 3 are known`);
  require(capacity <=
    CAPACITY_MAX_SECTORS, `its capacity of ${capacity} sectors is larger than ${CAPACITY_MAX_SECTORS}`);
  const isGrain = 2 ** Math.floor(Math.log2(grainSectors)) === grainSectors;
  require(isGrain &&
    grainSectors >= GRAIN_SECTORS.min &&
    grainSectors <=
      GRAIN_SECTORS.max, `its grains have ${grainSectors} sectors; a power of two from ${GRAIN_SECTORS.min} to ${GRAIN_SECTORS.max} is allowed`);
  require(entriesPerTable >= 1 &&
    entriesPerTable <=
      TABLE_MAX_ENTRIES, `its grain tables have ${entriesPerTable} entries; 1 to ${TABLE_MAX_ENTRIES} are supported`);
  if ((flags & FLAG.newlines) !== 0) {
    require(header.newlines.every(
      (byte, i) => byte === NEWLINES[i],
    ), 'its line ends were changed, as by a transfer as text');
  }
  const isCompressed = (flags & FLAG.compressed) !== 0;
  require(!isCompressed ||
    header.compression === DEFLATE, `its grains are compressed by method ${header.compression}; 1 (deflate) is known`);
  const directoryEntries = Math.ceil(capacity / (grainSectors * entriesPerTable));
  require(directoryEntries <=
    DIRECTORY_MAX_ENTRIES, `its grain directory has ${directoryEntries} entries; at most ${DIRECTORY_MAX_ENTRIES} are supported`);
  const isInside = (sector: number, length: number) => sector >= 1 && sector * SECTOR_BYTES + length <= file.sizeBytes;
  require(isInside(header.directoryOffset, directoryEntries * 4), 'its grain directory is not inside the file');
  if ((flags & FLAG.redundant) !== 0) {
    require(isInside(
      header.redundantOffset,
      directoryEntries * 4,
    ), 'its second grain directory is not inside the file');
  }
  const descriptorBytes = header.descriptorSectors * SECTOR_BYTES;
  require(header.descriptorOffset === 0 ||
    (descriptorBytes <= DESCRIPTOR_MAX_BYTES &&
      header.descriptorOffset * SECTOR_BYTES <=
        file.sizeBytes), `its descriptor of ${descriptorBytes} bytes at sector ${header.descriptorOffset} is too large or not inside the file`);
  return { header, directoryEntries, hasFooter };
}

/** The second header: before the last sector, which says that the stream ends. */
async function readFooter(file: BlockNode, name: string): Promise<SparseHeader> {
  const bytes = new Uint8Array(3 * SECTOR_BYTES);
  if (file.sizeBytes >= bytes.length) await file.read(file.sizeBytes - bytes.length, bytes);
  const marker = markerLayout.read(bytes);
  const end = markerLayout.read(bytes, 2 * SECTOR_BYTES);
  const isFooter =
    marker.bytes === 0 && marker.type === MARKER.footer && end.type === MARKER.endOfStream && end.bytes === 0;
  const header = headerLayout.read(bytes, SECTOR_BYTES);
  if (!isFooter || header.magic !== MAGIC || header.directoryOffset >= AT_END) {
    throw new UserError(`${name}: not a usable VMDK image: its footer is missing; the stream was cut short`);
  }
  return header;
}
