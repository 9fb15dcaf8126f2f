/** The compression joint: what a host must bring for images with compressed clusters. */

export interface Compression {
  /**
   * Compresses one cluster; `undefined` when the result would not be smaller than the input.
   * `zlib` is a raw deflate stream with a 4 KiB window, `zstd` one frame.
   */
  compress(kind: CompressionKind, source: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Fills `target` exactly; rejects when the stream is short, broken or holds more. Bytes after a deflate
   * stream's end are ignored; a zstd frame comes alone.
   */
  decompress(kind: CompressionKind, source: Uint8Array, target: Uint8Array): Promise<void>;
  /** Takes back what \`compress\` returned, to be used again: nobody looks at it any more. */
  giveBack?(packed: Uint8Array): void;
}

export type CompressionKind = 'zlib' | 'zstd';

const ZSTD_MAGIC = 0xfd2fb528;
const RLE_BLOCK = 1;

/**
 * Bytes of the zstd frame that `bytes` begins with (RFC 8878, 3.1.1): images say only
 * in how many sectors a frame lies. Undefined when it is none, or not all there.
 */
export function zstdFrameBytes(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 5 || view.getUint32(0, true) !== ZSTD_MAGIC) return undefined;
  const descriptor = bytes[4];
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6];
  let at = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3] + contentSizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + 3 > bytes.length) return undefined;
    const block = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    isLast = (block & 1) !== 0;
    at += 3 + (((block >> 1) & 3) === RLE_BLOCK ? 1 : block >> 3);
  }
  if ((descriptor & 4) !== 0) at += 4;
  return at <= bytes.length ? at : undefined;
}
