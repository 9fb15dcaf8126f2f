/** The receiving half of a TCP connection: order, the window we offer, what came too early. */
import { seqAdd, seqDistance } from '../wire/tcp.js';
/** A peer that sends single bytes out of order cannot make us keep more pieces than this. */
const EARLY_MAX = 256;
export class TcpReceiver {
    /** The next sequence number we expect. */
    next;
    /** Shift of the windows we send; 0 until the peer agreed to scale. */
    scale = 0;
    /** Delivered, and not yet consumed by whoever uses the connection. */
    unconsumedBytes = 0;
    #windowMaxBytes;
    #memoryRoom;
    /** Right edge of the window last offered; never taken back. */
    #edge;
    /** By sequence, not overlapping, all beyond `next`. */
    #early = [];
    #earlyBytes = 0;
    /** Where the FIN stands, once one came. */
    #finSequence;
    /** @param next the sequence number after the peer's SYN */
    constructor(next, windowMaxBytes, memoryRoom) {
        this.next = next;
        this.#edge = next;
        this.#windowMaxBytes = windowMaxBytes;
        this.#memoryRoom = memoryRoom;
    }
    /** Held here and by the user. */
    get heldBytes() {
        return this.unconsumedBytes + this.#earlyBytes;
    }
    get hasEarly() {
        return this.#early.length > 0;
    }
    /** The window field of the next segment; what it says is offered from now on. */
    offerWindow() {
        const field = this.#roomBytes() >>> this.scale;
        this.#edge = seqAdd(this.next, field << this.scale);
        return field;
    }
    /** Enough has become free that the peer should hear of it (RFC 9293, 3.8.6.2.2). */
    isWindowWorthTelling(mss) {
        const gain = this.#roomBytes() - this.#offered;
        return gain >= Math.min(this.#windowMaxBytes >> 1, 2 * mss);
    }
    get #offered() {
        return seqDistance(this.#edge, this.next);
    }
    #roomBytes() {
        const own = Math.min(this.#windowMaxBytes - this.unconsumedBytes, this.#memoryRoom(), 0xffff << this.scale);
        return Math.max(this.#offered, own, 0);
    }
    /** RFC 9293, 3.4: whether any of a segment lies in the window. */
    isAcceptable(sequence, length) {
        const offset = seqDistance(sequence, this.next);
        const window = this.#offered;
        if (length === 0)
            return window === 0 ? offset === 0 : offset >= 0 && offset < window;
        const lastOffset = offset + length - 1;
        return window > 0 && ((offset >= 0 && offset < window) || (lastOffset >= 0 && lastOffset < window));
    }
    /**
     * Takes a segment's data and FIN.
     * @returns what is now in order, copied, and whether the FIN is reached
     */
    take(sequence, payload, hasFin) {
        const skipped = Math.max(0, -seqDistance(sequence, this.next));
        const start = skipped > 0 ? this.next : sequence;
        const room = Math.max(0, seqDistance(this.#edge, start));
        const bytes = payload.subarray(Math.min(skipped, payload.length), Math.min(payload.length, skipped + room));
        const finSequence = seqAdd(sequence, payload.length);
        const isFinInWindow = skipped + bytes.length >= payload.length && seqDistance(finSequence, this.next) >= 0;
        if (hasFin && isFinInWindow)
            this.#finSequence ??= finSequence;
        const chunks = [];
        if (start === this.next) {
            this.#deliver(bytes, chunks);
            this.#deliverEarly(chunks);
        }
        else if (bytes.length > 0)
            this.#keep(start, bytes);
        const isEnded = this.#finSequence === this.next;
        if (isEnded)
            this.next = seqAdd(this.next, 1);
        return { chunks, isEnded };
    }
    #deliver(bytes, chunks) {
        if (bytes.length === 0)
            return;
        chunks.push(bytes.slice());
        this.next = seqAdd(this.next, bytes.length);
        this.unconsumedBytes += bytes.length;
    }
    #deliverEarly(chunks) {
        while (this.#early.length > 0) {
            const { sequence, bytes } = this.#early[0];
            const skipped = -seqDistance(sequence, this.next);
            if (skipped < 0)
                return;
            this.#early.shift();
            this.#earlyBytes -= bytes.length;
            if (skipped < bytes.length)
                this.#deliver(bytes.subarray(skipped), chunks);
        }
    }
    /** What overlaps something already kept is cut; when full, it is dropped and the peer sends it again. */
    #keep(sequence, bytes) {
        let [from, rest] = [sequence, bytes];
        for (let i = 0; rest.length > 0; i++) {
            const kept = this.#early[i];
            const gap = kept === undefined ? rest.length : Math.min(rest.length, seqDistance(kept.sequence, from));
            if (gap > 0) {
                if (this.#early.length >= EARLY_MAX)
                    return;
                this.#early.splice(i++, 0, { sequence: from, bytes: rest.slice(0, gap) });
                this.#earlyBytes += gap;
            }
            if (kept === undefined)
                return;
            const skipped = Math.max(0, gap, seqDistance(seqAdd(kept.sequence, kept.bytes.length), from));
            if (skipped >= rest.length)
                return;
            from = seqAdd(from, skipped);
            rest = rest.subarray(skipped);
        }
    }
}
