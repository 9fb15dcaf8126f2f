/** Pages of metadata (L2 tables, refcount blocks) in memory; changed ones stay until they are written. */
import type { BlockNode } from '../../contract/index.ts';
import { viewOf } from '../layout.ts';
import { readPadded } from '../request.ts';

export interface Page {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  dirty: boolean;
}

export interface MetadataCache {
  readonly pageBytes: number;
  readonly dirtyCount: number;
  /** The page that begins at `offset`, a multiple of `pageBytes`; not a promise when it is here already. */
  get(offset: number): Page | Promise<Page>;
  /** The same when it is here, else undefined. */
  peek(offset: number): Page | undefined;
  /** Copies [offset, offset + target.length), both multiples of `pageBytes`, as it is now, and keeps nothing. */
  copy(offset: number, target: Uint8Array): Promise<void>;
  /** Puts zeros at [offset, offset + length) without reading what is there; they are dirty. */
  clear(offset: number, length: number): void;
  /** Forgets pages, changed or not. */
  drop(offset: number, length: number): void;
  markDirty(page: Page): void;
  /** Writes all changed pages, in the file's order. */
  writeDirty(): Promise<void>;
}

export function metadataCache(file: BlockNode, pageBytes: number, maxPages: number): MetadataCache {
  const pages = new Map<number, Page>();
  const loading = new Map<number, Promise<Page>>();
  const dirty = new Set<Page>();

  const insert = (offset: number, bytes: Uint8Array): Page => {
    const page: Page = { offset, bytes, view: viewOf(bytes), dirty: false };
    pages.set(offset, page);
    evict(page);
    return page;
  };
  const evict = (kept: Page) => {
    if (pages.size <= maxPages) return;
    let looked = 0;
    for (const page of pages.values()) {
      if (page !== kept && !page.dirty) {
        pages.delete(page.offset);
        return;
      }
      if ((looked += 1) > 64) return;
    }
  };
  const load = async (offset: number): Promise<Page> => {
    const bytes = new Uint8Array(pageBytes);
    try {
      await readPadded(file, offset, bytes);
      return pages.get(offset) ?? insert(offset, bytes);
    } finally {
      loading.delete(offset);
    }
  };
  const mark = (page: Page) => {
    page.dirty = true;
    dirty.add(page);
    pages.set(page.offset, page);
  };
  return {
    pageBytes,
    get dirtyCount() {
      return dirty.size;
    },
    get(offset) {
      const page = pages.get(offset);
      if (page !== undefined) return page;
      let promise = loading.get(offset);
      if (promise === undefined) loading.set(offset, (promise = load(offset)));
      return promise;
    },
    peek: (offset) => pages.get(offset),
    async copy(offset, target) {
      await readPadded(file, offset, target);
      if (dirty.size === 0) return;
      for (let at = 0; at < target.length; at += pageBytes) {
        const page = pages.get(offset + at);
        if (page?.dirty) target.set(page.bytes, at);
      }
    },
    clear(offset, length) {
      for (let at = offset; at < offset + length; at += pageBytes) {
        const page = pages.get(at);
        page?.bytes.fill(0);
        mark(page ?? insert(at, new Uint8Array(pageBytes)));
      }
    },
    drop(offset, length) {
      for (let at = offset; at < offset + length; at += pageBytes) {
        const page = pages.get(at);
        if (page === undefined) continue;
        page.dirty = false;
        dirty.delete(page);
        pages.delete(at);
      }
    },
    markDirty: mark,
    async writeDirty() {
      const batch = [...dirty].sort((a, b) => a.offset - b.offset);
      for (const page of batch) {
        await file.write(page.offset, page.bytes);
        page.dirty = false;
        dirty.delete(page);
      }
    },
  };
}
