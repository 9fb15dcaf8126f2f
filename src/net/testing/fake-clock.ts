/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from '../../contract/index.ts';

export class FakeClock implements Clock {
  #now = 0;
  readonly #timers: FakeTimer[] = [];

  nowNanos(): number {
    return this.#now;
  }

  createTimer(onExpire: () => void): Timer {
    const timer = new FakeTimer(onExpire);
    this.#timers.push(timer);
    return timer;
  }

  /** The next deadline, or undefined. */
  get nextNanos(): number | undefined {
    const deadlines = this.#timers.map(({ deadlineNanos }) => deadlineNanos).filter((nanos) => nanos !== undefined);
    return deadlines.length === 0 ? undefined : Math.min(...deadlines);
  }

  /** Moves on, firing what is due on the way, each at its time. */
  advance(nanos: number): void {
    const end = this.#now + nanos;
    for (let next = this.nextNanos; next !== undefined && next <= end; next = this.nextNanos) {
      this.#now = Math.max(this.#now, next);
      const due = this.#timers.find(({ deadlineNanos }) => deadlineNanos === next)!;
      due.deadlineNanos = undefined;
      due.onExpire();
    }
    this.#now = end;
  }
}

class FakeTimer implements Timer {
  deadlineNanos: number | undefined;
  readonly onExpire: () => void;

  constructor(onExpire: () => void) {
    this.onExpire = onExpire;
  }

  arm(deadlineNanos: number): void {
    this.deadlineNanos = deadlineNanos;
  }

  cancel(): void {
    this.deadlineNanos = undefined;
  }
}
