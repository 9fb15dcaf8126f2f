/** What a VHDX image says of itself: headers, regions, metadata ([MS-VHDX] 2.2 and 2.6). */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { u32le, u64le, viewOf } from '../layout.ts';
import { readPadded } from '../request.ts';
import { decodeUtf8 } from '../text.ts';
import {
  batEntriesFor,
  equalBytes,
  FILE_SIGNATURE,
  guidBytes,
  HEADER_OFFSETS,
  headerLayout,
  ITEM,
  isSealed,
  KIB64,
  LIMITS,
  METADATA_FLAG,
  METADATA_SIGNATURE,
  MIB,
  metadataLayout,
  metadataTableLayout,
  PARAMETER,
  parametersLayout,
  REGION,
  REGION_OFFSETS,
  regionLayout,
  regionTableLayout,
  SIGNATURE,
  type VhdxHeader,
} from './layout.ts';

function bad(name: string, what: string): never {
  throw new UserError(`${name}: not a usable VHDX image: ${what}`);
}

export function isVhdx(head: Uint8Array): boolean {
  return decodeUtf8(head.subarray(0, 8)) === FILE_SIGNATURE;
}

export interface CurrentHeader {
  readonly header: VhdxHeader;
  /** Which of the two it is. */
  readonly index: 0 | 1;
}

/** The valid header with the higher sequence number. */
export async function readHeader(file: BlockNode, name: string): Promise<CurrentHeader> {
  const found: CurrentHeader[] = [];
  for (const index of [0, 1] as const) {
    const bytes = new Uint8Array(headerLayout.size);
    await readPadded(file, HEADER_OFFSETS[index], bytes);
    const header = headerLayout.read(bytes);
    if (header.signature === SIGNATURE.header && isSealed(bytes)) found.push({ header, index });
  }
  if (found.length === 0) bad(name, 'neither of its headers is whole');
  const current = found.reduce((a, b) => (b.header.sequence > a.header.sequence ? b : a));
  const { version, logVersion, logOffset, logBytes, sequence } = current.header;
  if (version !== 1) bad(name, `its version is ${version}; 1 is known`);
  if (logVersion !== 0) bad(name, `the version of its log is ${logVersion}; 0 is known`);
  const isLog = logOffset >= MIB && logOffset % MIB === 0 && logBytes >= MIB && logBytes % MIB === 0;
  if (!isLog || logBytes > LIMITS.logMax || logOffset + logBytes > file.sizeBytes)
    bad(name, `its log of ${logBytes} bytes at ${logOffset} is not whole MiB inside the file, or larger than 1 GiB`);
  if (sequence >= Number.MAX_SAFE_INTEGER) bad(name, 'the sequence number of its header is at its end');
  return current;
}

export interface Region {
  readonly offset: number;
  readonly length: number;
}

export interface Regions {
  readonly bat: Region;
  readonly metadata: Region;
}

/** The places of the block allocation table and of the metadata. */
export async function readRegions(file: BlockNode, header: VhdxHeader, name: string): Promise<Regions> {
  const bytes = new Uint8Array(KIB64);
  let isWhole = false;
  for (const offset of REGION_OFFSETS) {
    if (isWhole) break;
    await readPadded(file, offset, bytes);
    isWhole = regionTableLayout.read(bytes).signature === SIGNATURE.regions && isSealed(bytes);
  }
  if (!isWhole) bad(name, 'neither of its region tables is whole');
  const { entries } = regionTableLayout.read(bytes);
  if (entries > LIMITS.regions) bad(name, `it has ${entries} regions; at most ${LIMITS.regions} are allowed`);
  const found = new Map<string, Region>();
  const taken: Region[] = [
    { offset: 0, length: MIB },
    { offset: header.logOffset, length: header.logBytes },
  ];
  for (let i = 0; i < entries; i += 1) {
    const { guid, offset, length, required } = regionLayout.read(bytes, regionTableLayout.size + i * regionLayout.size);
    const kind = Object.values(REGION).find((text) => equalBytes(guidBytes(text), guid));
    if (kind === undefined && (required & 1) !== 0) bad(name, 'it has a required region of a kind that is not known');
    if (kind !== undefined && found.has(kind)) bad(name, 'it has a region twice');
    if (offset % MIB !== 0 || length % MIB !== 0 || length === 0 || offset + length > file.sizeBytes)
      bad(name, `its region of ${length} bytes at ${offset} is not whole MiB inside the file`);
    if (taken.some((other) => offset < other.offset + other.length && offset + length > other.offset))
      bad(name, `its region at ${offset} overlaps another one`);
    taken.push({ offset, length });
    if (kind !== undefined) found.set(kind, { offset, length });
  }
  const [bat, metadata] = [found.get(REGION.bat), found.get(REGION.metadata)];
  if (bat === undefined || metadata === undefined) return bad(name, 'its block table or its metadata is missing');
  return { bat, metadata };
}

export interface Disk {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly sectorBytes: number;
}

/** The metadata: how large the disk is, and its blocks. */
export async function readMetadata(file: BlockNode, { bat, metadata }: Regions, name: string): Promise<Disk> {
  const table = new Uint8Array(KIB64);
  await file.read(metadata.offset, table);
  const { signature, entries } = metadataTableLayout.read(table);
  if (decodeUtf8(signature) !== METADATA_SIGNATURE) bad(name, 'its metadata does not begin as such');
  if (entries > LIMITS.items) bad(name, `it has ${entries} items of metadata; at most ${LIMITS.items} are allowed`);
  const items = new Map<string, Uint8Array>();
  for (let i = 0; i < entries; i += 1) {
    const { guid, offset, length, flags } = metadataLayout.read(table, (i + 1) * metadataLayout.size);
    const kind = Object.values(ITEM).find((text) => equalBytes(guidBytes(text), guid));
    if (kind === undefined && (flags & METADATA_FLAG.required) !== 0)
      bad(name, 'it has a required item of metadata of a kind that is not known');
    if (kind === undefined || kind === ITEM.parentLocator) continue;
    if (offset < KIB64 || length > 64 || offset + length > metadata.length)
      bad(name, `its item of metadata of ${length} bytes at ${offset} is not inside its region`);
    const bytes = new Uint8Array(length);
    await file.read(metadata.offset + offset, bytes);
    items.set(kind, bytes);
  }
  const item = (kind: string, size: number, what: string): DataView => {
    const bytes = items.get(kind);
    if (bytes === undefined || bytes.length < size) return bad(name, `its metadata does not tell ${what}`);
    return viewOf(bytes);
  };
  const { blockBytes, flags } = parametersLayout.get(item(ITEM.parameters, 8, 'the size of its blocks'), 0);
  const sizeBytes = u64le.get(item(ITEM.diskBytes, 8, 'the size of its disk'), 0);
  const sectorBytes = u32le.get(item(ITEM.logicalSector, 4, 'the size of its sectors'), 0);
  if ((flags & PARAMETER.hasParent) !== 0) bad(name, 'it is a differencing disk, which is not supported');
  if (
    blockBytes < LIMITS.blockMin ||
    blockBytes > LIMITS.blockMax ||
    2 ** Math.floor(Math.log2(blockBytes)) !== blockBytes
  )
    bad(name, `its blocks have ${blockBytes} bytes; a power of two from 1 to 256 MiB is allowed`);
  if (sectorBytes !== 512 && sectorBytes !== 4096)
    bad(name, `its sectors have ${sectorBytes} bytes; 512 or 4096 are allowed`);
  if (sizeBytes > LIMITS.diskBytes || sizeBytes % sectorBytes !== 0)
    bad(name, `its disk has ${sizeBytes} bytes; whole sectors, at most 64 TiB, are allowed`);
  const needed = batEntriesFor(sizeBytes, blockBytes, sectorBytes) * 8;
  if (bat.length < needed) bad(name, `its block table has ${bat.length} bytes; ${needed} are needed`);
  return { sizeBytes, blockBytes, sectorBytes };
}
