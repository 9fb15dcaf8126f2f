/** Gathers a device's output bytes, so that the character port is called once for many. */
import type { CharPort, Clock, Timer } from '../../contract/index.ts';

const CAPACITY_BYTES = 1024;
const DELAY_NANOS = 1_000_000;

export class OutputBuffer {
  readonly #port: CharPort;
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #bytes = new Uint8Array(CAPACITY_BYTES);
  #length = 0;

  constructor(port: CharPort, clock: Clock) {
    this.#port = port;
    this.#clock = clock;
    this.#timer = clock.createTimer(() => this.flush());
  }

  /** The byte goes out a millisecond later at the latest, in order. */
  push(byte: number): void {
    this.#bytes[this.#length++] = byte;
    if (this.#length === CAPACITY_BYTES) this.flush();
    else if (this.#length === 1) this.#timer.arm(this.#clock.nowNanos() + DELAY_NANOS);
  }

  flush(): void {
    this.#timer.cancel();
    const length = this.#length;
    this.#length = 0;
    if (length > 0) this.#port.write(this.#bytes.subarray(0, length));
  }
}
