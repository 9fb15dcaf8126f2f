/** Copying one chain's content into a node: holes stay holes, and many clusters are compressed at once. */

import { alignDown, type ImageNode, isZero, zeroRange } from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { chainExtent } from './chain.ts';
import type { OpenedImage } from './images.ts';

export interface CopyOptions {
  /** Neighbouring zeros, at least this many bytes, become holes; 0 writes everything. */
  readonly sparseBytes: number;
  /** Where the target is not written it reads as zeros already. */
  readonly targetIsZero: boolean;
  readonly compress: boolean;
  /** Copy only what the source's top image holds itself. */
  readonly topOnly: boolean;
  /** Most requests under way at once. */
  readonly parallel: number;
  readonly onProgress: (copiedBytes: number) => void;
}

const CHUNK_BYTES = 2 * 2 ** 20;

/** Copies all of `source` to `target` at `base`. */
export async function copyImage(
  source: OpenedImage,
  target: ImageNode,
  base: number,
  options: CopyOptions,
): Promise<void> {
  const size = source.node.sizeBytes;
  const unit = options.compress ? target.limits.preferredBytes : 1;
  const chunkBytes = Math.max(CHUNK_BYTES, unit);
  const pool = requestPool(options.parallel);
  for (let offset = 0; offset < size; ) {
    let extent = await extentFor(source, offset, size - offset, options.topOnly);
    if (extent.kind !== 'data' && options.sparseBytes === 0 && extent.kind === 'zero')
      extent = { ...extent, kind: 'data' };
    // A compressed cluster is written once and whole.
    let length = Math.min(extent.length, extent.kind === 'data' ? chunkBytes : extent.length);
    if (unit > 1) length = wholeUnits(base + offset, length, unit, size - offset, extent.kind === 'data');
    if (length === 0) {
      length = Math.min(unit - ((base + offset) % unit), size - offset);
      extent = { kind: 'data', length };
    }
    if (extent.kind === 'data') {
      const [at, bytes] = [base + offset, new Uint8Array(length)];
      await source.node.read(offset, bytes);
      await writeData(target, at, bytes, options, pool);
    } else if (extent.kind === 'zero' && !options.targetIsZero) {
      await zeroRange(target, base + offset, length, true);
    }
    offset += length;
    options.onProgress(offset);
  }
  await pool.drain();
}

interface SourceExtent {
  readonly kind: 'data' | 'zero' | 'backing';
  readonly length: number;
}

async function extentFor(source: OpenedImage, offset: number, length: number, topOnly: boolean): Promise<SourceExtent> {
  if (!topOnly) {
    const extent = await chainExtent(source, offset, length);
    return { kind: extent.zero || !extent.allocated ? 'zero' : 'data', length: extent.length };
  }
  const [extent] = await source.node.extents(offset, length);
  return { kind: extent.allocated ? (extent.zero ? 'zero' : 'data') : 'backing', length: extent.length };
}

/** The part of a range that is whole units; data is rounded up, so that its last unit is read whole. */
function wholeUnits(at: number, length: number, unit: number, rest: number, isData: boolean): number {
  if (length === rest) return length;
  const end = at + length;
  const rounded = isData && end % unit !== 0 ? end - (end % unit) + unit : alignDown(end, unit);
  return Math.max(0, Math.min(rounded - at, rest));
}

async function writeData(target: ImageNode, at: number, bytes: Uint8Array, options: CopyOptions, pool: RequestPool) {
  if (options.compress) {
    const cluster = target.limits.preferredBytes;
    for (let done = 0; done < bytes.length; done += cluster) {
      const part = bytes.subarray(done, done + cluster);
      if (isZero(part) && options.targetIsZero && options.sparseBytes > 0) continue;
      await pool.add(() => target.writeCompressed!(at + done, part));
    }
    return;
  }
  for (const { from, to, zero } of runsOf(bytes, options.sparseBytes)) {
    if (!zero) await target.write(at + from, bytes.subarray(from, to));
    else if (!options.targetIsZero) await zeroRange(target, at + from, to - from, true);
  }
}

const SCAN_BYTES = 4096;

/** Runs of zeros, at least `sparseBytes` long, and the data between them. */
function runsOf(bytes: Uint8Array, sparseBytes: number): { from: number; to: number; zero: boolean }[] {
  if (sparseBytes === 0) return [{ from: 0, to: bytes.length, zero: false }];
  const unit = Math.max(SCAN_BYTES, alignDown(sparseBytes, SCAN_BYTES));
  const runs: { from: number; to: number; zero: boolean }[] = [];
  for (let from = 0; from < bytes.length; from += unit) {
    const to = Math.min(bytes.length, from + unit);
    const zero = isZero(bytes.subarray(from, to));
    const last = runs.at(-1);
    if (last !== undefined && last.zero === zero) last.to = to;
    else runs.push({ from, to, zero });
  }
  return runs;
}

interface RequestPool {
  add(start: () => Promise<void>): Promise<void>;
  drain(): Promise<void>;
}

/** Runs up to `parallel` requests at once; a failure shows at the next `add` or at `drain`. */
function requestPool(parallel: number): RequestPool {
  const running = new Set<Promise<void>>();
  let failure: unknown;
  const check = () => {
    if (failure !== undefined) throw failure;
  };
  return {
    async add(start) {
      while (running.size >= parallel) await Promise.race(running);
      check();
      const request = start()
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => running.delete(request));
      running.add(request);
    },
    async drain() {
      await Promise.all(running);
      check();
    },
  };
}

/** Where two nodes differ first, or undefined; the shorter one counts as followed by zeros. */
export async function firstDifference(
  a: BlockNode,
  b: BlockNode,
  offset: number,
  length: number,
): Promise<number | undefined> {
  const read = async (node: BlockNode) => {
    const bytes = new Uint8Array(length);
    const available = Math.max(0, Math.min(length, node.sizeBytes - offset));
    if (available > 0) await node.read(offset, bytes.subarray(0, available));
    return bytes;
  };
  const [left, right] = [await read(a), await read(b)];
  if (Buffer.compare(left, right) === 0) return undefined;
  return offset + left.findIndex((byte, i) => byte !== right[i]);
}
