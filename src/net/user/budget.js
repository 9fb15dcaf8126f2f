/** The memory that all connections share: who holds how much, and who is told when some becomes free. */
export class MemoryBudget {
    #limitBytes;
    #held = new Map();
    #usedBytes = 0;
    #wasFull = false;
    constructor(limitBytes) {
        this.#limitBytes = limitBytes;
    }
    get usedBytes() {
        return this.#usedBytes;
    }
    get roomBytes() {
        return Math.max(0, this.#limitBytes - this.#usedBytes);
    }
    /** Counts a user's bytes anew. */
    update(user) {
        this.#count(user, user.heldBytes);
    }
    remove(user) {
        this.#count(user, 0);
        this.#held.delete(user);
    }
    #count(user, bytes) {
        this.#usedBytes += bytes - (this.#held.get(user) ?? 0);
        this.#held.set(user, bytes);
        if (this.roomBytes === 0)
            this.#wasFull = true;
        else if (this.#wasFull && this.#usedBytes < this.#limitBytes * 0.75) {
            this.#wasFull = false;
            for (const other of [...this.#held.keys()])
                other.memoryAgain();
        }
    }
}
