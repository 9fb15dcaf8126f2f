/** The compression joint: what a host must bring for images with compressed clusters. */

export interface Compression {
  /**
   * Compresses one cluster; `undefined` when the result would not be smaller than the input.
   * `zlib` is a raw deflate stream with a 4 KiB window, `zstd` one frame.
   */
  compress(kind: CompressionKind, source: Uint8Array): Promise<Uint8Array | undefined>;
  /** Fills `target` exactly; ignores bytes after the end of the stream. Rejects when the stream is short or broken. */
  decompress(kind: CompressionKind, source: Uint8Array, target: Uint8Array): Promise<void>;
}

export type CompressionKind = 'zlib' | 'zstd';
