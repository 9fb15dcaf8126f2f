/** A file whose writes may be lost or reordered until they are flushed, as a disk's are when the power goes. */
import { IoError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import type { Random } from '../../contract/testing/random.ts';
import { memoryNode } from '../memory.ts';

export interface PowerLossFile {
  readonly node: BlockNode;
  /** Lets `requests` more writes and flushes through; those after them reject. */
  failAfter(requests: number): void;
  /** Lets `flushes` more of them through; the one after them rejects, and all that comes later. */
  failAtFlush(flushes: number): void;
  /** What a disk could hold if the power went now: each unflushed write is there or not. */
  lose(random: Random, loss?: Loss): Promise<BlockNode>;
}

/** Which unflushed writes survive: sectors by chance, or the last writes alone: the order that barriers are there for. */
export type Loss = 'sectors' | 'all but the last';

const SECTOR_BYTES = 512;

export function powerLossFile(): PowerLossFile {
  let current = memoryNode(0);
  let durable = memoryNode(0);
  let pending: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  const settle = async () => {
    for (const { offset, bytes } of pending) await durable.write(offset, bytes);
    pending = [];
  };
  let budget = Number.POSITIVE_INFINITY;
  let flushBudget = Number.POSITIVE_INFINITY;
  const spend = () => {
    budget -= 1;
    if (budget < 0) throw new IoError('io', 'the power is gone');
  };
  const node: BlockNode = {
    get sizeBytes() {
      return current.sizeBytes;
    },
    readOnly: false,
    limits: current.limits,
    read: (offset, target) => current.read(offset, target),
    async write(offset, source) {
      spend();
      pending.push({ offset, bytes: source.slice() });
      await current.write(offset, source);
    },
    async flush() {
      if (flushBudget === 0) budget = 0;
      flushBudget -= 1;
      spend();
      await settle();
    },
    extents: (offset, length) => current.extents(offset, length),
    async resize(sizeBytes) {
      await current.resize!(sizeBytes);
      await settle();
      await durable.resize!(sizeBytes);
    },
    close: settle,
  };
  return {
    node,
    failAfter(requests) {
      budget = requests;
    },
    failAtFlush(flushes) {
      flushBudget = flushes;
    },
    async lose(random, loss = 'sectors') {
      budget = Number.POSITIVE_INFINITY;
      flushBudget = Number.POSITIVE_INFINITY;
      const kept = loss === 'sectors' ? 0 : Math.max(0, pending.length - 1 - random.next(3));
      for (const { offset, bytes } of pending.slice(kept)) {
        // Sectors are whole or not there; a long write may be torn between them.
        for (let at = 0; at < bytes.length; ) {
          const end = Math.min(bytes.length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
          if (loss !== 'sectors' || random.next(2) === 0) await durable.write(offset + at, bytes.subarray(at, end));
          at = end;
        }
      }
      pending = [];
      current = durable;
      durable = memoryNode(0);
      const copy = new Uint8Array(current.sizeBytes);
      await current.read(0, copy);
      await durable.write(0, copy);
      return node;
    },
  };
}
