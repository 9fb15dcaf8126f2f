/** The qcow2 header and its extensions (QEMU, docs/interop/qcow2.txt, "Header"). */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { CompressionKind } from '../compression.ts';
import { bytesOf, flags64be, type LayoutOf, layout, u8, u32be, u64be } from '../layout.ts';
import { alignUp, readPadded } from '../request.ts';
import { decodeUtf8, encodeUtf8 } from '../text.ts';

export const QCOW2_MAGIC = 0x514649fb;

const version2 = {
  magic: u32be,
  version: u32be,
  backingFileOffset: u64be,
  backingFileSize: u32be,
  clusterBits: u32be,
  size: u64be,
  cryptMethod: u32be,
  l1Entries: u32be,
  l1Offset: u64be,
  refcountTableOffset: u64be,
  refcountTableClusters: u32be,
  snapshotCount: u32be,
  snapshotsOffset: u64be,
};
const headerV2 = layout(version2);
const headerV3 = layout({
  ...version2,
  incompatible: flags64be,
  compatible: flags64be,
  autoclear: flags64be,
  refcountOrder: u32be,
  headerLength: u32be,
  compressionType: u8,
  padding: bytesOf(7),
});
type Fixed = LayoutOf<typeof headerV3>;

const V2_SIZE = headerV2.size;
const V3_MIN_SIZE = 104;

export const INCOMPATIBLE = { dirty: 1n, corrupt: 2n, dataFile: 4n, compression: 8n, extendedL2: 16n } as const;
export const COMPATIBLE = { lazyRefcounts: 1n } as const;
export const AUTOCLEAR = { bitmaps: 1n, rawDataFile: 2n } as const;
const KNOWN_INCOMPATIBLE = 31n;
const KNOWN_AUTOCLEAR = 3n;

export const EXTENSION = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  dataFile: 0x44415441,
} as const;

export interface HeaderExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface Qcow2Header extends Omit<Fixed, 'magic' | 'backingFileOffset' | 'backingFileSize' | 'padding'> {
  backingFile?: string;
  /** Without the backing format and the end marker; unknown ones are kept as they are. */
  extensions: HeaderExtension[];
  backingFormat?: string;
  /** Bytes of a longer header than ours, kept as they are. */
  tail: Uint8Array;
}

/** Where fields lie that are written alone. */
export const headerFieldOffsets = {
  size: headerV2.offsetOf('size'),
  refcountTable: headerV2.offsetOf('refcountTableOffset'),
  snapshots: headerV2.offsetOf('snapshotCount'),
} as const;

export const LIMITS = {
  clusterBitsMin: 9,
  clusterBitsMax: 21,
  refcountOrderMax: 6,
  l1Bytes: 32 * 2 ** 20,
  refcountTableBytes: 8 * 2 ** 20,
  snapshots: 65536,
  snapshotTableBytes: 64 * 2 ** 20,
  backingNameBytes: 1023,
  /** Largest offset in a file and largest disk. */
  offset: Number.MAX_SAFE_INTEGER,
} as const;

const NAMES: readonly (readonly [kind: number, bit: number, name: string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

export function isQcow2(head: Uint8Array): boolean {
  if (head.length < V2_SIZE) return false;
  const { magic, version } = headerV2.read(head);
  return magic === QCOW2_MAGIC && version >= 2;
}

/** Reads and checks the header. @throws UserError that names the field */
export async function readHeader(file: BlockNode, name: string): Promise<Qcow2Header> {
  const bad = (what: string): never => {
    throw new UserError(`${name}: not a usable qcow2 image: ${what}`);
  };
  const first = new Uint8Array(headerV3.size);
  await readPadded(file, 0, first);
  const short = headerV2.read(first);
  if (short.magic !== QCOW2_MAGIC) bad('it does not begin with the qcow2 magic number');
  if (short.version !== 2 && short.version !== 3) bad(`its version is ${short.version}; 2 and 3 are known`);
  const { clusterBitsMin, clusterBitsMax } = LIMITS;
  if (short.clusterBits < clusterBitsMin || short.clusterBits > clusterBitsMax) {
    bad(`cluster_bits is ${short.clusterBits}; it must be from ${clusterBitsMin} to ${clusterBitsMax}`);
  }
  const clusterBytes = 2 ** short.clusterBits;
  const isV3 = short.version === 3;
  const fixed: Fixed = isV3 ? headerV3.read(first) : { ...headerV3.read(new Uint8Array(headerV3.size)), ...short };
  if (!isV3) Object.assign(fixed, { refcountOrder: 4, headerLength: V2_SIZE });
  const { headerLength } = fixed;
  if (isV3 && (headerLength < V3_MIN_SIZE || headerLength > clusterBytes || headerLength % 8 !== 0)) {
    bad(`header_length is ${headerLength}; it must be a multiple of 8 from ${V3_MIN_SIZE} to ${clusterBytes}`);
  }
  if (headerLength < headerV3.size) fixed.compressionType = 0;
  const cluster = new Uint8Array(clusterBytes);
  await readPadded(file, 0, cluster);

  const { magic: _, backingFileOffset, backingFileSize, padding: __, ...rest } = fixed;
  const header: Qcow2Header = {
    ...rest,
    extensions: [],
    tail: cluster.slice(headerV3.size, Math.max(headerLength, headerV3.size)),
  };
  const unknown = header.incompatible & ~KNOWN_INCOMPATIBLE;
  if (unknown !== 0n) bad(`it needs features that are not known: incompatible bits 0x${unknown.toString(16)}`);
  if (backingFileOffset !== 0) {
    if (backingFileSize > LIMITS.backingNameBytes || backingFileOffset + backingFileSize > clusterBytes) {
      bad('the name of its backing file lies outside the first cluster or is longer than 1023 bytes');
    }
    const text = decodeUtf8(cluster.subarray(backingFileOffset, backingFileOffset + backingFileSize));
    if (text !== '') header.backingFile = text;
  }
  readExtensions(header, cluster, backingFileOffset === 0 ? clusterBytes : backingFileOffset, bad);
  checkHeader(header, bad);
  return header;
}

function readExtensions(header: Qcow2Header, cluster: Uint8Array, end: number, bad: (what: string) => never): void {
  const row = layout({ type: u32be, length: u32be });
  for (let at = header.headerLength; at + row.size <= end; ) {
    const { type, length } = row.read(cluster, at);
    if (type === EXTENSION.end) return;
    if (at + row.size + length > end) bad(`header extension 0x${type.toString(16)} reaches beyond the header`);
    const data = cluster.slice(at + row.size, at + row.size + length);
    if (type === EXTENSION.backingFormat) header.backingFormat = decodeUtf8(data);
    else header.extensions.push({ type, data });
    at += row.size + alignUp(length, 8);
  }
}

function checkHeader(header: Qcow2Header, bad: (what: string) => never): void {
  const clusterBytes = 2 ** header.clusterBits;
  const table = (what: string, offset: number, bytes: number, maxBytes: number) => {
    if (bytes > maxBytes) bad(`${what} has ${bytes} bytes; at most ${maxBytes} are allowed`);
    if (offset % clusterBytes !== 0 || offset + bytes > LIMITS.offset) bad(`${what} is not at a cluster's offset`);
  };
  const isExtended = (header.incompatible & INCOMPATIBLE.extendedL2) !== 0n;
  if (header.size > LIMITS.offset) bad(`its disk of ${header.size} bytes is larger than 2^53`);
  if (header.cryptMethod > 2) bad(`its encryption method ${header.cryptMethod} is not known`);
  if (header.refcountOrder > LIMITS.refcountOrderMax)
    bad(`refcount_order is ${header.refcountOrder}; at most 6 is allowed`);
  if (isExtended && header.clusterBits < 14) bad('extended L2 entries need clusters of at least 16 KiB');
  if (header.compressionType > 1) bad(`compression type ${header.compressionType} is not known`);
  if ((header.compressionType !== 0) !== ((header.incompatible & INCOMPATIBLE.compression) !== 0n)) {
    bad('the compression type and its feature bit disagree');
  }
  table('the L1 table', header.l1Offset, header.l1Entries * 8, LIMITS.l1Bytes);
  const refcountBytes = header.refcountTableClusters * clusterBytes;
  table('the refcount table', header.refcountTableOffset, refcountBytes, LIMITS.refcountTableBytes);
  table('the snapshot table', header.snapshotsOffset, 0, LIMITS.snapshotTableBytes);
  if (header.snapshotCount > LIMITS.snapshots)
    bad(`it says it has ${header.snapshotCount} snapshots; at most 65536 fit`);
  const l1Needed = Math.ceil(header.size / l1CoverageOf(header.clusterBits, isExtended));
  if (header.l1Entries < l1Needed) bad(`its L1 table has ${header.l1Entries} entries; the disk needs ${l1Needed}`);
}

/** Bytes of disk that one L1 entry stands for. */
export function l1CoverageOf(clusterBits: number, isExtended: boolean): number {
  return 2 ** (clusterBits + clusterBits - (isExtended ? 4 : 3));
}

export function compressionOf(header: Qcow2Header): CompressionKind {
  return header.compressionType === 1 ? 'zstd' : 'zlib';
}

/** The first cluster as it must be on disk. @throws UserError when it does not all fit */
export function encodeHeader(header: Qcow2Header): Uint8Array<ArrayBuffer> {
  const clusterBytes = 2 ** header.clusterBits;
  const isV3 = header.version >= 3;
  const headerLength = isV3 ? headerV3.size + header.tail.length : V2_SIZE;
  const extensions = [...header.extensions];
  if (header.backingFormat !== undefined) {
    extensions.unshift({ type: EXTENSION.backingFormat, data: encodeUtf8(header.backingFormat) });
  }
  const parts = extensions.map(encodeExtension);
  parts.push(encodeExtension({ type: EXTENSION.end, data: new Uint8Array(0) }));
  const backing = encodeUtf8(header.backingFile ?? '');
  if (backing.length > LIMITS.backingNameBytes) {
    throw new UserError(`the name of the backing file has ${backing.length} bytes; at most 1023 fit`);
  }
  const nameOffset = headerLength + parts.reduce((sum, part) => sum + part.length, 0);
  if (nameOffset + backing.length > clusterBytes) {
    throw new UserError(
      `the header of ${nameOffset + backing.length} bytes does not fit in a cluster of ${clusterBytes}`,
    );
  }
  const fixed: Fixed = {
    ...header,
    magic: QCOW2_MAGIC,
    headerLength,
    backingFileOffset: backing.length === 0 ? 0 : nameOffset,
    backingFileSize: backing.length,
    padding: new Uint8Array(7),
  };
  const cluster = new Uint8Array(clusterBytes);
  cluster.set(isV3 ? headerV3.write(fixed) : headerV2.write(fixed));
  if (isV3) cluster.set(header.tail, headerV3.size);
  let at = headerLength;
  for (const part of parts) {
    cluster.set(part, at);
    at += part.length;
  }
  cluster.set(backing, nameOffset);
  return cluster;
}

function encodeExtension({ type, data }: HeaderExtension): Uint8Array {
  const bytes = new Uint8Array(8 + alignUp(data.length, 8));
  bytes.set(layout({ type: u32be, length: u32be }).write({ type, length: data.length }));
  bytes.set(data, 8);
  return bytes;
}

/** The table by which other programs can name features that they do not know. */
export function featureNames(): HeaderExtension {
  const data = new Uint8Array(NAMES.length * 48);
  NAMES.forEach(([kind, bit, name], i) => {
    data[i * 48] = kind;
    data[i * 48 + 1] = bit;
    data.set(encodeUtf8(name), i * 48 + 2);
  });
  return { type: EXTENSION.featureNames, data };
}

/** Autoclear bits that must go when the image is written by us. */
export function unknownAutoclear(header: Qcow2Header): bigint {
  return header.autoclear & ~KNOWN_AUTOCLEAR;
}
