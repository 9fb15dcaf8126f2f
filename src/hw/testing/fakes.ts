/** Stand-ins for what a board injects into a device: used by the tests of this room. */
import type { CharPort, CharReceiver, Clock, CpuSignals, IrqLine, MsiSink, Timer } from '../../contract/index.ts';

/** A clock that moves only when told to; due timers fire in order of their deadlines. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<FakeTimer>();

  nowNanos(): number {
    return this.#now;
  }

  createTimer(onExpire: () => void): Timer {
    const timer = new FakeTimer(onExpire);
    this.#timers.add(timer);
    return timer;
  }

  /** Moves time on, stopping at each deadline on the way. */
  advance(nanos: number): void {
    const end = this.#now + nanos;
    for (let due = this.#nextDue(end); due; due = this.#nextDue(end)) {
      this.#now = Math.max(this.#now, due.deadlineNanos ?? 0);
      due.expire();
    }
    this.#now = end;
  }

  /** Moves time on while the host is away: what falls due waits for the next `advance`. */
  jump(nanos: number): void {
    this.#now += nanos;
  }

  #nextDue(end: number): FakeTimer | undefined {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.deadlineNanos === undefined || timer.deadlineNanos > end) continue;
      if (!next || timer.deadlineNanos < (next.deadlineNanos ?? 0)) next = timer;
    }
    return next;
  }
}

class FakeTimer implements Timer {
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

/** A wire that remembers its level and counts its rising edges. */
export class FakeLine implements IrqLine {
  level = false;
  edges = 0;

  set(level: boolean): void {
    if (level && !this.level) this.edges++;
    this.level = level;
  }
}

/** A character port with the outside in the test's hands. */
export class FakeCharPort implements CharPort {
  readonly sent: number[] = [];
  writes = 0;
  #receiver: CharReceiver | undefined;

  write(bytes: Uint8Array): void {
    this.writes++;
    this.sent.push(...bytes);
  }

  connect(receiver: CharReceiver): void {
    this.#receiver = receiver;
  }

  /** Offers bytes to the device; returns how many it took. */
  offer(...bytes: number[]): number {
    const count = Math.min(bytes.length, this.#receiver?.canReceive() ?? 0);
    this.#receiver?.receive(Uint8Array.from(bytes.slice(0, count)));
    return count;
  }
}

export class FakeMsiSink implements MsiSink {
  readonly sent: { address: number; data: number }[] = [];

  send(address: number, data: number): void {
    this.sent.push({ address, data });
  }
}

/** A CPU that writes down what it is told. */
export class FakeCpu implements CpuSignals {
  readonly log: string[] = [];

  interruptRequest(): void {
    this.log.push('interrupt');
  }

  nmi(): void {
    this.log.push('nmi');
  }

  init(): void {
    this.log.push('init');
  }

  startup(vector: number): void {
    this.log.push(`startup ${vector}`);
  }

  setA20(enabled: boolean): void {
    this.log.push(`a20 ${enabled}`);
  }
}
