/** Which granules of a disk a job still has to copy. */
import type { BlockNode } from '../../contract/index.ts';
import { chainOf, deepExtent } from '../chain.ts';

export interface GranuleMap {
  readonly granuleBytes: number;
  /** How many are set. */
  readonly count: number;
  has(index: number): boolean;
  set(offset: number, length: number): void;
  clear(index: number): void;
  /** The first that is set from `index` on, or from the beginning; undefined when none is. */
  next(index: number): number | undefined;
}

export function granuleMap(sizeBytes: number, granuleBytes: number): GranuleMap {
  const total = Math.ceil(sizeBytes / granuleBytes);
  const bits = new Uint8Array(Math.ceil(total / 8));
  let count = 0;
  const has = (index: number) => ((bits[index >> 3] >> (index & 7)) & 1) === 1;
  const scan = (from: number, to: number): number | undefined => {
    for (let i = from; i < to; i += 1) {
      if ((i & 7) === 0 && bits[i >> 3] === 0) i += 7;
      else if (has(i)) return i;
    }
    return undefined;
  };
  return {
    granuleBytes,
    get count() {
      return count;
    },
    has,
    set(offset, length) {
      if (length === 0) return;
      const last = Math.min(total - 1, Math.floor((offset + length - 1) / granuleBytes));
      for (let i = Math.floor(offset / granuleBytes); i <= last; i += 1) {
        if (has(i)) continue;
        bits[i >> 3] |= 1 << (i & 7);
        count += 1;
      }
    },
    clear(index) {
      if (!has(index)) return;
      bits[index >> 3] &= ~(1 << (index & 7));
      count -= 1;
    },
    next: (index) => (count === 0 ? undefined : (scan(index, total) ?? scan(0, index))),
  };
}

/** Ranges that the first `depth` nodes of the chain hold themselves. */
export async function allocatedRanges(
  node: BlockNode,
  depth: number,
  mark: (offset: number, length: number) => void,
): Promise<void> {
  const chain = chainOf(node);
  for (let at = 0; at < node.sizeBytes; ) {
    const extent = await deepExtent(chain, at, node.sizeBytes - at);
    // Zeros past the end of a smaller image below belong to the ones above it.
    const isTop = extent.depth > 0 && extent.depth <= depth;
    if (isTop) mark(at, extent.length);
    at += extent.length;
  }
}
