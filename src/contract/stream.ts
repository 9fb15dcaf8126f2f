/**
 * The stream joint: a connection to a peer that is read when its user is ready
 * for more, so that neither side can fill the other's memory.
 */
export interface ByteStream {
  /** The next bytes, which belong to the caller; undefined at the end. One call at a time. Rejects when the connection broke. */
  read(): Promise<Uint8Array | undefined>;
  /** Sends the parts in order; settles when there is room for more. They may not change until then. Rejects when the connection broke. */
  write(parts: readonly Uint8Array[]): Promise<void>;
  /** Sends what was written and closes; what the peer still sends is dropped. */
  end(): void;
  /** Closes at once; reads and writes under way reject or end. */
  destroy(): void;
  /**
   * Continues under TLS: nothing may be unread, and only the result may be used from here on.
   * Absent where the host has no credentials for it. Rejects with a `UserError` when the peers do not agree.
   */
  startTls?(): Promise<ByteStream>;
}

/** Takes exact numbers of bytes from a stream. */
export interface ByteReader {
  /** Exactly `count` bytes, perhaps a view of more; undefined when the stream ends before the first. Rejects when it ends later. */
  take(count: number): Promise<Uint8Array | undefined>;
  /** As `take`, but the bytes stay to be taken; `count` is small. */
  peek(count: number): Promise<Uint8Array | undefined>;
  /** Fills `target`. Rejects when the stream ends before that. */
  fill(target: Uint8Array): Promise<void>;
  /** Drops bytes. */
  skip(count: number): Promise<void>;
  /** Bytes that came and were not taken. */
  readonly buffered: number;
}
