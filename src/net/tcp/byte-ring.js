/** A queue of bytes that can be read anywhere: what was sent and not yet acknowledged, and what is to be sent. */
const START_BYTES = 4096;
export class ByteRing {
    #bytes = new Uint8Array(0);
    #start = 0;
    #length = 0;
    get length() {
        return this.#length;
    }
    push(bytes) {
        this.#reserve(this.#length + bytes.length);
        const at = (this.#start + this.#length) % this.#bytes.length || 0;
        const first = Math.min(bytes.length, this.#bytes.length - at);
        this.#bytes.set(bytes.subarray(0, first), at);
        this.#bytes.set(bytes.subarray(first), 0);
        this.#length += bytes.length;
    }
    /** Forgets the first `count` bytes; an empty ring holds no memory. */
    drop(count) {
        this.#length -= count;
        this.#start = this.#length === 0 ? 0 : (this.#start + count) % this.#bytes.length;
        if (this.#length === 0 && this.#bytes.length > START_BYTES)
            this.#bytes = new Uint8Array(0);
    }
    /** Copies `count` bytes from `offset` in the queue; they must be there. */
    copy(offset, count, target, targetOffset) {
        if (count === 0)
            return;
        const at = (this.#start + offset) % this.#bytes.length;
        const first = Math.min(count, this.#bytes.length - at);
        target.set(this.#bytes.subarray(at, at + first), targetOffset);
        if (first < count)
            target.set(this.#bytes.subarray(0, count - first), targetOffset + first);
    }
    #reserve(length) {
        if (length <= this.#bytes.length)
            return;
        let capacity = Math.max(START_BYTES, this.#bytes.length);
        while (capacity < length)
            capacity *= 2;
        const grown = new Uint8Array(capacity);
        this.copy(0, this.#length, grown, 0);
        this.#bytes = grown;
        this.#start = 0;
    }
}
