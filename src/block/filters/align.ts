/** Requests of any offset and length on a node that takes only whole blocks. */
import type { BlockNode } from '../../contract/index.ts';
import { rangeLock } from '../range-lock.ts';
import { alignDown, alignUp, checkRange } from '../request.ts';
import { passThrough } from './pass.ts';

/** `next` itself when it takes any request already. */
export function alignFilter(next: BlockNode): BlockNode {
  const unit = next.limits.alignmentBytes;
  if (unit === 1) return next;
  const lock = rangeLock();
  const isWhole = (offset: number, length: number) => offset % unit === 0 && length % unit === 0;
  const around = (offset: number, length: number) => {
    const from = alignDown(offset, unit);
    return { from, bytes: new Uint8Array(alignUp(offset + length, unit) - from) };
  };
  /** Holds the blocks that a change touches, so that none is read while another change of it is under way. */
  const changing = (offset: number, length: number, body: () => Promise<void>) => {
    const from = alignDown(offset, unit);
    return lock.hold(from, alignUp(offset + length, unit) - from, body);
  };
  const writePart = async (offset: number, source: Uint8Array) => {
    const { from, bytes } = around(offset, source.length);
    await next.read(from, bytes);
    bytes.set(source, offset - from);
    await next.write(from, bytes);
  };
  return passThrough(next, {
    limits: { ...next.limits, alignmentBytes: 1 },
    async read(offset, target) {
      checkRange('image', next.sizeBytes, offset, target.length);
      if (target.length === 0 || isWhole(offset, target.length)) return next.read(offset, target);
      const { from, bytes } = around(offset, target.length);
      await next.read(from, bytes);
      target.set(bytes.subarray(offset - from, offset - from + target.length));
    },
    async write(offset, source) {
      checkRange('image', next.sizeBytes, offset, source.length);
      if (source.length === 0) return;
      await changing(offset, source.length, () =>
        isWhole(offset, source.length) ? next.write(offset, source) : writePart(offset, source),
      );
    },
    async writeZeroes(offset, length, how) {
      checkRange('image', next.sizeBytes, offset, length);
      const from = Math.min(alignUp(offset, unit), offset + length);
      const to = Math.max(from, alignDown(offset + length, unit));
      await changing(offset, length, async () => {
        if (from > offset) await writePart(offset, new Uint8Array(from - offset));
        if (to > from) await next.writeZeroes!(from, to - from, how);
        if (offset + length > to) await writePart(to, new Uint8Array(offset + length - to));
      });
    },
    async discard(offset, length) {
      checkRange('image', next.sizeBytes, offset, length);
      const from = alignUp(offset, unit);
      const to = alignDown(offset + length, unit);
      if (to > from) await changing(from, to - from, () => next.discard!(from, to - from));
    },
    async extents(offset, length) {
      checkRange('image', next.sizeBytes, offset, length);
      const from = alignDown(offset, unit);
      const found = await next.extents(from, alignUp(offset + length, unit) - from);
      return found
        .map((extent) => {
          const start = Math.max(offset, extent.offset);
          const end = Math.min(offset + length, extent.offset + extent.length);
          const { childOffset, ...rest } = extent;
          const place = childOffset === undefined ? {} : { childOffset: childOffset + start - extent.offset };
          return { ...rest, offset: start, length: end - start, ...place };
        })
        .filter((extent) => extent.length > 0);
    },
  });
}
