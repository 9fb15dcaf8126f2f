/** A disk in memory. Only chunks that were written take space. */
import { UserError } from '../base/index.ts';
import type { BlockExtent, BlockNode } from '../contract/index.ts';
import { checkRange, checkWritable } from './request.ts';

const CHUNK_BYTES = 64 * 1024;

export interface MemoryNodeOptions {
  readonly name?: string;
  readonly readOnly?: boolean;
  /** The most that it may grow to; without it, 1 TiB. */
  readonly maxBytes?: number;
}

/** A node of zeros, `sizeBytes` long; closing it loses nothing, so that it can be opened again by its holder. */
export function memoryNode(sizeBytes: number, options: MemoryNodeOptions = {}): BlockNode {
  const { name = 'memory', readOnly = false, maxBytes = 2 ** 40 } = options;
  const chunks = new Map<number, Uint8Array>();
  let size = sizeBytes;

  /** Calls `visit` for each part of a range that lies in one chunk. */
  const eachPart = (
    offset: number,
    length: number,
    visit: (index: number, from: number, at: number, n: number) => void,
  ) => {
    for (let done = 0; done < length; ) {
      const index = Math.floor((offset + done) / CHUNK_BYTES);
      const from = (offset + done) % CHUNK_BYTES;
      const n = Math.min(CHUNK_BYTES - from, length - done);
      visit(index, from, done, n);
      done += n;
    }
  };
  const erase = (offset: number, length: number) => {
    eachPart(offset, length, (index, from, _, n) => {
      if (n === CHUNK_BYTES) chunks.delete(index);
      else chunks.get(index)?.fill(0, from, from + n);
    });
  };
  const setSize = (wanted: number) => {
    if (wanted > maxBytes) throw new UserError(`${name}: cannot grow to ${wanted} bytes, only to ${maxBytes}`);
    for (const index of chunks.keys()) if (index * CHUNK_BYTES >= wanted) chunks.delete(index);
    chunks.get(Math.floor(wanted / CHUNK_BYTES))?.fill(0, wanted % CHUNK_BYTES);
    size = wanted;
  };

  return {
    get sizeBytes() {
      return size;
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: CHUNK_BYTES },
    async read(offset, target) {
      checkRange(name, size, offset, target.length);
      eachPart(offset, target.length, (index, from, at, n) => {
        const chunk = chunks.get(index);
        if (chunk === undefined) target.fill(0, at, at + n);
        else target.set(chunk.subarray(from, from + n), at);
      });
    },
    async write(offset, source) {
      checkWritable(name, readOnly);
      checkRange(name, Number.MAX_SAFE_INTEGER, offset, source.length);
      if (offset + source.length > size) setSize(offset + source.length);
      eachPart(offset, source.length, (index, from, at, n) => {
        const chunk = chunks.get(index) ?? new Uint8Array(CHUNK_BYTES);
        chunks.set(index, chunk);
        chunk.set(source.subarray(at, at + n), from);
      });
    },
    async flush() {},
    async extents(offset, length) {
      checkRange(name, size, offset, length);
      const extents: BlockExtent[] = [];
      eachPart(offset, length, (index, _, at, n) => {
        const data = chunks.has(index);
        extents.push({ offset: offset + at, length: n, allocated: true, zero: !data, data, childOffset: offset + at });
      });
      return extents;
    },
    async discard(offset, length) {
      checkWritable(name, readOnly);
      checkRange(name, size, offset, length);
      erase(offset, length);
    },
    async writeZeroes(offset, length) {
      checkWritable(name, readOnly);
      checkRange(name, size, offset, length);
      erase(offset, length);
    },
    async resize(wanted) {
      checkWritable(name, readOnly);
      setSize(wanted);
    },
    async close() {},
  };
}
