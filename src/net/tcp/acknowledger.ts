/** When a connection acknowledges what it took: at once, with the second full segment, or a little later (RFC 5681, 4.2). */
import { MILLISECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';

const DELAY_NANOS = 20 * MILLISECOND_NANOS;

export class Acknowledger {
  readonly #send: () => void;
  readonly #mss: number;
  readonly #delay: StackTimer;
  /** Bytes taken since the last acknowledgement sent. */
  #bytes = 0;
  #isDue = false;

  /** @param send emits a segment that acknowledges, which is told by `sent` */
  constructor(timers: Timers, mss: number, send: () => void) {
    this.#send = send;
    this.#mss = mss;
    this.#delay = timers.create(send);
  }

  /** The peer is to hear at the end of this segment. */
  due(): void {
    this.#isDue = true;
  }

  took(byteCount: number): void {
    this.#bytes += byteCount;
  }

  /** A segment was dealt with. */
  settle(): void {
    if (this.#isDue || this.#bytes >= 2 * this.#mss) this.#send();
    else if (this.#bytes > 0 && !this.#delay.isRunning) this.#delay.start(DELAY_NANOS);
  }

  /** Everything taken so far was acknowledged, by whatever segment, or nobody is left to hear it. */
  sent(): void {
    this.#isDue = false;
    this.#bytes = 0;
    this.#delay.stop();
  }
}
