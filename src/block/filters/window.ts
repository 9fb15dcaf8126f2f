/** A part of a node as a node of its own (the raw driver's `offset` and `size`; a partition). */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { checkRange } from '../request.ts';
import { flatFilter } from './flat.ts';
import { passThrough } from './pass.ts';

export interface WindowOptions {
  readonly offsetBytes: number;
  /** Without it, up to the end. */
  readonly sizeBytes?: number;
}

/** Its size is fixed. @throws UserError when the window does not lie inside the node */
export function windowFilter(image: BlockNode, { offsetBytes, sizeBytes }: WindowOptions): BlockNode {
  const next = flatFilter(image);
  const size = sizeBytes ?? next.sizeBytes - offsetBytes;
  if (!(offsetBytes >= 0) || !(size >= 0) || offsetBytes + size > next.sizeBytes) {
    throw new UserError(
      `a window of ${size} bytes at ${offsetBytes} does not lie inside the image's ${next.sizeBytes} bytes`,
    );
  }
  const within = (offset: number, length: number): number => {
    checkRange('window', size, offset, length);
    return offsetBytes + offset;
  };
  const {
    resize: _,
    backing: __,
    ...node
  } = passThrough(next, {
    read: async (offset, target) => next.read(within(offset, target.length), target),
    write: async (offset, source) => next.write(within(offset, source.length), source),
    discard: async (offset, length) => next.discard!(within(offset, length), length),
    writeZeroes: async (offset, length, how) => next.writeZeroes!(within(offset, length), length, how),
    async extents(offset, length) {
      const found = await next.extents(within(offset, length), length);
      return found.map((extent) => ({ ...extent, offset: extent.offset - offsetBytes }));
    },
  });
  return { ...node, sizeBytes: size };
}
