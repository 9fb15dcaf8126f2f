/** Guest virtual time over a host's monotonic clock, and the timers that run on it. */
import type { Clock, Timer } from '../contract/index.ts';

/** Virtual time stands still until `resume` and while paused. Timers fire only in `runExpired`. */
export class VirtualClock implements Clock {
  readonly #monotonicNanos: () => number;
  /** Virtual time while paused, else virtual time at host time 0. */
  #base = 0;
  #running = false;
  readonly #timers: VirtualTimer[] = [];

  constructor(monotonicNanos: () => number) {
    this.#monotonicNanos = monotonicNanos;
  }

  nowNanos(): number {
    return this.#running ? this.#monotonicNanos() + this.#base : this.#base;
  }

  pause(): void {
    this.#base = this.nowNanos();
    this.#running = false;
  }

  resume(): void {
    if (this.#running) return;
    this.#base -= this.#monotonicNanos();
    this.#running = true;
  }

  createTimer(onExpire: () => void): Timer {
    const timer = new VirtualTimer(onExpire);
    this.#timers.push(timer);
    return timer;
  }

  /** Sets the time of a clock that stands still. */
  set(nanos: number): void {
    this.pause();
    this.#base = nanos;
  }

  /** Nanoseconds until the next timer is due: 0 when one is, Infinity when none is armed. */
  untilNextNanos(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { deadlineNanos } of this.#timers) {
      if (deadlineNanos !== undefined && deadlineNanos < next) next = deadlineNanos;
    }
    return next === Number.POSITIVE_INFINITY ? next : Math.max(0, next - this.nowNanos());
  }

  /**
   * Fires the timers that are due now, earliest first. Each fires at most once,
   * so one that arms itself in the past cannot hold the thread.
   */
  runExpired(): void {
    const now = this.nowNanos();
    const due = this.#timers.filter((timer) => isDue(timer, now));
    due.sort((a, b) => (a.deadlineNanos ?? 0) - (b.deadlineNanos ?? 0));
    for (const timer of due) {
      if (isDue(timer, now)) timer.expire(); // an earlier one may have cancelled or moved it
    }
  }
}

class VirtualTimer implements Timer {
  deadlineNanos: number | undefined;
  readonly #onExpire: () => void;

  constructor(onExpire: () => void) {
    this.#onExpire = onExpire;
  }

  arm(deadlineNanos: number): void {
    this.deadlineNanos = deadlineNanos;
  }

  cancel(): void {
    this.deadlineNanos = undefined;
  }

  expire(): void {
    this.deadlineNanos = undefined;
    this.#onExpire();
  }
}

function isDue(timer: Timer, nowNanos: number): boolean {
  return timer.deadlineNanos !== undefined && timer.deadlineNanos <= nowNanos;
}
