/** The start of every filter: a node that hands everything to the one below. */
import type { BlockNode } from '../../contract/index.ts';

/** All of `next`, with some of it replaced. What `next` cannot do the filter cannot do either. */
export function passThrough(next: BlockNode, changes: Partial<BlockNode> = {}): BlockNode {
  const node: BlockNode = {
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
