/** Memory that a guest has given up goes back to this computer, on Linux, by madvise (node:ffi). */
import { loadFfi } from './ffi.ts';

const PAGE_BYTES = 4096;
const MADV_DONTNEED = 4;

/** Lets go of what lies in `buffer` there; zeros are found instead. */
export type Discard = (buffer: SharedArrayBuffer, offset: number, length: number) => void;

/**
 * A WebAssembly memory is an anonymous private mapping, so that its pages can be dropped one by one. Where there is no
 * madvise, or for pieces of a page, zeros are written: the guest sees the same.
 */
export function nodeDiscard(): Discard {
  const madvise = openMadvise();
  return (buffer, offset, length) => {
    const isWhole = offset % PAGE_BYTES === 0 && length % PAGE_BYTES === 0;
    if (!isWhole || !madvise?.(buffer, offset, length)) new Uint8Array(buffer, offset, length).fill(0);
  };
}

function openMadvise(): ((buffer: SharedArrayBuffer, offset: number, length: number) => boolean) | undefined {
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) return undefined;
  const definition = { arguments: ['pointer', 'int64', 'int32'], return: 'int32' };
  try {
    const { madvise } = ffi.dlopen(null, { madvise: definition }).functions;
    const starts = new WeakMap<SharedArrayBuffer, bigint>();
    return (buffer, offset, length) => {
      const start = starts.get(buffer) ?? ffi.getRawPointer(new Uint8Array(buffer));
      starts.set(buffer, start);
      if (start % BigInt(PAGE_BYTES) !== 0n) return false;
      return madvise(start + BigInt(offset), BigInt(length), MADV_DONTNEED) === 0;
    };
  } catch {
    return undefined;
  }
}
