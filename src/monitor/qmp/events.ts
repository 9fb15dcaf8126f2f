/** Events on their way to the sessions: stamped with the time, and some held back so that a guest cannot flood. */
import type { Events } from '../schema/types.ts';

export interface EventClock {
  nowMillis(): number;
  /** Calls once, later; returns what cancels it. */
  after(millis: number, action: () => void): () => void;
}

interface Held {
  /** The newest event of its kind since the last one that went out. */
  waiting: unknown;
  readonly cancel: () => void;
}

export class EventQueue {
  readonly #events: Events;
  readonly #clock: EventClock;
  readonly #send: (message: unknown) => void;
  readonly #held = new Map<string, Held>();

  constructor(events: Events, clock: EventClock, send: (message: unknown) => void) {
    this.#events = events;
    this.#clock = clock;
    this.#send = send;
  }

  /** @param data The members; none when the event has none. */
  emit(name: string, data: Readonly<Record<string, unknown>> | undefined): void {
    const message = this.#stamp(name, data);
    const limitNanos = this.#events[name].rateLimitNanos;
    if (limitNanos === undefined) {
      this.#send(message);
      return;
    }
    // One channel's, device's or port's events do not displace another's.
    const key = `${name} ${data?.id ?? data?.['node-name'] ?? data?.['qom-path'] ?? ''}`;
    const held = this.#held.get(key);
    if (held !== undefined) {
      held.waiting = message;
      return;
    }
    this.#send(message);
    this.#hold(key, limitNanos / 1e6);
  }

  close(): void {
    for (const { cancel } of this.#held.values()) cancel();
    this.#held.clear();
  }

  #hold(key: string, millis: number): void {
    const cancel = this.#clock.after(millis, () => {
      const waiting = this.#held.get(key)?.waiting;
      this.#held.delete(key);
      if (waiting === undefined) return;
      this.#send(waiting);
      this.#hold(key, millis);
    });
    this.#held.set(key, { waiting: undefined, cancel });
  }

  #stamp(name: string, data: unknown) {
    const millis = this.#clock.nowMillis();
    const seconds = Math.floor(millis / 1000);
    const timestamp = { seconds, microseconds: Math.round((millis - seconds * 1000) * 1000) };
    return { timestamp, event: name, ...(data === undefined ? {} : { data }) };
  }
}
