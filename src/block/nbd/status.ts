/** What block status tells of an export: the allocation of a whole backing chain, its depth, dirty bitmaps. */
import type { BlockNode } from '../../contract/index.ts';
import { chainOf, type DeepExtent, deepExtent } from '../chain.ts';
import { ALLOCATION, BASE_ALLOCATION } from './wire.ts';

/** A range of one kind; the meaning of `flags` is the context's. */
export interface StatusExtent {
  readonly length: number;
  readonly flags: number;
}

/** A context that block status can be asked for. */
export interface NbdContext {
  readonly name: string;
  /** At least one extent from `offset` on, at most `length` bytes in all. */
  status(offset: number, length: number): Promise<readonly StatusExtent[]>;
}

/** `base:allocation`: holes, and what reads as zeros. */
export function allocationContext(node: BlockNode): NbdContext {
  return chainContext(node, BASE_ALLOCATION, ({ data, zero, depth }) => {
    const isHole = depth === 0 || !data;
    return (isHole ? ALLOCATION.hole : 0) | (zero ? ALLOCATION.zero : 0);
  });
}

/** QEMU's `qemu:allocation-depth`: which image of the chain has it, the top one being 1. */
export function depthContext(node: BlockNode): NbdContext {
  return chainContext(node, 'qemu:allocation-depth', ({ depth }) => depth);
}

function chainContext(node: BlockNode, name: string, flagsOf: (extent: DeepExtent) => number): NbdContext {
  const chain = chainOf(node);
  return {
    name,
    async status(offset, length) {
      const extent = await deepExtent(chain, offset, length);
      return [{ length: extent.length, flags: flagsOf(extent) }];
    },
  };
}

/** QEMU's `qemu:dirty-bitmap:NAME` of ranges as they are at this time. */
export function bitmapContext(
  bitmap: string,
  sizeBytes: number,
  ranges: readonly { readonly offset: number; readonly length: number }[],
): NbdContext {
  return {
    name: `qemu:dirty-bitmap:${bitmap}`,
    async status(offset, length) {
      let [low, high] = [0, ranges.length];
      // The first range that ends after `offset`.
      while (low < high) {
        const middle = (low + high) >> 1;
        if (ranges[middle].offset + ranges[middle].length > offset) high = middle;
        else low = middle + 1;
      }
      const range = ranges[low] ?? { offset: sizeBytes, length: 0 };
      const isDirty = range.offset <= offset && range.length > 0;
      const end = isDirty ? range.offset + range.length : range.offset;
      return [{ length: Math.min(length, end - offset), flags: isDirty ? 1 : 0 }];
    },
  };
}
