/** The start of every filter: a node that hands everything to the one below. */
import type { BlockNode } from '../../contract/index.ts';

/** A filter, over an image perhaps: extents that are not allocated come from the image's backing node then. */
export interface FilterNode extends BlockNode {
  readonly backing?: BlockNode;
}

/** All of `next`, with some of it replaced. What `next` cannot do the filter cannot do either. */
export function passThrough(next: BlockNode, changes: Partial<BlockNode> = {}): FilterNode {
  const { backing } = next as FilterNode;
  const node: FilterNode = {
    ...(backing === undefined ? {} : { backing }),
    get sizeBytes() {
      return next.sizeBytes;
    },
    readOnly: changes.readOnly ?? next.readOnly,
    limits: changes.limits ?? next.limits,
    read: changes.read ?? ((offset, target) => next.read(offset, target)),
    write: changes.write ?? ((offset, source) => next.write(offset, source)),
    flush: changes.flush ?? (() => next.flush()),
    extents: changes.extents ?? ((offset, length) => next.extents(offset, length)),
    close: changes.close ?? (() => next.close()),
  };
  if (next.discard !== undefined) {
    node.discard = changes.discard ?? ((offset, length) => next.discard!(offset, length));
  }
  if (next.writeZeroes !== undefined) {
    node.writeZeroes = changes.writeZeroes ?? ((offset, length, how) => next.writeZeroes!(offset, length, how));
  }
  if (next.resize !== undefined) node.resize = changes.resize ?? ((sizeBytes) => next.resize!(sizeBytes));
  return node;
}
