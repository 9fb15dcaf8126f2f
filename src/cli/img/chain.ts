/** What a whole backing chain holds, extent by extent. */
import type { BlockExtent } from '../../contract/index.ts';
import type { OpenedImage } from './images.ts';

export interface ChainExtent extends BlockExtent {
  /** How many images below the top one the content comes from. */
  readonly depth: number;
  /** The file that has it. */
  readonly filename: string;
}

/** The first extent from `offset` on, followed down the chain to whoever decides it; `below` images at most. */
export async function chainExtent(image: OpenedImage, offset: number, length: number): Promise<ChainExtent> {
  const links = [image, ...image.backings];
  let [extent] = await image.node.extents(offset, length);
  let depth = 0;
  while (!extent.allocated && !extent.zero && depth + 1 < links.length) {
    depth += 1;
    [extent] = await links[depth].node.extents(offset, Math.min(extent.length, links[depth].node.sizeBytes - offset));
  }
  return { ...extent, depth, filename: links[depth].filename };
}
