/** What a whole backing chain holds, extent by extent. */
import type { BlockExtent } from '../../contract/index.ts';
import type { OpenedImage } from './images.ts';

export interface ChainExtent extends BlockExtent {
  /** How many images below the top one the content comes from. */
  readonly depth: number;
  /** The file that has it. */
  readonly filename: string;
}

/** The extents of [start, end), in order and without gaps, followed down the chain to whoever decides them. */
export function chainExtents(image: OpenedImage, start: number, end: number): AsyncGenerator<ChainExtent> {
  return extentsFrom([image, ...image.backings], 0, start, end);
}

async function* extentsFrom(
  links: readonly OpenedImage[],
  depth: number,
  start: number,
  end: number,
): AsyncGenerator<ChainExtent> {
  const { node, filename } = links[depth];
  for (let offset = start; offset < end; ) {
    for (const extent of await node.extents(offset, end - offset)) {
      const stop = extent.offset + extent.length;
      offset = stop;
      if (extent.allocated || extent.zero || depth + 1 === links.length) {
        yield { ...extent, depth, filename };
        continue;
      }
      const covered = Math.max(extent.offset, Math.min(stop, links[depth + 1].node.sizeBytes));
      if (covered > extent.offset) yield* extentsFrom(links, depth + 1, extent.offset, covered);
      // Beyond the end of what it stands on an image reads as zeros.
      if (covered < stop) yield { ...extent, offset: covered, length: stop - covered, zero: true, depth, filename };
    }
  }
}

/** Walks two or more lists of extents side by side: `take` gives the one at an offset, never one before the last. */
export function extentCursor(extents: AsyncIterator<ChainExtent>): {
  at(offset: number): Promise<ChainExtent | undefined>;
} {
  let current: ChainExtent | undefined;
  return {
    async at(offset) {
      while (current === undefined || offset >= current.offset + current.length) {
        const { done, value } = await extents.next();
        if (done) return undefined;
        current = value;
      }
      return current;
    },
  };
}
