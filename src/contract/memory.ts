/** The guest-memory joint: RAM as a shared buffer, addressed by guest physical address. */

/** One contiguous piece of RAM: guest physical [base, base + size) lies at `offset` in the buffer. */
export interface RamRange {
  readonly base: number;
  readonly size: number;
  readonly offset: number;
}

export interface GuestMemory {
  /** The backing buffer; a WebAssembly.Memory's buffer, so `ranges[].offset` need not start at 0. */
  readonly buffer: SharedArrayBuffer;
  readonly ranges: readonly RamRange[];
  /** Bytes of RAM in all. */
  readonly size: number;
  /**
   * A view of guest physical [base, base + length), or undefined when any of
   * it is not RAM. Reading through it is always safe; after writing through it
   * call `written`, so that translated code of those pages is dropped.
   */
  view(base: number, length: number): Uint8Array | undefined;
  /** Says that a device or a loader changed guest physical [base, base + length). */
  written(base: number, length: number): void;
}
