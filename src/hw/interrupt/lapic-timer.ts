/** The local APIC's timer: Intel SDM vol. 3, 11.5.4. It counts nanoseconds, before the divider. */

import type { StateOf } from '../../base/index.ts';
import { int, nanos, optional, stateTable, u32 } from '../../base/index.ts';
import type { Clock, Timer } from '../../contract/index.ts';

export const TIMER_MODE = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;
/** Shorter periods interrupt only as often as this, to keep the host alive. */
const MIN_PERIOD_NANOS = 20_000;

export const TIMER = stateTable({
  /** The timer mode field of the LVT entry; 3 is reserved and counts nothing. */
  mode: int(0, 3, TIMER_MODE.oneShot),
  initialCount: u32(),
  /** The divide configuration register: bits 0, 1 and 3. */
  divide: int(0, 0x0b, 0),
  /** When the current count was the initial count. */
  startNanos: nanos(),
  /** The next expiry. */
  deadlineNanos: optional(nanos()),
  tscLow: u32(),
  tscHigh: u32(),
});

export class LapicTimer {
  state: StateOf<typeof TIMER> = TIMER.initial();
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #nanosFromTsc: (low: number, high: number) => number;
  readonly #onExpire: () => void;

  /** @param options.nanosFromTsc when the guest's TSC has the 64-bit value high:low, in the clock's nanoseconds; may be infinite */
  constructor(options: {
    clock: Clock;
    nanosFromTsc: (low: number, high: number) => number;
    onExpire: () => void;
  }) {
    this.#clock = options.clock;
    this.#nanosFromTsc = options.nanosFromTsc;
    this.#onExpire = options.onExpire;
    this.#timer = options.clock.createTimer(() => this.#expire());
  }

  /** Makes the clock's timer follow the state, after reset or restore. */
  update(): void {
    const { deadlineNanos } = this.state;
    if (deadlineNanos === undefined) this.#timer.cancel();
    else this.#timer.arm(deadlineNanos);
  }

  /** Entering or leaving TSC-deadline mode disarms the timer. */
  setMode(mode: number): void {
    const s = this.state;
    if (mode === s.mode) return;
    this.#catchUp();
    const count = this.currentCount();
    if (mode === TIMER_MODE.tscDeadline || s.mode === TIMER_MODE.tscDeadline) this.state.initialCount = 0;
    s.mode = mode;
    s.tscLow = 0;
    s.tscHigh = 0;
    this.#countFrom(count);
  }

  writeInitialCount(count: number): void {
    if (this.state.mode === TIMER_MODE.tscDeadline) return;
    this.#catchUp();
    this.state.initialCount = count;
    this.#countFrom(count);
  }

  writeDivide(divide: number): void {
    this.#catchUp();
    const count = this.currentCount();
    this.state.divide = divide & 0x0b;
    if (this.state.mode !== TIMER_MODE.tscDeadline) this.#countFrom(count);
  }

  currentCount(): number {
    const s = this.state;
    if (s.initialCount === 0 || s.mode === TIMER_MODE.tscDeadline) return 0;
    const passed = Math.floor((this.#clock.nowNanos() - s.startNanos) / this.#divisor());
    if (s.mode === TIMER_MODE.periodic) return s.initialCount - (passed % s.initialCount);
    return Math.max(0, s.initialCount - passed);
  }

  /** Zero disarms; outside TSC-deadline mode the write is ignored. */
  writeDeadline(low: number, high: number): void {
    if (this.state.mode !== TIMER_MODE.tscDeadline) return;
    const s = this.state;
    s.tscLow = low;
    s.tscHigh = high;
    const armed = low !== 0 || high !== 0;
    const deadline = armed ? this.#nanosFromTsc(low, high) : Number.POSITIVE_INFINITY;
    s.deadlineNanos = deadline > Number.MAX_SAFE_INTEGER ? undefined : Math.max(deadline, 0); // never, or at once
    if (s.deadlineNanos !== undefined && s.deadlineNanos <= this.#clock.nowNanos()) this.#expire();
    else this.update();
  }

  /** Goes on with `count` left now. */
  #countFrom(count: number): void {
    const s = this.state;
    const now = this.#clock.nowNanos();
    const divisor = this.#divisor();
    s.startNanos = now - (s.initialCount - count) * divisor;
    s.deadlineNanos = count === 0 || s.mode > TIMER_MODE.periodic ? undefined : now + count * divisor;
    this.update();
  }

  /** An expiry that is due but has not been told comes before what changes the timer. */
  #catchUp(): void {
    const { deadlineNanos } = this.state;
    if (deadlineNanos !== undefined && deadlineNanos <= this.#clock.nowNanos()) this.#expire();
  }

  /** However many periods have passed, there is one interrupt. */
  #expire(): void {
    const s = this.state;
    s.deadlineNanos = undefined;
    s.tscLow = 0;
    s.tscHigh = 0;
    if (s.mode === TIMER_MODE.periodic && s.initialCount > 0) {
      const period = s.initialCount * this.#divisor();
      const step = period * Math.ceil(MIN_PERIOD_NANOS / period);
      s.deadlineNanos = s.startNanos + (Math.floor((this.#clock.nowNanos() - s.startNanos) / step) + 1) * step;
    }
    this.update();
    this.#onExpire();
  }

  #divisor(): number {
    return timerDivisor(this.state.divide);
  }
}

/** Figure 11-10: 2, 4, 8, … 128, 1. @param divide the divide configuration register */
export function timerDivisor(divide: number): number {
  const code = (divide & 3) | ((divide & 8) >> 1);
  return code === 7 ? 1 : 2 << code;
}
