/** Finds out whether a silent peer is still there (RFC 9293, 3.8.4). */
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';

const INTERVAL_NANOS = 15 * SECOND_NANOS;
const PROBES = 6;

export interface KeepAlivePorts {
  /** Sends something that the peer must answer. */
  probe(): void;
  /** No probe was answered. */
  vanished(): void;
}

export class KeepAlive {
  readonly #timers: Timers;
  readonly #silenceNanos: number;
  readonly #ports: KeepAlivePorts;
  readonly #timer: StackTimer;
  #lastHeardNanos: number;
  #probes = 0;

  /** @param silenceNanos after which the first probe goes out */
  constructor(timers: Timers, silenceNanos: number, ports: KeepAlivePorts) {
    this.#timers = timers;
    this.#silenceNanos = silenceNanos;
    this.#ports = ports;
    this.#timer = timers.create(() => this.#onSilence());
    this.#lastHeardNanos = timers.nowNanos();
  }

  start(): void {
    this.#timer.start(this.#silenceNanos);
  }

  stop(): void {
    this.#timer.stop();
  }

  heard(): void {
    this.#lastHeardNanos = this.#timers.nowNanos();
    this.#probes = 0;
  }

  #onSilence(): void {
    const silentNanos = this.#timers.nowNanos() - this.#lastHeardNanos;
    if (silentNanos < this.#silenceNanos) {
      this.#timer.start(this.#silenceNanos - silentNanos);
      return;
    }
    if (this.#probes++ >= PROBES) {
      this.#ports.vanished();
      return;
    }
    this.#ports.probe();
    this.#timer.start(INTERVAL_NANOS);
  }
}
