/** The retransmission timeout from measured round trips (RFC 6298). */
import { MILLISECOND_NANOS, SECOND_NANOS } from '../timers.js';
const INITIAL_NANOS = SECOND_NANOS;
const MIN_NANOS = 200 * MILLISECOND_NANOS;
const MAX_NANOS = 60 * SECOND_NANOS;
export class RoundTrip {
    #smoothed;
    #variation = 0;
    #backoff = 1;
    get timeoutNanos() {
        const base = this.#smoothed === undefined ? INITIAL_NANOS : Math.max(MIN_NANOS, this.#smoothed + 4 * this.#variation);
        return Math.min(MAX_NANOS, base * this.#backoff);
    }
    sample(nanos) {
        if (this.#smoothed === undefined) {
            this.#smoothed = nanos;
            this.#variation = nanos / 2;
        }
        else {
            this.#variation += (Math.abs(this.#smoothed - nanos) - this.#variation) / 4;
            this.#smoothed += (nanos - this.#smoothed) / 8;
        }
        this.#backoff = 1;
    }
    /** The timeout passed without an answer: wait twice as long (RFC 6298, 5.5). */
    backOff() {
        this.#backoff = Math.min(this.#backoff * 2, 64);
    }
    /** Something new was acknowledged, so the peer is there. */
    forgetBackoff() {
        this.#backoff = 1;
    }
}
