/** What the thread that reads a tap device shares with the one that opened it. */

export interface TapThreadData {
  readonly fd: number;
  /** Int32 words, by `TAP_WORD`. */
  readonly shared: SharedArrayBuffer;
}

export const TAP_WORD = { stop: 0, framesUnderWay: 1 } as const;

/** Frames posted and not yet taken; the kernel's queue holds the rest, and drops beyond its length. */
export const TAP_UNDER_WAY_MAX = 256;
