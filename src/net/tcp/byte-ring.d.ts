/** A queue of bytes that can be read anywhere: what was sent and not yet acknowledged, and what is to be sent. */
export declare class ByteRing {
    #private;
    get length(): number;
    push(bytes: Uint8Array): void;
    /** Forgets the first `count` bytes; an empty ring holds no memory. */
    drop(count: number): void;
    /** Copies `count` bytes from `offset` in the queue; they must be there. */
    copy(offset: number, count: number, target: Uint8Array, targetOffset: number): void;
}
