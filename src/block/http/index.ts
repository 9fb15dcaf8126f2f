/** An image behind range requests (RFC 9110, 14), read ahead and kept for a while; read-only. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { alignDown, checkRange, checkWritable } from '../request.ts';

/** What a host brings: one connection's worth of range requests to one resource. */
export interface RangeSource {
  readonly sizeBytes: number;
  /** Exactly these bytes. Rejects with an IoError. */
  fetch(offset: number, length: number): Promise<Uint8Array>;
  close(): void;
}

export interface HttpNodeOptions {
  readonly name: string;
  /** What is fetched at once; a power of two from 512 bytes to 64 MiB. */
  readonly readAheadBytes?: number;
  /** Pieces of that size that are kept. */
  readonly pieces?: number;
}

const READ_AHEAD_BYTES = 256 * 1024;
const PIECES = 32;

/** @throws UserError for a read-ahead that is not possible */
export function httpNode(source: RangeSource, options: HttpNodeOptions): BlockNode {
  const { name, readAheadBytes = READ_AHEAD_BYTES, pieces = PIECES } = options;
  if (!Number.isInteger(Math.log2(readAheadBytes)) || readAheadBytes < 512 || readAheadBytes > 64 * 2 ** 20) {
    throw new UserError(`${name}: readahead is a power of two from 512 bytes to 64 MiB, not ${readAheadBytes}`);
  }
  const { sizeBytes } = source;
  /** In the order of their last use. */
  const kept = new Map<number, Promise<Uint8Array>>();

  const piece = (at: number): Promise<Uint8Array> => {
    let found = kept.get(at);
    if (found === undefined) {
      const length = Math.min(readAheadBytes, sizeBytes - at);
      found = source.fetch(at, length).then((bytes) => {
        if (bytes.length === length) return bytes;
        throw new IoError('io', `${name}: the server sent ${bytes.length} bytes instead of ${length}`);
      });
      found.catch(() => kept.delete(at));
    }
    kept.delete(at);
    kept.set(at, found);
    const [oldest] = kept.keys();
    if (kept.size > pieces) kept.delete(oldest);
    return found;
  };
  return {
    sizeBytes,
    readOnly: true,
    limits: { alignmentBytes: 1, preferredBytes: readAheadBytes },
    async read(offset, target) {
      checkRange(name, sizeBytes, offset, target.length);
      for (let done = 0; done < target.length; ) {
        const at = alignDown(offset + done, readAheadBytes);
        const bytes = await piece(at);
        const from = offset + done - at;
        const n = Math.min(target.length - done, bytes.length - from);
        target.set(bytes.subarray(from, from + n), done);
        done += n;
        // Whoever reads on from here finds the next piece under way.
        if (done === target.length && from + n === bytes.length && at + readAheadBytes < sizeBytes) {
          piece(at + readAheadBytes).catch(() => {});
        }
      }
    },
    async write() {
      checkWritable(name, true);
    },
    async flush() {},
    async extents(offset, length) {
      checkRange(name, sizeBytes, offset, length);
      return [{ offset, length, allocated: true, zero: false, data: true, childOffset: offset }];
    },
    async close() {
      kept.clear();
      source.close();
    },
  };
}
