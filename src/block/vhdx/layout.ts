/** VHDX structures (Microsoft, [MS-VHDX] "Virtual Hard Disk v2 File Format", section 2), little-endian. */
import { crc32c } from '../crc32c.ts';
import { bytesOf, type LayoutOf, layout, u16le, u32le, u64le, viewOf } from '../layout.ts';

export const MIB = 2 ** 20;
export const KIB64 = 65_536;
export const SECTOR_BYTES = 4096;

export const FILE_SIGNATURE = 'vhdxfile';
/** Where the two headers and the two region tables are (2.2). */
export const HEADER_OFFSETS = [KIB64, 2 * KIB64] as const;
export const REGION_OFFSETS = [3 * KIB64, 4 * KIB64] as const;

export const headerLayout = layout({
  signature: u32le,
  checksum: u32le,
  sequence: u64le,
  fileWriteGuid: bytesOf(16),
  dataWriteGuid: bytesOf(16),
  logGuid: bytesOf(16),
  logVersion: u16le,
  version: u16le,
  logBytes: u32le,
  logOffset: u64le,
  rest: bytesOf(4016),
});
export type VhdxHeader = LayoutOf<typeof headerLayout>;

export const regionTableLayout = layout({ signature: u32le, checksum: u32le, entries: u32le, reserved: u32le });
export const regionLayout = layout({ guid: bytesOf(16), offset: u64le, length: u32le, required: u32le });

export const metadataTableLayout = layout({
  signature: bytesOf(8),
  reserved: u16le,
  entries: u16le,
  rest: bytesOf(20),
});
export const metadataLayout = layout({
  guid: bytesOf(16),
  offset: u32le,
  length: u32le,
  flags: u32le,
  reserved: u32le,
});
export const METADATA_FLAG = { user: 1, virtualDisk: 2, required: 4 } as const;

export const parametersLayout = layout({ blockBytes: u32le, flags: u32le });
export const PARAMETER = { leaveAllocated: 1, hasParent: 2 } as const;

export const logEntryLayout = layout({
  signature: u32le,
  checksum: u32le,
  length: u32le,
  tail: u32le,
  sequence: u64le,
  descriptors: u32le,
  reserved: u32le,
  logGuid: bytesOf(16),
  flushedBytes: u64le,
  lastBytes: u64le,
});
export type LogEntry = LayoutOf<typeof logEntryLayout>;

/** Both kinds of descriptor: `zero` has a length where `desc` has the first 8 bytes of its sector. */
export const descriptorLayout = layout({
  signature: u32le,
  trailing: bytesOf(4),
  leading: bytesOf(8),
  offset: u64le,
  sequence: u64le,
});
export const dataSectorLayout = layout({
  signature: u32le,
  sequenceHigh: u32le,
  data: bytesOf(4084),
  sequenceLow: u32le,
});

function signature(text: string): number {
  return [...text].reduce((value, character, i) => value + character.charCodeAt(0) * 256 ** i, 0);
}

export const SIGNATURE = {
  header: signature('head'),
  regions: signature('regi'),
  logEntry: signature('loge'),
  zero: signature('zero'),
  data: signature('desc'),
  sector: signature('data'),
} as const;
export const METADATA_SIGNATURE = 'metadata';

/** The bytes of a GUID as the format stores it: the first three groups with their least byte first. */
export function guidBytes(text: string): Uint8Array<ArrayBuffer> {
  const [a, b, c, d, e] = text.split('-').map((group) => group.match(/../g)!.map((pair) => Number.parseInt(pair, 16)));
  return Uint8Array.from([...a.reverse(), ...b.reverse(), ...c.reverse(), ...d, ...e]);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export const ZERO_GUID = new Uint8Array(16);
export const REGION = {
  bat: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
} as const;
export const ITEM = {
  parameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  diskBytes: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  diskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSector: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSector: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const;

/** What a block allocation table says of a block, in the lowest three bits (2.5.1.1). */
export const BLOCK = { absent: 0, undefined: 1, zero: 2, unmapped: 3, present: 6, partial: 7 } as const;

export const LIMITS = {
  blockMin: MIB,
  blockMax: 256 * MIB,
  diskBytes: 64 * 2 ** 40,
  regions: 2047,
  items: 2047,
  metadataBytes: 2 ** 25,
  logMax: 2 ** 30,
} as const;

/** Puts the checksum, which is 0 while it is computed, where all structures have it: behind the signature. */
export function seal<T extends Uint8Array>(bytes: T): T {
  const view = viewOf(bytes);
  u32le.put(view, 4, 0);
  u32le.put(view, 4, crc32c(bytes));
  return bytes;
}

export function isSealed(bytes: Uint8Array): boolean {
  const stored = u32le.get(viewOf(bytes), 4);
  const copy = bytes.slice();
  u32le.put(viewOf(copy), 4, 0);
  return crc32c(copy) === stored;
}

/** Places of sector bitmaps lie between those of blocks: one after this many ([MS-VHDX] 2.5). */
export function chunkRatioOf(blockBytes: number, sectorBytes: number): number {
  return (2 ** 23 * sectorBytes) / blockBytes;
}

/** Entries of the block allocation table of a disk without parent. */
export function batEntriesFor(diskBytes: number, blockBytes: number, sectorBytes: number): number {
  const blocks = Math.ceil(diskBytes / blockBytes);
  return blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / chunkRatioOf(blockBytes, sectorBytes));
}
