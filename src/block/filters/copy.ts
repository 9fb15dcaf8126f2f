/** Filters that copy: what was read from below into the top image, and what is about to be overwritten to elsewhere. */
import type { BlockNode } from '../../contract/index.ts';
import { rangeLock } from '../range-lock.ts';
import { alignDown, alignUp, readPadded } from '../request.ts';
import { passThrough } from './pass.ts';

const STEP_BYTES = 2 ** 20;

/**
 * What comes from the backing file when it is read is written to the image itself, so that
 * the next read finds it there. `next` is an image with a backing file.
 */
export function copyOnReadFilter(next: BlockNode): BlockNode {
  const lock = rangeLock();
  const unit = next.limits.preferredBytes;
  const fetch = async (offset: number, length: number) => {
    for (let at = offset; at < offset + length; ) {
      const rest = Math.min(STEP_BYTES, offset + length - at);
      const [extent] = await next.extents(at, rest);
      if (!extent.allocated && !extent.zero) {
        const bytes = new Uint8Array(extent.length);
        await next.read(at, bytes);
        await next.write(at, bytes);
      }
      at += extent.length;
    }
  };
  const changing = (offset: number, length: number, body: () => Promise<void>) => lock.hold(offset, length, body);
  return passThrough(next, {
    async read(offset, target) {
      const from = alignDown(offset, unit);
      const to = Math.min(next.sizeBytes, alignUp(offset + target.length, unit));
      if (!next.readOnly && to > from && offset + target.length <= next.sizeBytes) {
        await lock.hold(from, to - from, () => fetch(from, to - from));
      }
      await next.read(offset, target);
    },
    write: (offset, source) => changing(offset, source.length, () => next.write(offset, source)),
    discard: (offset, length) => changing(offset, length, () => next.discard!(offset, length)),
    writeZeroes: (offset, length, how) => changing(offset, length, () => next.writeZeroes!(offset, length, how)),
  });
}

export interface CopyBeforeWriteOptions {
  /** Gets the old content of each cluster before it changes for the first time; as large as the node. */
  readonly target: BlockNode;
  /** What is copied at once; a power of two. */
  readonly clusterBytes?: number;
}

/** A node whose content at one time stays readable in `target`, for all that changed since. */
export function copyBeforeWriteFilter(next: BlockNode, options: CopyBeforeWriteOptions): BlockNode {
  const { target, clusterBytes = 65536 } = options;
  const lock = rangeLock();
  const copied = new Set<number>();
  const change = (offset: number, length: number, body: () => Promise<void>) => {
    const from = alignDown(offset, clusterBytes);
    const to = alignUp(offset + length, clusterBytes);
    return lock.hold(from, to - from, async () => {
      for (let at = from; at < Math.min(to, next.sizeBytes); at += clusterBytes) {
        if (copied.has(at)) continue;
        const bytes = new Uint8Array(Math.min(clusterBytes, next.sizeBytes - at));
        await readPadded(next, at, bytes);
        await target.write(at, bytes);
        copied.add(at);
      }
      await body();
    });
  };
  return passThrough(next, {
    write: (offset, source) => change(offset, source.length, () => next.write(offset, source)),
    discard: (offset, length) => change(offset, length, () => next.discard!(offset, length)),
    writeZeroes: (offset, length, how) => change(offset, length, () => next.writeZeroes!(offset, length, how)),
  });
}
