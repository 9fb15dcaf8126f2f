/** Backing chains: which image of one decides the content of a range. */
import type { BlockExtent, BlockNode } from '../contract/index.ts';
import type { ImageNode } from './format.ts';

/** The nodes of a backing chain, from the top on; a node without one is alone. */
export function chainOf(node: BlockNode): readonly BlockNode[] {
  const chain: BlockNode[] = [];
  for (let link: BlockNode | undefined = node; link !== undefined; link = (link as Partial<ImageNode>).backing) {
    chain.push(link);
  }
  return chain;
}

export interface DeepExtent extends BlockExtent {
  /** Which node of the chain decides the content: 1 is the top, 0 none of them. */
  readonly depth: number;
}

/** The first extent from `offset` on, followed down the chain to whoever decides it. */
export async function deepExtent(chain: readonly BlockNode[], offset: number, length: number): Promise<DeepExtent> {
  let [extent] = await chain[0].extents(offset, length);
  for (let depth = 1; ; depth += 1) {
    if (extent.allocated) return { ...extent, depth };
    const next = chain[depth];
    if (extent.zero || next === undefined || offset >= next.sizeBytes) return { ...extent, zero: true, depth: 0 };
    [extent] = await next.extents(offset, Math.min(extent.length, next.sizeBytes - offset));
  }
}
