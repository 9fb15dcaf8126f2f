/** The block room's compression joint on Node's zlib; the work runs in libuv's threads. */
import { promisify } from 'node:util';
import { constants, createZstdCompress, deflateRaw, inflateRaw, zstdDecompress } from 'node:zlib';
import { type CodecPool, codecPool } from './block-codec-pool.ts';

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);
const fromZstd = promisify(zstdDecompress);

/** QEMU reads deflate streams with a window of 4 KiB (docs/interop/qcow2.txt, compressed clusters). */
const WINDOW_BITS = 12;
/** A cluster's window is the cluster: tables for more would only be cleared and missed in the caches. */
const ZSTD_PARAMETERS = {
  [constants.ZSTD_c_windowLog]: 17,
  [constants.ZSTD_c_hashLog]: 16,
  [constants.ZSTD_c_chainLog]: 15,
};
/** Larger inputs come back in several pieces. */
const OUTPUT_BYTES = 68 * 1024;
/** As many as libuv has threads. */
const PACKERS_MAX = 4;

/**
 * A compressor that is used again and again: making one costs as much as compressing a cluster with it.
 * Each input becomes a frame of its own.
 */
interface ZstdPacker {
  pack(source: Uint8Array): Promise<Uint8Array>;
}

function zstdPacker(): ZstdPacker {
  const stream = createZstdCompress({ chunkSize: OUTPUT_BYTES, params: ZSTD_PARAMETERS });
  let parts: Uint8Array[] = [];
  stream.on('data', (part: Uint8Array) => parts.push(part));
  return {
    async pack(source) {
      parts = [];
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      stream.once('error', reject);
      stream.write(source);
      stream.flush(constants.ZSTD_e_end, () => resolve());
      await promise;
      stream.off('error', reject);
      return parts.length === 1 ? parts[0] : Buffer.concat(parts);
    },
  };
}

/** Compressors that wait for work; one that failed does not come back. */
const idlePackers: ZstdPacker[] = [];

async function toZstd(source: Uint8Array): Promise<Uint8Array> {
  const packer = idlePackers.pop() ?? zstdPacker();
  const packed = await packer.pack(source);
  idlePackers.push(packer);
  return packed;
}

const toZlib = (source: Uint8Array) => deflate(source, { windowBits: WINDOW_BITS, chunkSize: OUTPUT_BYTES });

let busy = 0;
const waiting: (() => void)[] = [];

/** Runs at most as many at once as there are threads for: each holds a compressor's tables. */
async function inTurn<T>(action: () => Promise<T>): Promise<T> {
  if (busy >= PACKERS_MAX) await new Promise<void>((resolve) => waiting.push(resolve));
  else busy += 1;
  try {
    return await action();
  } finally {
    const next = waiting.shift();
    if (next === undefined) busy -= 1;
    else next();
  }
}

/** Started when it is first asked for: most programs never meet a compressed cluster. */
let pool: CodecPool | undefined;

export const nodeCompression = {
  async compress(kind: 'zlib' | 'zstd', source: Uint8Array): Promise<Uint8Array | undefined> {
    pool ??= codecPool();
    const pooled = pool.compress(kind, source);
    if (pooled !== undefined) return pooled;
    const packed = await inTurn(() => (kind === 'zlib' ? toZlib(source) : toZstd(source)));
    return packed.length < source.length ? packed : undefined;
  },
  giveBack(packed: Uint8Array): void {
    pool?.giveBack(packed);
  },
  async decompress(kind: 'zlib' | 'zstd', source: Uint8Array, target: Uint8Array): Promise<void> {
    pool ??= codecPool();
    const pooled = pool.decompress(kind, source, target);
    if (pooled !== undefined) {
      if (!(await pooled)) throw new Error(`the stream is broken, or not of ${target.length} bytes`);
      return;
    }
    const options = { maxOutputLength: target.length, chunkSize: Math.max(64, target.length) };
    const unpacked = kind === 'zlib' ? await inflate(source, options) : await fromZstd(source, options);
    if (unpacked.length !== target.length) throw new Error(`${unpacked.length} bytes instead of ${target.length}`);
    target.set(unpacked);
  },
};
