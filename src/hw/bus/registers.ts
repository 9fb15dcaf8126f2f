/** A window of registers as rows: any access, of any width and alignment, reaches the rows it touches. */

import { allOnes, InternalError } from '../../base/index.ts';
import type { AccessSize, BusDevice } from '../../contract/index.ts';

export interface RegisterSpec {
  readonly name: string;
  readonly offset: number;
  /** In bytes. */
  readonly width: AccessSize;
  /** The whole register, read once an access. Without it the register reads as 0. */
  read?(): number;
  /** @param mask the bits of `value` that the access carries; the others are 0 in it */
  write?(value: number, mask: number): void;
}

/**
 * Makes a bus device of `size` bytes from register rows. Bytes that no row
 * claims read as `unclaimed` (a byte value) and ignore writes.
 */
export function registerWindow(size: number, rows: readonly RegisterSpec[], unclaimed = 0): BusDevice {
  const owners: (RegisterSpec | undefined)[] = new Array(size).fill(undefined);
  for (const row of rows) {
    for (let at = row.offset; at < row.offset + row.width; at++) {
      const other = owners[at];
      if (at >= size || other)
        throw new InternalError(`register ${row.name} overlaps ${other?.name ?? 'the window end'}`);
      owners[at] = row;
    }
  }
  return {
    read: (offset, width) => readRows(owners, offset, width, unclaimed),
    write: (offset, width, value) => writeRows(owners, offset, width, value),
  };
}

function readRows(
  owners: readonly (RegisterSpec | undefined)[],
  offset: number,
  width: AccessSize,
  unclaimed: number,
): number {
  let value = 0;
  for (let i = 0; i < width; ) {
    const row = owners[offset + i];
    if (!row) {
      value |= unclaimed << (i * 8);
      i++;
      continue;
    }
    const skipped = offset + i - row.offset;
    const register = (row.read?.() ?? 0) >>> (skipped * 8);
    value |= register << (i * 8);
    i += row.width - skipped;
  }
  return (value & allOnes(width)) >>> 0;
}

function writeRows(
  owners: readonly (RegisterSpec | undefined)[],
  offset: number,
  width: AccessSize,
  value: number,
): void {
  for (let i = 0; i < width; ) {
    const row = owners[offset + i];
    if (!row) {
      i++;
      continue;
    }
    const skipped = offset + i - row.offset;
    const count = Math.min(row.width - skipped, width - i) as AccessSize | 3;
    const carried = count === 3 ? 0xff_ffff : allOnes(count);
    const bits = (value >>> (i * 8)) & carried;
    row.write?.((bits << (skipped * 8)) >>> 0, (carried << (skipped * 8)) >>> 0);
    i += count;
  }
}
