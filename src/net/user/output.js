const QUEUE_MAX = 512;
export const NO_OFFLOADS = { checksum: false, tcp4: false, tcp6: false };
export class GuestOutput {
    #receiver;
    #queue = [];
    #waiters = new Set();
    sentFrames = 0;
    droppedFrames = 0;
    connect(receiver) {
        this.#receiver = receiver;
        this.resume();
    }
    get takes() {
        return this.#receiver?.takes ?? NO_OFFLOADS;
    }
    get waitingFrames() {
        return this.#queue.length;
    }
    /** Whether a frame would go at once, as far as is known. Senders that can wait do. */
    canSend() {
        return this.#queue.length === 0 && this.#receiver !== undefined;
    }
    waitForRoom(waiter) {
        this.#waiters.add(waiter);
    }
    /** The frame belongs to the output from now on. */
    send(frame, unfinished) {
        if (this.canSend() && this.#receiver.receive(frame, unfinished)) {
            this.sentFrames++;
            return;
        }
        if (this.#queue.length < QUEUE_MAX)
            this.#queue.push({ frame, unfinished });
        else
            this.droppedFrames++;
    }
    resume() {
        let sent = 0;
        while (sent < this.#queue.length) {
            const { frame, unfinished } = this.#queue[sent];
            if (this.#receiver?.receive(frame, unfinished) !== true)
                break;
            sent++;
        }
        this.#queue.splice(0, sent);
        this.sentFrames += sent;
        // Each that still finds no room enters the set again, at its end.
        for (const waiter of [...this.#waiters]) {
            if (!this.canSend())
                return;
            this.#waiters.delete(waiter);
            waiter.roomAgain();
        }
    }
}
