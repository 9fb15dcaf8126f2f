/** Requests that are done within the call: their table is in memory, and who has the bytes can do it too. */
import type { BlockImmediate } from '../../contract/index.ts';
import type { Image } from './image.ts';
import { KIND, lookupCached } from './mapping.ts';

/** Requests that lie in one run; all others, and those that others must wait for, take the long way. */
export function immediateOf(image: Image): BlockImmediate {
  const { lock, encryption, dataFile, backing, readOnly, bitmaps } = image;
  const runOf = (offset: number, length: number) => {
    const isInside = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= image.sizeBytes;
    if (!lock.isFree || !isInside) return undefined;
    const run = lookupCached(image, offset, length);
    return run === undefined || run.length < length ? undefined : run;
  };
  return {
    read(offset, targets) {
      const length = lengthOf(targets);
      const run = runOf(offset, length);
      switch (run?.kind) {
        case undefined:
        case KIND.compressed:
          return false;
        case KIND.normal:
          return encryption === undefined && dataFile.immediate?.read(run!.host, targets) === true;
        case KIND.zero:
        case KIND.zeroAllocated:
          return clear(targets);
        default:
          if (backing === undefined) return clear(targets);
          return offset + length <= backing.sizeBytes && backing.immediate?.read(offset, targets) === true;
      }
    },
    write(offset, sources) {
      if (readOnly || encryption !== undefined || bitmaps.length > 0) return false;
      const run = runOf(offset, lengthOf(sources));
      if (run?.kind !== KIND.normal || !run.copied) return false;
      return dataFile.immediate?.write(run.host, sources) === true;
    },
  };
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.length === 1 ? parts[0].length : parts.reduce((sum, { length }) => sum + length, 0);
}

function clear(targets: readonly Uint8Array[]): boolean {
  for (const target of targets) target.fill(0);
  return true;
}
