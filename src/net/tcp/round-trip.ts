/** The retransmission timeout from measured round trips (RFC 6298). */
import { MILLISECOND_NANOS, SECOND_NANOS } from '../timers.ts';

const INITIAL_NANOS = SECOND_NANOS;
/** Less than RFC 6298's second, as everyone's; the peer is on this machine, and delays acknowledgements by 40 ms. */
const MIN_NANOS = 100 * MILLISECOND_NANOS;
const MAX_NANOS = 60 * SECOND_NANOS;

export class RoundTrip {
  #smoothed: number | undefined;
  #variation = 0;
  #backoff = 1;

  get timeoutNanos(): number {
    const base =
      this.#smoothed === undefined ? INITIAL_NANOS : Math.max(MIN_NANOS, this.#smoothed + 4 * this.#variation);
    return Math.min(MAX_NANOS, base * this.#backoff);
  }

  sample(nanos: number): void {
    if (this.#smoothed === undefined) {
      this.#smoothed = nanos;
      this.#variation = nanos / 2;
    } else {
      this.#variation += (Math.abs(this.#smoothed - nanos) - this.#variation) / 4;
      this.#smoothed += (nanos - this.#smoothed) / 8;
    }
    this.#backoff = 1;
  }

  /** The timeout passed without an answer: wait twice as long (RFC 6298, 5.5). */
  backOff(): void {
    this.#backoff = Math.min(this.#backoff * 2, 64);
  }

  /** Something new was acknowledged, so the peer is there. */
  forgetBackoff(): void {
    this.#backoff = 1;
  }
}
