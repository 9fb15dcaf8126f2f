/** A backing chain seen as one disk: extents tell what the whole chain has, and nothing comes from below. */
import type { BlockNode } from '../../contract/index.ts';
import { chainOf, deepExtent } from '../chain.ts';
import { passThrough } from './pass.ts';

export function flatFilter(next: BlockNode): BlockNode {
  const chain = chainOf(next);
  if (chain.length === 1) return next;
  return passThrough(next, {
    async extents(offset, length) {
      const { depth, childOffset: _, ...extent } = await deepExtent(chain, offset, length);
      return [{ ...extent, allocated: true, data: extent.data && depth > 0 }];
    },
  });
}
