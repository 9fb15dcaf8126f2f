export declare class TcpReceiver {
    #private;
    /** The next sequence number we expect. */
    next: number;
    /** Shift of the windows we send; 0 until the peer agreed to scale. */
    scale: number;
    /** Delivered, and not yet consumed by whoever uses the connection. */
    unconsumedBytes: number;
    /** @param next the sequence number after the peer's SYN */
    constructor(next: number, windowMaxBytes: number, memoryRoom: () => number);
    /** Held here and by the user. */
    get heldBytes(): number;
    get hasEarly(): boolean;
    /** The window field of the next segment; what it says is offered from now on. */
    offerWindow(): number;
    /** Enough has become free that the peer should hear of it (RFC 9293, 3.8.6.2.2). */
    isWindowWorthTelling(mss: number): boolean;
    /** RFC 9293, 3.4: whether any of a segment lies in the window. */
    isAcceptable(sequence: number, length: number): boolean;
    /**
     * Takes a segment's data and FIN.
     * @returns what is now in order, copied, and whether the FIN is reached
     */
    take(sequence: number, payload: Uint8Array, hasFin: boolean): {
        chunks: Uint8Array[];
        isEnded: boolean;
    };
}
