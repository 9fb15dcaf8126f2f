/** Writes of zeros become requests for zeros, which formats need not store (QEMU's `detect-zeroes`). */
import type { BlockNode } from '../../contract/index.ts';
import { isZero } from '../request.ts';
import { passThrough } from './pass.ts';

export interface DetectZeroesOptions {
  /** May give the space back to the host. */
  readonly mayUnmap?: boolean;
}

export function detectZeroesFilter(next: BlockNode, { mayUnmap = false }: DetectZeroesOptions = {}): BlockNode {
  const { writeZeroes } = next;
  if (writeZeroes === undefined) return next;
  return passThrough(next, {
    write: (offset, source) =>
      source.length > 0 && offset + source.length <= next.sizeBytes && isZero(source)
        ? next.writeZeroes!(offset, source.length, { mayUnmap })
        : next.write(offset, source),
  });
}
