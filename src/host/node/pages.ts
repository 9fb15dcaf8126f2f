/** Pages of shared memory by Linux's calls (node:ffi): given back, and read from a file when they are first touched. */
import { loadFfi } from './ffi.ts';

const PAGE_BYTES = 4096;
const MADV_DONTNEED = 4;
const PROT_READ_WRITE = 3;
const MAP = { private: 2, fixed: 0x10, anonymous: 0x20, noReserve: 0x4000 };

/** Each is false where it cannot be; the pages are then as they were. */
export interface Pages {
  /** Pages of nobody but this process: the next access finds zeros. */
  drop(buffer: SharedArrayBuffer, offset: number, length: number): boolean;
  /** The same for pages that may be a file's. */
  replace(buffer: SharedArrayBuffer, offset: number, length: number): boolean;
  /**
   * The pages that hold a piece of `buffer` become those of a file, from `place` on, for this process alone: nothing
   * that is written there reaches the file. The file must stay as it is for as long as they are used.
   */
  mapFile(buffer: SharedArrayBuffer, offset: number, length: number, fd: number, place: number): boolean;
}

/** Undefined on other systems than Linux, and where this Node cannot call it. */
export function openPages(): Pages | undefined {
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) return undefined;
  try {
    const { madvise, mmap } = ffi.dlopen(null, {
      madvise: { arguments: ['pointer', 'int64', 'int32'], return: 'int32' },
      mmap: { arguments: ['pointer', 'int64', 'int32', 'int32', 'int32', 'int64'], return: 'pointer' },
    }).functions;
    const starts = new WeakMap<SharedArrayBuffer, bigint>();
    /** Undefined when the buffer does not begin with a page. */
    const addressOf = (buffer: SharedArrayBuffer, offset: number) => {
      const start = starts.get(buffer) ?? ffi.getRawPointer(new Uint8Array(buffer));
      starts.set(buffer, start);
      return start % BigInt(PAGE_BYTES) === 0n ? start + BigInt(offset) : undefined;
    };
    const map = (address: bigint, length: number, flags: number, fd: number, place: number) => {
      const all = MAP.private | MAP.fixed | MAP.noReserve | flags;
      return mmap(address, BigInt(length), PROT_READ_WRITE, all, fd, BigInt(place)) === address;
    };
    return {
      drop(buffer, offset, length) {
        const address = addressOf(buffer, offset);
        return address !== undefined && madvise(address, BigInt(length), MADV_DONTNEED) === 0;
      },
      replace(buffer, offset, length) {
        const address = addressOf(buffer, offset);
        return address !== undefined && map(address, length, MAP.anonymous, -1, 0);
      },
      mapFile(buffer, offset, length, fd, place) {
        const before = offset % PAGE_BYTES;
        if (place % PAGE_BYTES !== before) return false;
        const address = addressOf(buffer, offset - before);
        return address !== undefined && map(address, length + before, 0, fd, place - before);
      },
    };
  } catch {
    return undefined;
  }
}
