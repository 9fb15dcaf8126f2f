/** Writes of one file, one call at a time: those that wait meanwhile and neighbour each other become one call. */
import { writev } from 'node:fs';

/**
 * Where a batch ends: long enough that the way to a thread and back does not count, and short of what the kernel
 * would take huge pages of its cache for, which are those that a virtual machine's host may have to find first.
 */
const BATCH_BYTES = 512 * 1024;
/** writev(2): IOV_MAX. */
const BATCH_PARTS = 1024;

export interface WriteQueue {
  /** True while a write is under way: others would only wait in the kernel. */
  readonly busy: boolean;
  write(offset: number, source: Uint8Array): Promise<void>;
}

interface Waiting {
  readonly offset: number;
  readonly source: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** `writeOne` writes where a batch could not be written whole, so that each writer learns what came of its own. */
export function writeQueue(fd: number, writeOne: (offset: number, source: Uint8Array) => Promise<void>): WriteQueue {
  const waiting: Waiting[] = [];
  let busy = false;

  const takeBatch = (): Waiting[] => {
    const batch = [waiting.shift()!];
    let end = batch[0].offset + batch[0].source.length;
    let bytes = batch[0].source.length;
    while (waiting.length > 0 && batch.length < BATCH_PARTS && bytes < BATCH_BYTES) {
      const at = waiting.findIndex(({ offset }) => offset === end);
      if (at < 0) break;
      const [next] = waiting.splice(at, 1);
      batch.push(next);
      bytes += next.source.length;
      end += next.source.length;
    }
    return batch;
  };
  const writeEach = async (batch: readonly Waiting[]) => {
    for (const { offset, source, resolve, reject } of batch) await writeOne(offset, source).then(resolve, reject);
  };
  const next = () => {
    if (waiting.length === 0) {
      busy = false;
      return;
    }
    busy = true;
    const batch = takeBatch();
    const parts = batch.map(({ source }) => source);
    const wanted = parts.reduce((sum, { length }) => sum + length, 0);
    writev(fd, parts, batch[0].offset, (error, written) => {
      if (error === null && written === wanted) {
        for (const { resolve } of batch) resolve();
        next();
      } else void writeEach(batch).then(next);
    });
  };
  return {
    get busy() {
      return busy;
    },
    write(offset, source) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting.push({ offset, source, resolve, reject });
      if (!busy) next();
      return promise;
    },
  };
}
