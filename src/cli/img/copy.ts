/** Copying one chain's content into a node: holes stay holes, and reading, compressing and writing overlap. */
import { alignDown, alignUp, type ImageNode, isZero, zeroRange } from '../../block/core.ts';
import type { FileCopier } from '../../host/node/block.ts';
import { chainExtents } from './chain.ts';
import type { OpenedImage } from './images.ts';
import { bufferPool, inOrder, type Pace, type Turn } from './pipeline.ts';

export interface CopyOptions {
  /** Neighbouring zeros, at least this many bytes, become holes; 0 writes everything. */
  readonly sparseBytes: number;
  /** Where the target is not written it reads as zeros already. */
  readonly targetIsZero: boolean;
  readonly compress: boolean;
  /** Waits so that the copy keeps to its rate. */
  readonly pace: Pace;
  /** Copy only what the source's top image holds itself. */
  readonly topOnly: boolean;
  /** Most pieces under way at once. */
  readonly parallel: number;
  /** Pieces may be written in any order; else each is begun after those before it. */
  readonly anyOrder: boolean;
  /** Lets the host copy, without looking at what it copies; what it cannot is copied as usual. */
  readonly copier?: FileCopier;
  /** What cannot be read becomes zeros and is reported, instead of an error. */
  readonly onUnreadable?: (offset: number, error: unknown) => void;
  readonly onProgress: (copiedBytes: number) => void;
}

/** Small enough to stay in the processor's cache between reading and writing. */
const CHUNK_BYTES = 512 * 1024;
/** What is read again when a piece cannot be read whole. */
const SALVAGE_BYTES = 512;

/** Copies all of `source` to `target` at `base`. */
export async function copyImage(
  source: OpenedImage,
  target: ImageNode,
  base: number,
  options: CopyOptions,
): Promise<void> {
  const unit = options.compress ? target.limits.preferredBytes : 1;
  const buffers = bufferPool(options.parallel, Math.max(CHUNK_BYTES, unit));
  const turns = inOrder(options.anyOrder);
  for await (const piece of piecesOf(source, base, unit, buffers.bufferBytes, options)) {
    if (piece.place !== undefined && isCopied(piece, piece.place, base, options)) {
      options.onProgress(piece.offset + piece.length);
      continue;
    }
    if (piece.kind === 'zero') {
      if (!options.targetIsZero) {
        const turn = turns.next();
        turn.start(async () => {
          await turn.mine;
          const request = zeroRange(target, base + piece.offset, piece.length, true);
          turn.pass();
          await request;
        });
        await turns.room(options.parallel);
      }
    } else if (piece.kind === 'data') {
      await options.pace(piece.length);
      const buffer = await buffers.take();
      const bytes = buffer.subarray(0, piece.length);
      const turn = turns.next();
      turn.start(async () => {
        try {
          await readPiece(source, piece.offset, bytes, options);
          await writeData(target, base + piece.offset, bytes, options, turn);
        } finally {
          buffers.giveBack(buffer);
        }
      });
    }
    turns.check();
    options.onProgress(piece.offset + piece.length);
  }
  await turns.drain();
}

interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'backing';
  /** The file that has just these bytes, and where. */
  readonly place?: { readonly filename: string; readonly offset: number };
}

function isCopied({ offset, length }: Piece, place: NonNullable<Piece['place']>, base: number, options: CopyOptions) {
  return options.copier?.copy(place.filename, place.offset, base + offset, length) === true;
}

/** What to copy, in order; data in pieces that fit a buffer, and in whole units of the target where it wants them. */
async function* piecesOf(
  source: OpenedImage,
  base: number,
  unit: number,
  maxBytes: number,
  options: CopyOptions,
): AsyncGenerator<Piece> {
  const size = source.node.sizeBytes;
  let done = 0;
  for await (const { offset, length, kind, place } of extentsOf(source, options)) {
    let end = offset + length;
    if (end <= done) continue;
    // A unit that is data in part is data: a compressed cluster is written once and whole.
    if (kind === 'data') end = Math.min(size, alignUp(base + end, unit) - base);
    else {
      if (end !== size) end = alignDown(base + end, unit) - base;
      if (done < offset || (base + done) % unit !== 0) {
        const edge = Math.min(size, alignUp(base + done + 1, unit) - base);
        yield { offset: done, length: edge - done, kind: 'data' };
        done = edge;
      }
    }
    const stepBytes = kind === 'data' ? maxBytes : Number.POSITIVE_INFINITY;
    while (done < end) {
      const step = Math.min(end - done, stepBytes - ((base + done) % Math.min(stepBytes, maxBytes)));
      const isWhole = place !== undefined && done >= offset && done + step <= offset + length;
      const from = isWhole ? { place: { ...place, offset: place.offset + done - offset } } : {};
      yield { offset: done, length: step, kind, ...from };
      done += step;
    }
  }
  if (done < size) yield { offset: done, length: size - done, kind: 'data' };
}

async function* extentsOf(source: OpenedImage, { topOnly, sparseBytes, copier }: CopyOptions): AsyncGenerator<Piece> {
  const size = source.node.sizeBytes;
  if (!topOnly) {
    for await (const extent of chainExtents(source, 0, size)) {
      const { offset, length, zero, allocated, data, childOffset, filename } = extent;
      const kind = (zero || !allocated) && sparseBytes > 0 ? 'zero' : 'data';
      const isPlain = copier !== undefined && data && childOffset !== undefined && !zero;
      yield { offset, length, kind, ...(isPlain ? { place: { filename, offset: childOffset } } : {}) };
    }
    return;
  }
  for (let at = 0; at < size; ) {
    for (const { offset, length, zero, allocated } of await source.node.extents(at, size - at)) {
      yield { offset, length, kind: !allocated ? 'backing' : zero && sparseBytes > 0 ? 'zero' : 'data' };
      at = offset + length;
    }
  }
}

/** Reads a piece; with `onUnreadable`, sector by sector where it cannot be read whole. */
async function readPiece({ node }: OpenedImage, offset: number, bytes: Uint8Array, { onUnreadable }: CopyOptions) {
  try {
    await node.read(offset, bytes);
    return;
  } catch (error) {
    if (onUnreadable === undefined) throw error;
  }
  for (let at = 0; at < bytes.length; at += SALVAGE_BYTES) {
    const part = bytes.subarray(at, at + SALVAGE_BYTES);
    try {
      await node.read(offset + at, part);
    } catch (error) {
      onUnreadable(offset + at, error);
      part.fill(0);
    }
  }
}

async function writeData(target: ImageNode, at: number, bytes: Uint8Array, options: CopyOptions, turn: Turn) {
  if (options.compress) return writeCompressed(target, at, bytes, options);
  const runs = runsOf(bytes, options.sparseBytes);
  await turn.mine;
  const requests: Promise<void>[] = [];
  for (const { from, to, zero } of runs) {
    if (!zero) requests.push(target.write(at + from, bytes.subarray(from, to)));
    else if (!options.targetIsZero) requests.push(zeroRange(target, at + from, to - from, true));
  }
  turn.pass();
  await Promise.all(requests);
}

/** Compresses the clusters of a piece side by side; where they come to lie has no order. */
async function writeCompressed(target: ImageNode, at: number, bytes: Uint8Array, options: CopyOptions): Promise<void> {
  const cluster = target.limits.preferredBytes;
  const requests: Promise<void>[] = [];
  for (let done = 0; done < bytes.length; done += cluster) {
    const part = bytes.subarray(done, done + cluster);
    if (options.sparseBytes > 0 && isZero(part)) {
      if (!options.targetIsZero) requests.push(zeroRange(target, at + done, part.length, true));
    } else requests.push(target.writeCompressed!(at + done, part));
  }
  await Promise.all(requests);
}

const SCAN_BYTES = 4096;

/** Runs of zeros, at least `sparseBytes` long, and the data between them. `bytes` begins at a multiple of 4. */
function runsOf(bytes: Uint8Array, sparseBytes: number): { from: number; to: number; zero: boolean }[] {
  if (sparseBytes === 0) return [{ from: 0, to: bytes.length, zero: false }];
  const unit = Math.max(SCAN_BYTES, alignDown(sparseBytes, SCAN_BYTES));
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  const runs: { from: number; to: number; zero: boolean }[] = [];
  let begin = 0;
  let wasZero = false;
  for (let from = 0; from < bytes.length; from += unit) {
    const to = Math.min(bytes.length, from + unit);
    // Data shows in its first words nearly always; only zeros are looked at to the end.
    const isData = words[from >> 2] !== 0 || words[(from >> 2) + 1] !== 0;
    const zero = !isData && isZero(bytes.subarray(from, to));
    if (zero === wasZero && from > 0) continue;
    if (from > begin) runs.push({ from: begin, to: from, zero: wasZero });
    [begin, wasZero] = [from, zero];
  }
  if (bytes.length > begin) runs.push({ from: begin, to: bytes.length, zero: wasZero });
  return runs;
}
