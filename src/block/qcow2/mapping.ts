/** L1 and L2 tables: where the disk's bytes are (docs/interop/qcow2.txt, "Cluster mapping"). */
import type { CompressionKind } from '../compression.ts';
import { compressionOf, LIMITS } from './header.ts';
import { corrupt, hasDataFile, type Image } from './image.ts';
import type { Page } from './metadata-cache.ts';

/** What a subcluster (a whole cluster, unless L2 entries are extended) is. */
export const KIND = {
  /** Comes from the backing file, or is zeros without one. */
  unallocated: 0,
  /** Like `unallocated`, but its cluster has a place in the file already. */
  reserved: 1,
  zero: 2,
  zeroAllocated: 3,
  normal: 4,
  compressed: 5,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** An L2 entry, taken apart. */
export interface Entry {
  /** Where the cluster lies, or 0. For a compressed one, where its data begins. */
  readonly host: number;
  readonly compressed: boolean;
  /** Only this entry refers to the cluster, so it may be written in place. */
  readonly copied: boolean;
  /** The whole cluster reads as zeros (without extended entries). */
  readonly zero: boolean;
  /** Bytes of compressed data, rounded up to sectors. */
  readonly compressedBytes: number;
  /** A bit for each subcluster (extended entries). */
  readonly allocBits: number;
  readonly zeroBits: number;
}

const EMPTY: Entry = {
  host: 0,
  compressed: false,
  copied: false,
  zero: false,
  compressedBytes: 0,
  allocBits: 0,
  zeroBits: 0,
};

/** A run of subclusters of one kind; `normal` and `zeroAllocated` ones neighbour each other in the file too. */
export interface Run {
  readonly kind: Kind;
  readonly length: number;
  /** Where the run's first byte lies, for kinds that have a place. */
  readonly host: number;
  readonly copied: boolean;
  /** Set for `compressed`; the run ends with the cluster. */
  readonly entry?: Entry;
}

const TWO_32 = 2 ** 32;
const COPIED_HIGH = 0x80000000;
/** In the upper half of an entry. */
export const COMPRESSED_HIGH = 0x40000000;

export function decodeEntry(image: Image, view: DataView, at: number): Entry {
  const { geometry, header } = image;
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  if (high === 0 && low === 0 && geometry.l2EntryBytes === 8) return EMPTY;
  const isExtended = geometry.l2EntryBytes === 16;
  if ((high & COMPRESSED_HIGH) !== 0) {
    const offsetBits = 62 - (header.clusterBits - 8);
    const host = (high & (2 ** (offsetBits - 32) - 1)) * TWO_32 + low;
    const sectors = (high & 0x3fffffff) >>> (offsetBits - 32);
    return { ...EMPTY, compressed: true, host, compressedBytes: (sectors + 1) * 512 - (host % 512) };
  }
  return {
    host: (high & 0x00ffffff) * TWO_32 + ((low & 0xfffffe00) >>> 0),
    compressed: false,
    copied: high >>> 31 === 1,
    zero: !isExtended && header.version >= 3 && (low & 1) !== 0,
    compressedBytes: 0,
    zeroBits: isExtended ? view.getUint32(at + 8) : 0,
    allocBits: isExtended ? view.getUint32(at + 12) : 0,
  };
}

function encodeEntry(image: Image, view: DataView, at: number, entry: Entry): void {
  let high: number;
  let low = entry.host % TWO_32;
  if (entry.compressed) {
    const offsetBits = 62 - (image.header.clusterBits - 8);
    const sectors = Math.ceil(((entry.host % 512) + entry.compressedBytes) / 512) - 1;
    high = (COMPRESSED_HIGH | (sectors << (offsetBits - 32)) | Math.floor(entry.host / TWO_32)) >>> 0;
  } else {
    high = (Math.floor(entry.host / TWO_32) | (entry.copied ? COPIED_HIGH : 0)) >>> 0;
    if (entry.zero) low += 1;
  }
  view.setUint32(at, high);
  view.setUint32(at + 4, low);
  if (image.geometry.l2EntryBytes === 16) {
    view.setUint32(at + 8, entry.zeroBits);
    view.setUint32(at + 12, entry.allocBits);
  }
}

export function kindOf(image: Image, entry: Entry, subcluster: number): Kind {
  if (entry.compressed) return KIND.compressed;
  const hasPlace = entry.host !== 0 || (entry.copied && hasDataFile(image));
  if (image.geometry.subclusters === 1) {
    if (entry.zero) return hasPlace ? KIND.zeroAllocated : KIND.zero;
    return hasPlace ? KIND.normal : KIND.unallocated;
  }
  if (((entry.zeroBits >>> subcluster) & 1) !== 0) return hasPlace ? KIND.zeroAllocated : KIND.zero;
  if (!hasPlace) return KIND.unallocated;
  return ((entry.allocBits >>> subcluster) & 1) !== 0 ? KIND.normal : KIND.reserved;
}

/** The L2 entry of a disk offset: its page, and where in it. Undefined where there is no L2 table. */
async function locate(image: Image, offset: number): Promise<{ page: Page; at: number } | undefined> {
  const { geometry, l1, l2 } = image;
  const table = l1.tables[Math.floor(offset / geometry.l2Coverage)];
  if (table === 0) return undefined;
  const byte = Math.floor((offset % geometry.l2Coverage) / geometry.clusterBytes) * geometry.l2EntryBytes;
  const at = byte % l2.pageBytes;
  const found = l2.get(table + byte - at);
  return { page: found instanceof Promise ? await found : found, at };
}

/** What is wrong with an entry, if anything. */
function faultOf(image: Image, entry: Entry, offset: number): string | undefined {
  const { clusterBytes } = image.geometry;
  if (entry.compressed) {
    if (entry.host + entry.compressedBytes > LIMITS.offset) return `disk offset ${offset} lies too far`;
    if (hasDataFile(image)) return `disk offset ${offset} is compressed, beside an external data file`;
  } else if (entry.host % clusterBytes !== 0 || entry.host > LIMITS.offset - clusterBytes) {
    return `disk offset ${offset} lies at 0x${entry.host.toString(16)}, which is no cluster`;
  } else if ((entry.allocBits & entry.zeroBits) !== 0) {
    return `disk offset ${offset} has subclusters that are both stored and zeros`;
  }
  return undefined;
}

async function checkEntry(image: Image, entry: Entry, offset: number): Promise<void> {
  const fault = faultOf(image, entry, offset);
  if (fault !== undefined) await corrupt(image, fault);
}

function absentRun({ geometry }: Image, offset: number, length: number): Run {
  const rest = geometry.l2Coverage - (offset % geometry.l2Coverage);
  return { kind: KIND.unallocated, length: Math.min(length, rest), host: 0, copied: false };
}

/** What is at `offset`, and for how many of the next `length` bytes the same holds. */
export async function lookup(image: Image, offset: number, length: number): Promise<Run> {
  const found = await locate(image, offset);
  if (found === undefined) return absentRun(image, offset, length);
  const entry = decodeEntry(image, found.page.view, found.at);
  if (entry.host !== 0) await checkEntry(image, entry, offset);
  return runAt(image, found.page, found.at, entry, offset, length);
}

/** The same without waiting: undefined where the table must be read first, or is wrong. */
export function lookupCached(image: Image, offset: number, length: number): Run | undefined {
  const { geometry, l1, l2 } = image;
  const table = l1.tables[Math.floor(offset / geometry.l2Coverage)];
  if (table === 0) return absentRun(image, offset, length);
  const byte = Math.floor((offset % geometry.l2Coverage) / geometry.clusterBytes) * geometry.l2EntryBytes;
  const at = byte % l2.pageBytes;
  const page = l2.peek(table + byte - at);
  if (page === undefined) return undefined;
  const entry = decodeEntry(image, page.view, at);
  if (entry.host !== 0 && faultOf(image, entry, offset) !== undefined) return undefined;
  return runAt(image, page, at, entry, offset, length);
}

/** The run that begins with `first`, the entry at `from` of a page. */
function runAt(image: Image, page: Page, from: number, first: Entry, offset: number, length: number): Run {
  const { geometry } = image;
  const { clusterBytes, subclusterBytes } = geometry;
  const inCluster = offset % clusterBytes;
  let at = from;
  let entry = first;
  let subcluster = Math.floor(inCluster / subclusterBytes);
  const kind = kindOf(image, entry, subcluster);
  if (kind === KIND.compressed) {
    return { kind, length: Math.min(length, clusterBytes - inCluster), host: entry.host, copied: false, entry };
  }
  const hasPlace = kind === KIND.normal || kind === KIND.zeroAllocated || kind === KIND.reserved;
  let end = (subcluster + 1) * subclusterBytes;
  for (let clusters = 0; end < inCluster + length; end += subclusterBytes) {
    subcluster += 1;
    if (subcluster === geometry.subclusters) {
      subcluster = 0;
      clusters += 1;
      at += geometry.l2EntryBytes;
      if (at === page.bytes.length) break;
      entry = decodeEntry(image, page.view, at);
      if (hasPlace && (entry.host !== first.host + clusters * clusterBytes || entry.copied !== first.copied)) break;
    }
    if (kindOf(image, entry, subcluster) !== kind) break;
  }
  return {
    kind,
    length: Math.min(length, end - inCluster),
    host: hasPlace ? first.host + inCluster : 0,
    copied: first.copied,
  };
}

/** The entry of the cluster that `offset` is in. */
export async function entryAt(image: Image, offset: number): Promise<Entry> {
  const found = await locate(image, offset);
  if (found === undefined) return EMPTY;
  const entry = decodeEntry(image, found.page.view, found.at);
  if (entry.host !== 0) await checkEntry(image, entry, offset);
  return entry;
}

/**
 * Looks at the entries of clusters from `offset` on, at most `count` and no further than the page they are in;
 * stops before the first for which `stops` holds.
 */
export async function entriesAt(
  image: Image,
  offset: number,
  count: number,
  stops: (entry: Entry) => boolean,
): Promise<{ readonly count: number; readonly stopped: boolean }> {
  const { clusterBytes, l2EntryBytes } = image.geometry;
  const found = await locate(image, offset);
  if (found === undefined) return { count, stopped: stops(EMPTY) };
  const { page, at } = found;
  const last = Math.min(count, (page.bytes.length - at) / l2EntryBytes);
  for (let i = 0; i < last; i += 1) {
    const entry = decodeEntry(image, page.view, at + i * l2EntryBytes);
    if (entry.host !== 0) await checkEntry(image, entry, offset + i * clusterBytes);
    if (stops(entry)) return { count: i, stopped: true };
  }
  return { count: last, stopped: false };
}

/** Where the compressed data of an entry lies and how it is packed. */
export function compressedSpan(image: Image, entry: Entry): { offset: number; length: number; kind: CompressionKind } {
  return { offset: entry.host, length: entry.compressedBytes, kind: compressionOf(image.header) };
}

/** Gives the L1 entry of `offset` an L2 table that may be changed in place. */
export async function makeTableWritable(image: Image, offset: number): Promise<void> {
  const { geometry, l1, l2, refcounts } = image;
  const index = Math.floor(offset / geometry.l2Coverage);
  const old = l1.tables[index];
  if (old !== 0 && l1.copied[index]) return;
  const { clusterBytes } = geometry;
  const { first } = await refcounts.allocate(1);
  const host = first * clusterBytes;
  l2.drop(host, clusterBytes);
  for (let at = 0; at < clusterBytes; at += l2.pageBytes) {
    const source = old === 0 ? undefined : (await l2.get(old + at)).bytes.slice();
    l2.clear(host + at, l2.pageBytes);
    if (source !== undefined) {
      const page = await l2.get(host + at);
      page.bytes.set(source);
      l2.markDirty(page);
    }
  }
  l1.tables[index] = host;
  l1.copied[index] = true;
  l1.dirty.add(index);
  if (old !== 0) refcounts.free(old / clusterBytes, 1);
}

/** Replaces the entry of one cluster, in an L2 table that is writable, and gives up what it referred to before. */
export async function replaceEntry(image: Image, offset: number, entry: Entry): Promise<void> {
  const { page, at } = (await locate(image, offset))!;
  const old = decodeEntry(image, page.view, at);
  encodeEntry(image, page.view, at, entry);
  image.l2.markDirty(page);
  if (old.host !== entry.host || old.compressed !== entry.compressed) release(image, old);
}

/** Makes `count` entries, in one L2 table that is writable, those of whole clusters that lie from `host` on. */
export async function setDataRun(image: Image, offset: number, host: number, count: number): Promise<void> {
  const { clusterBytes, l2EntryBytes } = image.geometry;
  for (let i = 0; i < count; ) {
    const { page, at } = (await locate(image, offset + i * clusterBytes))!;
    for (let place = at; place < page.bytes.length && i < count; place += l2EntryBytes, i += 1) {
      const old = decodeEntry(image, page.view, place);
      const entry = dataEntry(image, host + i * clusterBytes);
      encodeEntry(image, page.view, place, entry);
      if (old.host !== entry.host || old.compressed) release(image, old);
    }
    image.l2.markDirty(page);
  }
}

/** Takes an entry's reference to its clusters away. */
export function release(image: Image, entry: Entry): void {
  const span = clustersOf(image, entry);
  if (span !== undefined) image.refcounts.free(span.first, span.count);
}

/** The clusters that an entry refers to, where they are counted. */
export function clustersOf(image: Image, entry: Entry): { first: number; count: number } | undefined {
  const { clusterBytes } = image.geometry;
  if (entry.host === 0 || (hasDataFile(image) && !entry.compressed)) return undefined;
  const first = Math.floor(entry.host / clusterBytes);
  if (!entry.compressed) return { first, count: 1 };
  const last = Math.floor((entry.host + entry.compressedBytes - 1) / clusterBytes);
  return { first, count: last - first + 1 };
}

const ALL_BITS = 0xffffffff;

/** An entry for a cluster that is stored whole. */
export function dataEntry(image: Image, host: number): Entry {
  return { ...EMPTY, host, copied: true, allocBits: image.geometry.subclusters === 32 ? ALL_BITS : 0 };
}

export function compressedEntry(host: number, compressedBytes: number): Entry {
  return { ...EMPTY, host, compressed: true, compressedBytes };
}

/** An entry for a cluster of zeros; it keeps its place when it has one to keep. */
export function zeroEntry(image: Image, place: { host: number; copied: boolean } | undefined): Entry {
  const isExtended = image.geometry.subclusters === 32;
  const base = { ...EMPTY, host: place?.host ?? 0, copied: place?.copied ?? false };
  return isExtended ? { ...base, zeroBits: ALL_BITS } : { ...base, zero: true };
}

export const EMPTY_ENTRY: Entry = EMPTY;

/** Puts an entry at `at` in a page, and leaves what the old one referred to alone. */
export function putEntry(image: Image, page: Page, at: number, entry: Entry): void {
  encodeEntry(image, page.view, at, entry);
  image.l2.markDirty(page);
}

/** Changes the "copied" flag of the entry at `at` in a page. */
export function setCopied(image: Image, page: Page, at: number, copied: boolean): void {
  encodeEntry(image, page.view, at, { ...decodeEntry(image, page.view, at), copied });
  image.l2.markDirty(page);
}
