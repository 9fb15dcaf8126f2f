/** The block room's compression joint on Node's zlib; the work runs in libuv's threads. */
import { promisify } from 'node:util';
import { constants, deflateRaw, inflateRaw, zstdCompress, zstdDecompress } from 'node:zlib';

const deflate = promisify(deflateRaw);
const inflate = promisify(inflateRaw);
const toZstd = promisify(zstdCompress);
const fromZstd = promisify(zstdDecompress);

/** QEMU reads deflate streams with a window of 4 KiB (docs/interop/qcow2.txt, compressed clusters). */
const WINDOW_BITS = 12;

export const nodeCompression = {
  async compress(kind: 'zlib' | 'zstd', source: Uint8Array): Promise<Uint8Array | undefined> {
    const packed =
      kind === 'zlib'
        ? await deflate(source, { windowBits: WINDOW_BITS, level: constants.Z_DEFAULT_COMPRESSION })
        : await toZstd(source);
    return packed.length < source.length ? packed : undefined;
  },
  async decompress(kind: 'zlib' | 'zstd', source: Uint8Array, target: Uint8Array): Promise<void> {
    const options = { maxOutputLength: target.length };
    const unpacked = kind === 'zlib' ? await inflate(source, options) : await fromZstd(source, options);
    if (unpacked.length !== target.length) throw new Error(`${unpacked.length} bytes instead of ${target.length}`);
    target.set(unpacked);
  },
};
