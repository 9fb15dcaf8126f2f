/**
 * Reference counts of clusters, and the allocator that they make
 * (docs/interop/qcow2.txt, "Host cluster management").
 *
 * Counts go down only in `applyFrees`, after everything that no longer refers
 * to the clusters is on disk, so a cluster is never used anew too early.
 */
import { IoError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { u32be, u64be, viewOf } from '../layout.ts';
import { headerFieldOffsets, LIMITS, type Qcow2Header } from './header.ts';
import { cacheFor } from './image.ts';
import type { Page } from './metadata-cache.ts';

export interface Refcounts {
  readonly maxCount: number;
  /** Host offsets of the refcount blocks, 0 where there is none. */
  readonly table: readonly number[];
  readonly dirtyCount: number;
  readonly pendingFrees: number;
  get(cluster: number): Promise<number>;
  /** Visits the counts of all clusters below `end`; `visit` must not change any. */
  each(end: number, visit: (cluster: number, count: number) => void): Promise<void>;
  /** Adds 1 to the counts of clusters [first, first + count). */
  increment(first: number, count: number): Promise<void>;
  /** Finds `count` neighbouring free clusters, or with `atLeast` between that and `count`; their counts become 1. */
  allocate(count: number, atLeast?: number): Promise<{ first: number; count: number }>;
  /** Takes 1 from the counts at the next `applyFrees`. */
  free(first: number, count: number): void;
  writeDirty(): Promise<void>;
  applyFrees(): Promise<void>;
  /** Sets a count to any value, for repairs. */
  set(cluster: number, value: number): Promise<void>;
  /** Forgets all that is known of counts and goes on with a table that was written elsewhere, as wide as the header says. */
  replaceTable(table: number[]): void;
  /** Called with each cluster whose count became 0. */
  onFreed: (cluster: number) => void;
}

export interface RefcountsOptions {
  readonly name: string;
  readonly file: BlockNode;
  readonly header: Qcow2Header;
  /** True when a cluster holds metadata in use; a free cluster must not. */
  readonly isMetadata: (cluster: number) => boolean;
  readonly onCorrupt: (what: string) => Promise<never>;
}

/** Reads the refcount table; `forRepair`, one that lies beyond the end of the file is empty. */
export async function readRefcountTable(
  file: BlockNode,
  header: Qcow2Header,
  name: string,
  forRepair: boolean,
): Promise<number[]> {
  const clusterBytes = 2 ** header.clusterBits;
  const bytes = new Uint8Array(header.refcountTableClusters * clusterBytes);
  if (header.refcountTableOffset + bytes.length > file.sizeBytes) {
    if (forRepair) return new Array(bytes.length / 8).fill(0);
    throw new IoError('io', `${name}: the refcount table reaches beyond the end of the file`);
  }
  await file.read(header.refcountTableOffset, bytes);
  const view = viewOf(bytes);
  return Array.from({ length: bytes.length / 8 }, (_, i) => u64be.get(view, i * 8));
}

/** Reads and writes the count with `index` in a block of counts 2^order bits wide. */
export function countCodec(order: number): {
  get(view: DataView, index: number): number;
  put(view: DataView, index: number, value: number): void;
} {
  if (order === 4) return { get: (v, i) => v.getUint16(i * 2), put: (v, i, value) => v.setUint16(i * 2, value) };
  if (order === 5) return { get: (v, i) => v.getUint32(i * 4), put: (v, i, value) => v.setUint32(i * 4, value) };
  if (order === 6) return { get: (v, i) => u64be.get(v, i * 8), put: (v, i, value) => u64be.put(v, i * 8, value) };
  const bits = 2 ** order;
  const mask = 2 ** bits - 1;
  const perByte = 8 / bits;
  return {
    get: (v, i) => (v.getUint8(Math.floor(i / perByte)) >> ((i % perByte) * bits)) & mask,
    put(v, i, value) {
      const at = Math.floor(i / perByte);
      const shift = (i % perByte) * bits;
      v.setUint8(at, (v.getUint8(at) & ~(mask << shift)) | (value << shift));
    },
  };
}

export function maxCountOf(order: number): number {
  return order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (2 ** order) - 1;
}

export function openRefcounts(initialTable: number[], options: RefcountsOptions): Refcounts {
  const { file, header, name, isMetadata, onCorrupt } = options;
  const clusterBytes = 2 ** header.clusterBits;
  let cache = cacheFor(file, clusterBytes);
  let { codec, maxCount, perBlock, perPage } = shapeOf(header.refcountOrder);
  let table = initialTable;
  const dirtyTable = new Set<number>();
  let frees: { readonly first: number; count: number }[] = [];
  /** No cluster below it is free. */
  let firstFree = 0;

  function shapeOf(order: number) {
    const bits = 2 ** order;
    const perBlock = (clusterBytes * 8) / bits;
    return { codec: countCodec(order), maxCount: maxCountOf(order), perBlock, perPage: (cache.pageBytes * 8) / bits };
  }

  const pageOf = (cluster: number): Page | Promise<Page> | undefined => {
    const block = table[Math.floor(cluster / perBlock)] ?? 0;
    if (block === 0) return undefined;
    if (block % clusterBytes !== 0 || block > LIMITS.offset - clusterBytes) {
      return onCorrupt(`refcount block at 0x${block.toString(16)} is not at a cluster's offset`);
    }
    return cache.get(block + Math.floor((cluster % perBlock) / perPage) * cache.pageBytes);
  };

  const get = async (cluster: number) => {
    const page = await pageOf(cluster);
    return page === undefined ? 0 : codec.get(page.view, cluster % perPage);
  };

  const each = async (end: number, visit: (cluster: number, count: number) => void) => {
    for (let first = 0; first < end; first += perPage) {
      const page = await pageOf(first);
      const last = Math.min(end, first + perPage);
      for (let cluster = first; cluster < last; cluster += 1) {
        visit(cluster, page === undefined ? 0 : codec.get(page.view, cluster - first));
      }
    }
  };

  const set = async (cluster: number, value: number) => {
    let page = await pageOf(cluster);
    if (page === undefined) {
      await addBlocks(Math.floor(cluster / perBlock), 1);
      page = (await pageOf(cluster))!;
    }
    codec.put(page.view, cluster % perPage, value);
    cache.markDirty(page);
    if (value === 0) {
      firstFree = Math.min(firstFree, cluster);
      refcounts.onFreed(cluster);
    }
  };

  /** Sets the counts of free clusters, all of them in blocks that are there, to 1. */
  const fill = async (first: number, count: number) => {
    for (let cluster = first; cluster < first + count; ) {
      const page = (await pageOf(cluster))!;
      const end = Math.min(first + count, cluster - (cluster % perPage) + perPage);
      for (; cluster < end; cluster += 1) codec.put(page.view, cluster % perPage, 1);
      cache.markDirty(page);
    }
  };

  const change = async (first: number, count: number, delta: 1 | -1) => {
    for (let cluster = first; cluster < first + count; cluster += 1) {
      const value = (await get(cluster)) + delta;
      if (value < 0) await onCorrupt(`cluster ${cluster} is freed but was not in use`);
      if (value > maxCount) {
        throw new IoError('io', `${name}: cluster ${cluster} would have more than ${maxCount} references`);
      }
      await set(cluster, value);
    }
  };

  /** Makes empty refcount blocks for ranges that have none; they lie at the beginning of what they describe. */
  const addBlocks = async (block: number, count: number) => {
    if (block + count > table.length) await growTable(block + count);
    const first = block * perBlock;
    const missing = Array.from({ length: count }, (_, i) => i).filter((i) => table[block + i] === 0);
    for (const i of missing) await placeBlock(block + i, first + i);
    for (const i of missing) await set(first + i, 1);
  };

  const placeBlock = async (block: number, cluster: number) => {
    if (isMetadata(cluster)) await onCorrupt(`cluster ${cluster} holds metadata but has no refcount block`);
    reserveSpace(cluster, 1);
    cache.clear(cluster * clusterBytes, clusterBytes);
    table[block] = cluster * clusterBytes;
    dirtyTable.add(block);
  };

  const reserveSpace = (first: number, count: number) => {
    const end = (first + count) * clusterBytes;
    if (end > LIMITS.offset || (file.resize === undefined && end > file.sizeBytes)) {
      throw new IoError('no-space', `${name}: no space left for another ${count * clusterBytes} bytes`);
    }
  };

  /** Moves the refcount table to where nothing is described yet, larger. */
  const growTable = async (needed: number) => {
    const block = table.length;
    const perCluster = clusterBytes / 8;
    const clusters = Math.ceil(Math.max(needed + 2, table.length * 1.5) / perCluster);
    let blocks = 1;
    while (blocks * perBlock < blocks + clusters) blocks += 1;
    const tableClusters = Math.max(clusters, Math.ceil((block + blocks + 1) / perCluster));
    if (tableClusters * clusterBytes > LIMITS.refcountTableBytes) {
      throw new IoError(
        'no-space',
        `${name}: the refcount table would be larger than ${LIMITS.refcountTableBytes} bytes`,
      );
    }
    const old = { first: header.refcountTableOffset / clusterBytes, count: header.refcountTableClusters };
    const grown = [...table, ...new Array(tableClusters * perCluster - table.length).fill(0)];
    const first = block * perBlock;
    reserveSpace(first, blocks + tableClusters);
    table = grown;
    for (let i = 0; i < blocks; i += 1) await placeBlock(block + i, first + i);
    for (let i = 0; i < blocks + tableClusters; i += 1) await set(first + i, 1);
    await cache.writeDirty();
    const bytes = new Uint8Array(tableClusters * clusterBytes);
    const view = viewOf(bytes);
    for (const [i, offset] of table.entries()) u64be.put(view, i * 8, offset);
    const offset = (first + blocks) * clusterBytes;
    await file.write(offset, bytes);
    await file.flush();
    dirtyTable.clear();
    const field = new Uint8Array(12);
    u64be.put(viewOf(field), 0, offset);
    u32be.put(viewOf(field), 8, tableClusters);
    await file.write(headerFieldOffsets.refcountTable, field);
    await file.flush();
    Object.assign(header, { refcountTableOffset: offset, refcountTableClusters: tableClusters });
    frees.push(old);
  };

  const allocate = async (count: number, atLeast = count) => {
    let first = firstFree;
    let length = 0;
    for (let cluster = firstFree; ; ) {
      const page = await pageOf(cluster);
      if (page === undefined) {
        if (length >= atLeast) break;
        // A block at the beginning of a range takes its first cluster, so a run cannot go on into it.
        length = 0;
        const block = Math.floor(cluster / perBlock);
        await addBlocks(block, missingBlocks(block, Math.ceil((count + 2) / (perBlock - 1))));
        continue;
      }
      const pageEnd = cluster - (cluster % perPage) + perPage;
      for (; cluster < pageEnd && length < count; cluster += 1) {
        if (codec.get(page.view, cluster % perPage) === 0) {
          if (length === 0) first = cluster;
          length += 1;
        } else if (length >= atLeast) break;
        else length = 0;
      }
      if (length >= count || (length >= atLeast && cluster < pageEnd)) break;
    }
    for (let cluster = first; cluster < first + length; cluster += 1) {
      if (isMetadata(cluster)) await onCorrupt(`cluster ${cluster} counts as free but holds metadata`);
    }
    reserveSpace(first, length);
    await fill(first, length);
    if (first === firstFree || atLeast === 1) firstFree = first + length;
    return { first, count: length };
  };

  /** How many blocks, at most `wanted`, are missing from `block` on. */
  const missingBlocks = (block: number, wanted: number) => {
    let count = 1;
    while (count < wanted && (table[block + count] ?? 0) === 0) count += 1;
    return count;
  };

  const refcounts: Refcounts = {
    get maxCount() {
      return maxCount;
    },
    get table() {
      return table;
    },
    get dirtyCount() {
      return cache.dirtyCount;
    },
    get pendingFrees() {
      return frees.length;
    },
    get,
    each,
    set,
    increment: (first, count) => change(first, count, 1),
    allocate,
    free(first, count) {
      const last = frees.at(-1);
      if (last !== undefined && last.first + last.count === first) last.count += count;
      else frees.push({ first, count });
    },
    async writeDirty() {
      if (cache.dirtyCount > 0) await cache.writeDirty();
      if (dirtyTable.size === 0) return;
      await file.flush();
      for (const index of dirtyTable) {
        const bytes = new Uint8Array(8);
        u64be.put(viewOf(bytes), 0, table[index]);
        await file.write(header.refcountTableOffset + index * 8, bytes);
      }
      dirtyTable.clear();
    },
    replaceTable(written) {
      table = written;
      ({ codec, maxCount, perBlock, perPage } = shapeOf(header.refcountOrder));
      cache = cacheFor(file, clusterBytes);
      dirtyTable.clear();
      frees = [];
      firstFree = 0;
    },
    async applyFrees() {
      const batch = frees;
      frees = [];
      for (const { first, count } of batch) await change(first, count, -1);
    },
    onFreed() {},
  };
  return refcounts;
}
