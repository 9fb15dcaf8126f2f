/** The time joint. All times are nanoseconds of guest virtual time, as numbers (exact below 2^53: 104 days). */
export interface Clock {
  /** Nanoseconds since the machine started; stands still while the machine is paused. */
  nowNanos(): number;
  /** A timer that calls `onExpire` in the vCPU's thread, between guest instructions. */
  createTimer(onExpire: () => void): Timer;
}

export interface Timer {
  /** Arms for an absolute time; replaces an earlier deadline. A past deadline fires at the next chance. */
  arm(deadlineNanos: number): void;
  cancel(): void;
  /** The armed deadline, or undefined. */
  readonly deadlineNanos: number | undefined;
}

/** Wall-clock time for the RTC: milliseconds since 1970 UTC. */
export interface WallClock {
  nowMillis(): number;
}
