/** The state of an open qcow2 image, shared by the files of this folder. */
import { IoError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Compression } from '../compression.ts';
import { u32be, u64be } from '../layout.ts';
import type { RwLock } from '../lock.ts';
import type { Bitmap } from './bitmaps.ts';
import type { Encryption } from './data.ts';
import { COMPATIBLE, INCOMPATIBLE, LIMITS, type Qcow2Header } from './header.ts';
import { type MetadataCache, metadataCache } from './metadata-cache.ts';
import type { Refcounts } from './refcounts.ts';
import type { StoredSnapshot } from './snapshots.ts';

/** Sizes that follow from the header and never change. */
export interface Geometry {
  readonly clusterBytes: number;
  readonly l2EntryBytes: 8 | 16;
  /** L2 entries in a table, which is one cluster. */
  readonly l2Entries: number;
  readonly subclusters: 1 | 32;
  readonly subclusterBytes: number;
  /** Disk bytes that one L2 table stands for. */
  readonly l2Coverage: number;
}

/** An L1 table: where each L2 table is (0: none), and whether this table alone refers to it. */
export interface L1Table {
  offset: number;
  readonly tables: number[];
  readonly copied: boolean[];
  /** Entries that differ from the file. */
  readonly dirty: Set<number>;
}

export interface Image {
  readonly name: string;
  readonly file: BlockNode;
  /** Where guest data lies: `file`, or the external data file. */
  readonly dataFile: BlockNode;
  readonly backing: BlockNode | undefined;
  readonly readOnly: boolean;
  readonly header: Qcow2Header;
  readonly geometry: Geometry;
  readonly compression: Compression | undefined;
  readonly encryption: Encryption | undefined;
  readonly lock: RwLock;
  readonly l2: MetadataCache;
  readonly refcounts: Refcounts;
  readonly snapshots: StoredSnapshot[];
  readonly bitmaps: Bitmap[];
  l1: L1Table;
  /** Size of the disk; the header's, or that of the snapshot being read. */
  sizeBytes: number;
  /** Set once the bitmaps were marked as in use and loaded. */
  bitmapsLoaded?: Promise<void>;
  /** The mark of lazy reference counts is ours, and not what a crash left. */
  isDirtyByUs?: boolean;
  /** Buffers that packed clusters were read into, to be used again. */
  readonly scratch: Uint8Array[];
  /** A cluster that is written in part is put together here, under the lock. */
  partBuffer?: Uint8Array;
  /** Where the next compressed cluster goes, or 0. */
  compressedEnd: number;
}

export const CACHE_BYTES = 16 * 2 ** 20;
const PAGE_BYTES_MAX = 16 * 1024;

export function geometryOf(header: Qcow2Header): Geometry {
  const clusterBytes = 2 ** header.clusterBits;
  const isExtended = (header.incompatible & INCOMPATIBLE.extendedL2) !== 0n;
  const l2EntryBytes = isExtended ? 16 : 8;
  const l2Entries = clusterBytes / l2EntryBytes;
  const subclusters = isExtended ? 32 : 1;
  return {
    clusterBytes,
    l2EntryBytes,
    l2Entries,
    subclusters,
    subclusterBytes: clusterBytes / subclusters,
    l2Coverage: l2Entries * clusterBytes,
  };
}

export function cacheFor(file: BlockNode, clusterBytes: number): MetadataCache {
  const pageBytes = Math.min(clusterBytes, PAGE_BYTES_MAX);
  return metadataCache(file, pageBytes, Math.floor(CACHE_BYTES / pageBytes));
}

export function hasDataFile(image: Image): boolean {
  return image.dataFile !== image.file;
}

/** Says that the image's own tables make no sense, and marks it, so that nobody writes to it before a repair. */
export async function corrupt(image: Image, what: string): Promise<never> {
  if (!image.readOnly && image.header.version >= 3 && (image.header.incompatible & INCOMPATIBLE.corrupt) === 0n) {
    image.header.incompatible |= INCOMPATIBLE.corrupt;
    await writeFlags(image);
  }
  throw new IoError('io', `${image.name}: the image is corrupt: ${what}; check it with vireo-img check`);
}

const FLAGS_OFFSET = 72;

/** Writes the three feature fields in place. */
export async function writeFlags(image: Image): Promise<void> {
  const { incompatible, compatible, autoclear } = image.header;
  const view = new DataView(new ArrayBuffer(24));
  for (const [i, flags] of [incompatible, compatible, autoclear].entries()) view.setBigUint64(i * 8, flags);
  await image.file.write(FLAGS_OFFSET, new Uint8Array(view.buffer));
  await image.file.flush();
}

/** Reads an L1 table. `entries` was checked against the limits. */
export async function readL1(
  image: Pick<Image, 'file' | 'name'>,
  offset: number,
  entries: number,
  clusterBytes: number,
) {
  const bytes = new Uint8Array(entries * 8);
  if (offset + bytes.length > image.file.sizeBytes) {
    throw new IoError('io', `${image.name}: the L1 table reaches beyond the end of the file`);
  }
  await image.file.read(offset, bytes);
  const view = new DataView(bytes.buffer);
  const table: L1Table = { offset, tables: [], copied: [], dirty: new Set() };
  for (let i = 0; i < entries; i += 1) {
    const high = view.getUint32(i * 8);
    const tableOffset = (high & 0x00ffffff) * 2 ** 32 + ((view.getUint32(i * 8 + 4) & 0xfffffe00) >>> 0);
    if (tableOffset % clusterBytes !== 0 || tableOffset > LIMITS.offset - clusterBytes) {
      throw new IoError('io', `${image.name}: L1 entry ${i} is no cluster's offset: 0x${tableOffset.toString(16)}`);
    }
    table.tables.push(tableOffset);
    table.copied.push(high >>> 31 === 1);
  }
  return table;
}

export function encodeL1(table: Pick<L1Table, 'tables' | 'copied'>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(table.tables.length * 8);
  const view = new DataView(bytes.buffer);
  table.tables.forEach((offset, i) => {
    u64be.put(view, i * 8, offset);
    if (table.copied[i]) u32be.put(view, i * 8, (u32be.get(view, i * 8) | 0x80000000) >>> 0);
  });
  return bytes;
}

/**
 * Brings all changed metadata to the file in an order that leaves a sound image
 * at every moment (leaked clusters at most): counts up before what uses them,
 * data and tables before what points to them, counts down last.
 */
export async function commit(image: Image, counts: 'now' | 'later' = 'now'): Promise<void> {
  const { file, l2, l1, refcounts } = image;
  if (counts === 'now') await refcounts.writeDirty();
  if (l2.dirtyCount > 0 || l1.dirty.size > 0) {
    await barrier(image);
    await l2.writeDirty();
  }
  if (l1.dirty.size > 0) {
    await file.flush();
    for (const [from, to] of runsOf(l1.dirty)) {
      const part = encodeL1({ tables: l1.tables.slice(from, to), copied: l1.copied.slice(from, to) });
      await file.write(l1.offset + from * 8, part);
    }
    l1.dirty.clear();
  }
  await barrier(image);
  await refcounts.applyFrees();
}

/**
 * The same, for writes to the disk: with lazy reference counts these stay in memory, and the image is marked as
 * dirty until it is closed. Whoever opens one that was not closed counts everything again.
 */
export async function commitDisk(image: Image): Promise<void> {
  const { header, refcounts, l2, l1 } = image;
  if ((header.compatible & COMPATIBLE.lazyRefcounts) === 0n) return commit(image);
  const isChanged = refcounts.dirtyCount > 0 || l2.dirtyCount > 0 || l1.dirty.size > 0;
  if (isChanged && (header.incompatible & INCOMPATIBLE.dirty) === 0n) {
    header.incompatible |= INCOMPATIBLE.dirty;
    await writeFlags(image);
    image.isDirtyByUs = true;
  }
  const isMuch = refcounts.dirtyCount * l2.pageBytes > DIRTY_BYTES_MAX / 2;
  await commit(image, isMuch ? 'now' : 'later');
}

/** Brings everything to the file, and takes the mark of \`commitDisk\` away. */
export async function settle(image: Image): Promise<void> {
  await commit(image);
  // Counts that went down after the last barrier.
  if (image.refcounts.dirtyCount > 0) await commit(image);
  if (image.isDirtyByUs !== true) return;
  image.header.incompatible &= ~INCOMPATIBLE.dirty;
  await writeFlags(image);
  image.isDirtyByUs = false;
}

async function barrier(image: Image): Promise<void> {
  if (hasDataFile(image)) await image.dataFile.flush();
  await image.file.flush();
}

function runsOf(indices: Iterable<number>): [from: number, to: number][] {
  const runs: [number, number][] = [];
  for (const index of [...indices].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === index) last[1] = index + 1;
    else runs.push([index, index + 1]);
  }
  return runs;
}

const DIRTY_BYTES_MAX = CACHE_BYTES / 4;
const FREES_MAX = 4096;

/** Commits when much has gathered, so that memory stays bounded. Call it where every table is consistent. */
export async function commitWhenFull(image: Image): Promise<void> {
  const { l2, refcounts } = image;
  const dirtyBytes = (l2.dirtyCount + refcounts.dirtyCount) * l2.pageBytes;
  if (dirtyBytes > DIRTY_BYTES_MAX || refcounts.pendingFrees > FREES_MAX) await commitDisk(image);
}
