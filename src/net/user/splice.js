export class Splice {
    tcpEvents;
    hostEvents;
    #ports;
    #connection;
    #stream;
    #isPaused = false;
    #isGuestOver = false;
    #isHostOver = false;
    constructor(ports) {
        this.#ports = ports;
        this.tcpEvents = {
            established: () => { },
            data: (bytes) => {
                this.#stream?.write(bytes);
                ports.budget.update(this);
            },
            ended: () => this.#stream?.end(),
            acknowledged: () => this.#onAcknowledged(),
            closed: (end) => this.#onGuestClosed(end),
        };
        this.hostEvents = {
            connected: () => this.#connection?.accept(),
            data: (bytes) => this.#onHostData(bytes),
            written: (byteCount) => {
                this.#connection?.consumed(byteCount);
                ports.budget.update(this);
            },
            ended: () => this.#connection?.end(),
            closed: (failure) => this.#onHostClosed(failure),
        };
    }
    get heldBytes() {
        return this.#connection?.heldBytes ?? 0;
    }
    /** Names both sides; before anything happens on either. */
    join(connection, stream) {
        this.#connection = connection;
        this.#stream = stream;
    }
    /** Ends both sides at once. */
    abort() {
        this.#connection?.abort();
        this.#isGuestOver = true;
        this.#endHost();
    }
    memoryAgain() {
        this.#resumeHost();
        this.#connection?.windowMayGrow();
    }
    #onHostData(bytes) {
        if (this.#isGuestOver)
            return;
        this.#connection.write(bytes);
        this.#ports.budget.update(this);
        const { budget, queueMaxBytes } = this.#ports;
        if (this.#isPaused || (this.#connection.queuedBytes < queueMaxBytes && budget.roomBytes > 0))
            return;
        this.#isPaused = true;
        this.#stream.pause();
    }
    #onAcknowledged() {
        this.#ports.budget.update(this);
        this.#resumeHost();
    }
    /** With nothing queued of its own, a connection goes on even when others hold all memory. */
    #resumeHost() {
        if (!this.#isPaused || this.#isHostOver)
            return;
        const queued = this.#connection.queuedBytes;
        const isMemoryFree = queued === 0 || this.#ports.budget.roomBytes > 0;
        if (queued > this.#ports.queueMaxBytes >> 1 || !isMemoryFree)
            return;
        this.#isPaused = false;
        this.#stream.resume();
    }
    #onGuestClosed(end) {
        this.#isGuestOver = true;
        // After an orderly end, what the guest sent may still be on its way out of the host's queue.
        if (end !== 'done')
            this.#endHost();
        else if (this.#isHostOver)
            this.#finish();
        else {
            this.#ports.budget.update(this);
            this.#ports.guestOver();
        }
    }
    #onHostClosed(failure) {
        if (this.#isHostOver)
            return;
        this.#isHostOver = true;
        if (failure !== undefined && !this.#isGuestOver) {
            this.#isGuestOver = true;
            if (this.#connection.state === 'waiting' && failure !== 'refused')
                this.#ports.refused(failure);
            else
                this.#connection.abort();
        }
        if (this.#isGuestOver)
            this.#finish();
    }
    #endHost() {
        if (!this.#isHostOver)
            this.#stream?.destroy();
        this.#isHostOver = true;
        this.#finish();
    }
    #finish() {
        this.#ports.budget.remove(this);
        this.#ports.over();
    }
}
