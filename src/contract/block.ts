/**
 * The block joint: a disk, an image file or a filter, as whoever stands on it sees it.
 *
 * Offsets and lengths are bytes, as numbers (exact below 2^53). Requests may
 * overlap in time; two that touch the same bytes have no order unless one was
 * awaited. What a request is given is borrowed until its promise settles.
 */

export interface BlockLimits {
  /** Offsets and lengths of requests are multiples of this; a power of two, 1 for no limit. */
  readonly alignmentBytes: number;
  /** Requests that begin and end at multiples of this are cheapest, e.g. an image's cluster. */
  readonly preferredBytes: number;
}

/** What is known of a range without reading it. */
export interface BlockExtent {
  readonly offset: number;
  readonly length: number;
  /** This node itself decides the content; false: it comes from the backing node, or is zeros where there is none. */
  readonly allocated: boolean;
  /** Reads as zeros, for certain. */
  readonly zero: boolean;
  /** Bytes are stored for it. */
  readonly data: boolean;
  /** Where the bytes lie in the child, when they lie there as they are, in one piece. */
  readonly childOffset?: number;
  readonly compressed?: boolean;
}

export interface WriteZeroesOptions {
  /** May give the space back to the host. */
  readonly mayUnmap?: boolean;
}

/**
 * What a node can do within the call, without waiting for a disk or another thread. True: it is done. False: it is
 * not, or only in part, for whatever reason: ask the node itself, which also says what is wrong. Nothing is thrown.
 */
export interface BlockImmediate {
  /** Fills `targets`, one after the other, from `offset` on. */
  read(offset: number, targets: readonly Uint8Array[]): boolean;
  /** Writes `sources`, one after the other, from `offset` on; never on a node that is `readOnly`. */
  write(offset: number, sources: readonly Uint8Array[]): boolean;
}

/**
 * Every request rejects with an `IoError`: `out-of-range` beyond the size,
 * `read-only`, `no-space`, or `io` when the host or the image fails it.
 */
export interface BlockNode {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly limits: BlockLimits;
  /** Fills `target` from `offset` on. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** A node that has `resize` grows when written beyond its end. */
  write(offset: number, source: Uint8Array): Promise<void>;
  /** Everything whose write has settled before this call survives a loss of power once it settles. */
  flush(): Promise<void>;
  /**
   * At least one extent, in order and without gaps, from `offset` on; at most
   * `length` bytes, perhaps fewer: ask again from where they end.
   */
  extents(offset: number, length: number): Promise<readonly BlockExtent[]>;
  /** Says that the content of a range is no longer needed; it may stay, or become zeros. */
  discard?(offset: number, length: number): Promise<void>;
  /** Makes a range zeros without sending them; without this, write zeros. */
  writeZeroes?(offset: number, length: number, options?: WriteZeroesOptions): Promise<void>;
  /** Changes the size; new bytes are zeros. */
  resize?(sizeBytes: number): Promise<void>;
  /** Absent where every request has to wait. It means what `read` and `write` mean. */
  readonly immediate?: BlockImmediate;
  /** Flushes and gives up everything held, the children too. Nothing may be in flight. */
  close(): Promise<void>;
}
