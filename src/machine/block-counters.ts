/** Counts what a block node serves. */
import type { BlockNode } from '../contract/index.ts';
import type { BlockCounter, BlockCounters } from './commands.ts';

type Kind = 'read' | 'write' | 'flush' | 'discard';

export interface CountedNode extends BlockNode {
  counters(): BlockCounters;
}

/** The same node, whose requests are counted. */
export function countNode(node: BlockNode, nowNanos: () => number): CountedNode {
  const fresh = () => ({ operations: 0, bytes: 0, failed: 0, nanos: 0 }) satisfies BlockCounter;
  const kinds = { read: fresh(), write: fresh(), flush: fresh(), discard: fresh() };
  let highestOffset = 0;
  const count = async (kind: Kind, bytes: number, work: Promise<void>, end = 0): Promise<void> => {
    const counter = kinds[kind];
    const start = nowNanos();
    try {
      await work;
      counter.operations += 1;
      counter.bytes += bytes;
      highestOffset = Math.max(highestOffset, end);
    } catch (error) {
      counter.failed += 1;
      throw error;
    } finally {
      counter.nanos += Math.max(0, Math.round(nowNanos() - start));
    }
  };
  const { discard, writeZeroes, resize, immediate } = node;
  /** What was not done counts when the node itself does it. */
  const countImmediate = (kind: 'read' | 'write', offset: number, buffers: readonly Uint8Array[]): boolean => {
    const start = nowNanos();
    if (!immediate![kind](offset, buffers)) return false;
    const counter = kinds[kind];
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
    counter.operations += 1;
    counter.bytes += bytes;
    counter.nanos += Math.max(0, Math.round(nowNanos() - start));
    if (kind === 'write') highestOffset = Math.max(highestOffset, offset + bytes);
    return true;
  };
  return {
    get sizeBytes() {
      return node.sizeBytes;
    },
    readOnly: node.readOnly,
    limits: node.limits,
    read: (offset, target) => count('read', target.length, node.read(offset, target)),
    write: (offset, source) => count('write', source.length, node.write(offset, source), offset + source.length),
    flush: () => count('flush', 0, node.flush()),
    extents: (offset, length) => node.extents(offset, length),
    discard: discard && ((offset, length) => count('discard', length, node.discard!(offset, length))),
    writeZeroes:
      writeZeroes &&
      ((offset, length, options) =>
        count('write', length, node.writeZeroes!(offset, length, options), offset + length)),
    resize: resize && ((sizeBytes) => node.resize!(sizeBytes)),
    immediate: immediate && {
      read: (offset, targets) => countImmediate('read', offset, targets),
      write: (offset, sources) => countImmediate('write', offset, sources),
    },
    close: () => node.close(),
    counters: () => ({
      read: { ...kinds.read },
      write: { ...kinds.write },
      flush: { ...kinds.flush },
      discard: { ...kinds.discard },
      highestOffset,
    }),
  };
}
