/** Memory that a guest has given up goes back to this computer, on Linux. */
import { openPages } from './pages.ts';

const PAGE_BYTES = 4096;

/** Lets go of what lies in `buffer` there; zeros are found instead. `isMapped`: it may be pages of a file. */
export type Discard = (buffer: SharedArrayBuffer, offset: number, length: number, isMapped: boolean) => void;

/**
 * A WebAssembly memory is an anonymous private mapping, so that its pages can be dropped one by one. Where that cannot
 * be, or for pieces of a page, zeros are written: the guest sees the same.
 */
export function nodeDiscard(): Discard {
  const pages = openPages();
  return (buffer, offset, length, isMapped) => {
    const isWhole = offset % PAGE_BYTES === 0 && length % PAGE_BYTES === 0;
    const drop = isMapped ? pages?.replace : pages?.drop;
    if (!isWhole || !drop?.(buffer, offset, length)) new Uint8Array(buffer, offset, length).fill(0);
  };
}
