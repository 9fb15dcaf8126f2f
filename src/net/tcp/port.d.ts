/** What a TCP connection is given and tells: its joints to the network below and to whoever uses it. */
import type { Timers } from '../timers.ts';
import type { TcpOptions, TcpSegment } from '../wire/tcp.ts';
/** A segment to be sent; the network adds ports and addresses. */
export interface OutgoingSegment {
    readonly sequence: number;
    readonly acknowledgement: number;
    readonly flags: number;
    readonly window: number;
    readonly options: TcpOptions;
    readonly payloadBytes: number;
    /** Payload above this is cut into segments on the way. */
    readonly mss: number;
    copyPayload(target: Uint8Array, offset: number): void;
}
export interface TcpNetwork {
    readonly timers: Timers;
    /** Whether there is room for data; small segments without payload always may go. */
    canSend(): boolean;
    send(segment: OutgoingSegment): void;
    /** Calls `roomAgain` once when `canSend` turns true. */
    waitForRoom(waiter: {
        roomAgain(): void;
    }): void;
    /** The most payload in one `send`: `mss`, or a multiple of it when the network cuts it. */
    payloadMax(mss: number): number;
}
export type TcpEnd = 'done' | 'reset' | 'timeout';
export interface TcpEvents {
    /** The handshake is complete. */
    established(): void;
    /** The next bytes of the stream, which belong to the receiver; it says `consumed` when it has got rid of them. */
    data(bytes: Uint8Array): void;
    /** The peer will send no more. */
    ended(): void;
    /** Some of what was written has arrived. */
    acknowledged(): void;
    /** The connection does not exist any more; the last event. Not called after `abort`. */
    closed(end: TcpEnd): void;
}
export interface TcpConfig {
    /** What our side takes in one segment. */
    readonly mss: number;
    /** The largest window we offer. */
    readonly receiveMaxBytes: number;
    /** Of the bytes that may still be taken from the peer, by all connections together. */
    readonly memoryRoom?: () => number;
    readonly initialSequence: number;
    /** Without a word from the peer for so long, ask whether it is still there. */
    readonly keepAliveNanos: number;
}
export type { TcpSegment };
