/** A sparse extent: a directory of tables of grains, in one file. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Compression } from '../compression.ts';
import type { CheckResult } from '../format.ts';
import { joinBytes, viewOf } from '../layout.ts';
import { addCorruption, checkPlace, type DiskMap, type Run } from '../mapped.ts';
import { type MetadataCache, metadataCache, type Page } from '../qcow2/metadata-cache.ts';
import { alignUp, readPadded } from '../request.ts';
import { packZlib, unpackZlib } from '../zlib.ts';
import { ENTRY, FLAG, grainMarkerLayout, readSparseHeader, SECTOR_BYTES, type SparseHeader } from './layout.ts';

export interface SparseExtent extends DiskMap {
  readonly header: SparseHeader;
  readonly sizeBytes: number;
  readonly isCompressed: boolean;
  allocate(offset: number, bytes: Uint8Array): Promise<void>;
  commit(): Promise<void>;
  pendingBytes(): number;
  /** The bytes that `allocateStored` takes: a grain, compressed, with its marker. */
  pack(offset: number, bytes: Uint8Array): Promise<Uint8Array>;
  allocateStored(offset: number, stored: Uint8Array): Promise<void>;
  check(result: CheckResult, diskOffset: number): Promise<void>;
}

export interface SparseOptions {
  readonly name: string;
  readonly readOnly: boolean;
  readonly compression: Compression | undefined;
  /** Memory for grain tables. */
  readonly cacheBytes: number;
}

const SECTORS_MAX = 2 ** 32;

interface State {
  readonly name: string;
  readonly file: BlockNode;
  readonly header: SparseHeader;
  readonly sizeBytes: number;
  readonly grainBytes: number;
  readonly tableBytes: number;
  readonly directory: DataView;
  readonly redundant: DataView | undefined;
  readonly tables: MetadataCache;
  readonly compression: Compression | undefined;
  readonly hasZeroGrains: boolean;
  readonly isCompressed: boolean;
  /** Tables that differ from the file, by their place in the directory. */
  readonly dirty: Map<number, Page>;
  isDirectoryDirty: boolean;
  /** Grains that became zeros; the space is given back once nothing points to it. */
  freed: number[];
}

/** Opens a sparse extent. @throws UserError that names what is wrong; `file` stays open then */
export async function openSparse(file: BlockNode, options: SparseOptions): Promise<SparseExtent> {
  const { name, readOnly, compression, cacheBytes } = options;
  const { header, directoryEntries, hasFooter } = await readSparseHeader(file, name);
  const isCompressed = (header.flags & FLAG.compressed) !== 0;
  if (!readOnly && hasFooter)
    throw new UserError(`${name}: a finished stream, whose tables are at its end, can only be opened read-only`);
  if (!readOnly && header.version === 3 && !isCompressed)
    throw new UserError(`${name}: a VMDK image of version 3 that is not compressed can only be opened read-only`);
  const readDirectory = async (sector: number) => {
    const bytes = new Uint8Array(directoryEntries * 4);
    await file.read(sector * SECTOR_BYTES, bytes);
    return viewOf(bytes);
  };
  const tableBytes = header.entriesPerTable * 4;
  const state: State = {
    name,
    file,
    header,
    sizeBytes: header.capacity * SECTOR_BYTES,
    grainBytes: header.grainSectors * SECTOR_BYTES,
    tableBytes,
    directory: await readDirectory(header.directoryOffset),
    redundant: (header.flags & FLAG.redundant) === 0 ? undefined : await readDirectory(header.redundantOffset),
    tables: metadataCache(file, tableBytes, Math.max(8, Math.floor(cacheBytes / tableBytes))),
    compression,
    hasZeroGrains: (header.flags & FLAG.zeroGrains) !== 0,
    isCompressed,
    dirty: new Map(),
    isDirectoryDirty: false,
    freed: [],
  };
  return {
    header,
    sizeBytes: state.sizeBytes,
    unitBytes: state.grainBytes,
    isCompressed,
    lookup: (offset, length) => lookup(state, offset, length),
    allocate: (offset, bytes) => (isCompressed ? allocatePacked(state, offset, bytes) : allocate(state, offset, bytes)),
    ...(state.hasZeroGrains ? { zero: (offset: number, length: number) => zero(state, offset, length) } : {}),
    pack: (offset, bytes) => pack(state, offset, bytes),
    allocateStored: (offset, stored) => allocateStored(state, offset, stored),
    commit: () => commit(state),
    pendingBytes: () => state.dirty.size * state.tableBytes,
    check: (result, diskOffset) => check(state, result, diskOffset),
  };
}

/** The table that directory entry `index` names, or undefined. */
function tableAt(state: State, index: number): Page | Promise<Page> | undefined {
  const sector = state.directory.getUint32(index * 4, true);
  if (sector === 0) return undefined;
  const at = sector * SECTOR_BYTES;
  checkPlace(state.name, `grain table ${index}`, at, SECTOR_BYTES, state.file.sizeBytes);
  return state.tables.get(at);
}

function placeOf(state: State, entry: number): number {
  const { header, name, file, directory } = state;
  const at = entry * SECTOR_BYTES;
  checkPlace(name, 'a grain', at, SECTOR_BYTES, alignUp(file.sizeBytes, SECTOR_BYTES));
  const overlaps = (sector: number, bytes: number) => {
    const start = sector * SECTOR_BYTES;
    return bytes > 0 && at < start + bytes && at + (state.isCompressed ? 1 : state.grainBytes) > start;
  };
  const isBad =
    overlaps(header.directoryOffset, directory.byteLength) ||
    (state.redundant !== undefined && overlaps(header.redundantOffset, directory.byteLength)) ||
    (header.descriptorOffset > 0 && overlaps(header.descriptorOffset, header.descriptorSectors * SECTOR_BYTES));
  if (isBad) throw new IoError('io', `${name}: the image is corrupt: a grain lies at ${at}, over its metadata`);
  return at;
}

async function lookup(state: State, offset: number, length: number): Promise<Run> {
  const { grainBytes, header, isCompressed, hasZeroGrains, file } = state;
  const grain = Math.floor(offset / grainBytes);
  const index = Math.floor(grain / header.entriesPerTable);
  const first = grain % header.entriesPerTable;
  const from = offset - grain * grainBytes;
  const table = await tableAt(state, index);
  const toEnd = (entries: number) => Math.min(length, entries * grainBytes - from);
  if (table === undefined) return { kind: 'hole', length: toEnd(header.entriesPerTable - first) };
  const entryAt = (i: number) => table.view.getUint32(i * 4, true);
  const entry = entryAt(first);
  const wanted = Math.min(header.entriesPerTable, first + Math.ceil((from + length) / grainBytes));
  const isZero = hasZeroGrains && entry === ENTRY.zero;
  if (entry === ENTRY.hole || isZero) {
    let last = first + 1;
    while (last < wanted && entryAt(last) === entry) last += 1;
    return { kind: isZero ? 'zero' : 'hole', length: toEnd(last - first) };
  }
  const at = placeOf(state, entry);
  if (isCompressed) {
    return { kind: 'packed', length: toEnd(1), start: grain * grainBytes, unpack: () => unpack(state, grain, at) };
  }
  let last = first + 1;
  while (last < wanted && entryAt(last) === entry + (last - first) * header.grainSectors) last += 1;
  return { kind: 'data', length: toEnd(last - first), file, at: at + from };
}

const FIRST_READ_BYTES = 16_384;

/** Unpacks the grain at `at`. */
async function unpack(state: State, grain: number, at: number): Promise<Uint8Array> {
  const { name, file, grainBytes, compression, sizeBytes } = state;
  const bad = (what: string): never => {
    throw new IoError('io', `${name}: the compressed grain at ${at} cannot be unpacked: ${what}`);
  };
  if (compression === undefined) return bad('no decompressor was given');
  const hasMarker = (state.header.flags & FLAG.markers) !== 0;
  const first = new Uint8Array(hasMarker ? Math.min(FIRST_READ_BYTES, grainBytes) : grainBytes * 2);
  await readPadded(file, at, first);
  let packed = first;
  if (hasMarker) {
    const { sector, bytes } = grainMarkerLayout.read(first);
    if (bytes > grainBytes * 2) bad(`it has ${bytes} bytes, and a grain only ${grainBytes}`);
    if (sector !== grain * state.header.grainSectors) bad(`it is that of sector ${sector}`);
    const end = grainMarkerLayout.size + bytes;
    if (end > first.length) {
      const rest = new Uint8Array(end - first.length);
      await readPadded(file, at + first.length, rest);
      packed = joinBytes([first, rest]);
    }
    packed = packed.subarray(grainMarkerLayout.size, end) as Uint8Array<ArrayBuffer>;
  }
  // The last grain is stored up to the disk's end, or whole.
  const target = new Uint8Array(grainBytes);
  const used = Math.min(grainBytes, sizeBytes - grain * grainBytes);
  const attempt = async (bytes: number) => unpackZlib(compression, packed, target.subarray(0, bytes), hasMarker);
  try {
    await attempt(used).catch((error: unknown) => (used < grainBytes ? attempt(grainBytes) : Promise.reject(error)));
  } catch (error) {
    bad(error instanceof Error ? error.message : String(error));
  }
  return target;
}

/** The end of the file, where new things go. */
function freePlace(state: State, alignBytes: number, length: number): number {
  const at = alignUp(Math.max(state.file.sizeBytes, SECTOR_BYTES), alignBytes);
  if ((at + length) / SECTOR_BYTES > SECTORS_MAX)
    throw new IoError('no-space', `${state.name}: the file cannot grow beyond 2 TiB`);
  return at;
}

/** The table for writing; made where the directory has none. */
async function tableFor(state: State, index: number): Promise<Page> {
  const page = await tableAt(state, index);
  if (page !== undefined) return page;
  for (const directory of [state.directory, state.redundant]) {
    if (directory === undefined) continue;
    const at = freePlace(state, SECTOR_BYTES, state.tableBytes);
    await state.file.write(at, new Uint8Array(alignUp(state.tableBytes, SECTOR_BYTES)));
    directory.setUint32(index * 4, at / SECTOR_BYTES, true);
  }
  state.isDirectoryDirty = true;
  return (await tableAt(state, index))!;
}

async function setEntry(state: State, grain: number, entry: number): Promise<void> {
  const { entriesPerTable } = state.header;
  const index = Math.floor(grain / entriesPerTable);
  const page = await tableFor(state, index);
  page.view.setUint32((grain % entriesPerTable) * 4, entry, true);
  state.tables.markDirty(page);
  state.dirty.set(index, page);
}

async function allocate(state: State, offset: number, bytes: Uint8Array): Promise<void> {
  const { grainBytes, header } = state;
  const at = freePlace(state, grainBytes, bytes.length);
  await state.file.write(at, bytes);
  for (let done = 0; done < bytes.length; done += grainBytes) {
    await setEntry(state, (offset + done) / grainBytes, at / SECTOR_BYTES + (done / grainBytes) * header.grainSectors);
  }
}

async function allocatePacked(state: State, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; done += state.grainBytes) {
    const grain = bytes.subarray(done, done + state.grainBytes);
    await allocateStored(state, offset + done, await pack(state, offset + done, grain));
  }
}

/** A marker and the grain's compressed bytes, up to the end of a sector; at the disk's end the grain is cut there. */
async function pack(state: State, offset: number, bytes: Uint8Array): Promise<Uint8Array> {
  const { compression, name, sizeBytes } = state;
  if (compression === undefined)
    throw new IoError('io', `${name}: its grains are compressed, and no compressor was given`);
  const packed = await packZlib(compression, bytes.subarray(0, Math.min(bytes.length, sizeBytes - offset)));
  const hasMarker = (state.header.flags & FLAG.markers) !== 0;
  const marker = grainMarkerLayout.write({ sector: offset / SECTOR_BYTES, bytes: packed.length });
  const parts = hasMarker ? [marker, packed] : [packed];
  return joinBytes(parts, alignUp(packed.length + (hasMarker ? marker.length : 0), SECTOR_BYTES));
}

async function allocateStored(state: State, offset: number, stored: Uint8Array): Promise<void> {
  const at = freePlace(state, SECTOR_BYTES, stored.length);
  await state.file.write(at, stored);
  await setEntry(state, offset / state.grainBytes, at / SECTOR_BYTES);
}

async function zero(state: State, offset: number, length: number): Promise<void> {
  const { grainBytes } = state;
  for (let done = 0; done < length; done += grainBytes) {
    const run = await lookup(state, offset + done, grainBytes);
    if (run.kind === 'data') state.freed.push(run.at);
    if (run.kind !== 'zero') await setEntry(state, (offset + done) / grainBytes, ENTRY.zero);
  }
}

/** Data, then tables, then the directory that names new ones. The caller flushes the file once more. */
async function commit(state: State): Promise<void> {
  const { file, dirty, tables, header, redundant } = state;
  await file.flush();
  if (dirty.size === 0) return;
  for (const [index, page] of dirty) {
    const sector = redundant?.getUint32(index * 4, true) ?? 0;
    if (sector === 0) continue;
    checkPlace(state.name, `second grain table ${index}`, sector * SECTOR_BYTES, SECTOR_BYTES, file.sizeBytes);
    await file.write(sector * SECTOR_BYTES, page.bytes);
  }
  await tables.writeDirty();
  dirty.clear();
  if (state.isDirectoryDirty) {
    await file.flush();
    await file.write(header.directoryOffset * SECTOR_BYTES, bytesOfView(state.directory));
    if (redundant !== undefined) await file.write(header.redundantOffset * SECTOR_BYTES, bytesOfView(redundant));
    state.isDirectoryDirty = false;
  }
  if (state.freed.length === 0) return;
  await file.flush();
  for (const at of state.freed) if (at + state.grainBytes <= file.sizeBytes) await file.discard?.(at, state.grainBytes);
  state.freed = [];
}

function bytesOfView(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Tables and grains outside the file, and grains that two entries share. */
async function check(state: State, result: CheckResult, diskOffset: number): Promise<void> {
  const { directory, header, grainBytes, file, isCompressed } = state;
  const seen = new Uint8Array(Math.ceil(Math.min(file.sizeBytes, SECTORS_MAX * SECTOR_BYTES) / grainBytes / 8) + 1);
  for (let index = 0; index * 4 < directory.byteLength; index += 1) {
    const first = index * header.entriesPerTable;
    try {
      const table = await tableAt(state, index);
      for (let i = 0; table !== undefined && i < header.entriesPerTable; i += 1) {
        const start = (first + i) * grainBytes;
        const entry = table.view.getUint32(i * 4, true);
        if (start >= state.sizeBytes) break;
        if (entry === ENTRY.hole || (state.hasZeroGrains && entry === ENTRY.zero)) continue;
        const sector = (diskOffset + start) / SECTOR_BYTES;
        try {
          const at = placeOf(state, entry);
          const slot = Math.floor(at / grainBytes);
          if (!isCompressed && (seen[slot >> 3] & (1 << (slot & 7))) !== 0) {
            addCorruption(result, `ERROR: the grain of sector ${sector}, at ${at}, is used twice`);
          }
          seen[slot >> 3] |= 1 << (slot & 7);
        } catch (error) {
          addCorruption(result, `ERROR: sector ${sector}: ${error instanceof Error ? error.message : error}`);
        }
      }
    } catch (error) {
      addCorruption(result, `ERROR: grain table ${index}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
