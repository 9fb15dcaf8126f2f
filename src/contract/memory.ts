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
  /** Whose buffer it is, where it is one of at most 4 GiB that threads can share. */
  readonly memory?: WebAssembly.Memory;
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
  /** Which pages are written, for whoever copies RAM while its guest runs; absent: this accelerator cannot say. */
  readonly dirtyLog?: DirtyLog;
}

/**
 * Notes which 4-KiB pages of RAM are written, by CPUs and (through `written`) by devices. Called in the machine's
 * thread, whether the guest runs or not.
 */
export interface DirtyLog {
  /** From here on writes are noted; none are noted yet. */
  start(): void;
  /**
   * Sets in `bitmap` the bits of the pages that were written since `start` or the last call, and leaves its other bits.
   * While CPUs run, a page whose write goes on meanwhile is in this call's answer or in the next one's. A page is to be
   * read after the call that says it was written.
   * @param bitmap a bit a page, those of `ranges` one after the other, the least significant bit of a byte first
   * @returns how many pages were written
   */
  take(bitmap: Uint8Array): number;
  /** What was noted is forgotten. */
  stop(): void;
}
