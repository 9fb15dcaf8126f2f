/** The compression joint for tests, on Node's zlib. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Compression } from '../compression.ts';

export const testCompression: Compression = {
  async compress(_, source) {
    const packed = deflateRawSync(source, { windowBits: 12, level: 1 });
    return packed.length < source.length ? packed : undefined;
  },
  async decompress(_, source, target) {
    const bytes = inflateRawSync(source, { maxOutputLength: target.length });
    if (bytes.length !== target.length) throw new Error(`${bytes.length} bytes instead of ${target.length}`);
    target.set(bytes);
  },
};
