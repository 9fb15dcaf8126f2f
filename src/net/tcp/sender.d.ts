import { ByteRing } from './byte-ring.ts';
import { RoundTrip } from './round-trip.ts';
/** The way out; see `TcpNetwork`. */
export interface SenderPort {
    nowNanos(): number;
    canSend(): boolean;
    payloadMax(mss: number): number;
    /** Sends `count` bytes of the queue from `offset`, at `sequence`. */
    emit(sequence: number, offset: number, count: number, hasFin: boolean): void;
}
export declare class TcpSender {
    #private;
    readonly queue: ByteRing;
    readonly roundTrip: RoundTrip;
    /** The oldest sequence number not acknowledged. Offset 0 of the queue once the SYN is acknowledged. */
    una: number;
    /** The next to send; goes back to `una` when all is sent again. */
    next: number;
    /** One after the highest ever sent. */
    max: number;
    /** What the peer takes beyond `una`, in bytes. */
    window: number;
    mss: number;
    /** `end` was called: FIN follows the last byte. */
    isEnding: boolean;
    constructor(port: SenderPort, initialSequence: number, mss: number);
    /** The SYN took one sequence number and is now acknowledged. */
    begin(mss: number): void;
    get inFlight(): number;
    /** Something waits to be sent or acknowledged. */
    get isBusy(): boolean;
    /** The window field of a segment that is acceptable (RFC 9293, 3.10.7.4). True when it changed. */
    updateWindow(sequence: number, acknowledgement: number, window: number): boolean;
    setWindow(sequence: number, acknowledgement: number, window: number): void;
    /**
     * Takes an acknowledgement that is ahead of `una` and not of `max`.
     * @returns whether the FIN is acknowledged with it
     */
    acknowledge(acknowledgement: number): boolean;
    /** An acknowledgement that says only that something else arrived. */
    duplicateAcknowledge(): void;
    /** Nothing was acknowledged in time: all in flight counts as lost; with a closed window, ask for it. */
    timeout(): void;
    /** Sends what the windows allow. False when the network had no room for it. */
    pump(): boolean;
}
