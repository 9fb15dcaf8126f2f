/** Lists of extents, as `BlockNode.extents` gives them. */
import type { BlockExtent } from '../contract/index.ts';

/** Adds an extent to a list, joined with the last one where they are one. */
export function appendExtent(extents: BlockExtent[], next: BlockExtent): void {
  const last = extents.at(-1);
  const joins =
    last !== undefined &&
    last.allocated === next.allocated &&
    last.zero === next.zero &&
    last.data === next.data &&
    last.compressed === next.compressed &&
    (last.childOffset === undefined
      ? next.childOffset === undefined
      : next.childOffset === last.childOffset + last.length);
  if (joins) extents[extents.length - 1] = { ...last, length: last.length + next.length };
  else extents.push(next);
}
