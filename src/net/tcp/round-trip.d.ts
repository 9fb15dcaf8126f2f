export declare class RoundTrip {
    #private;
    get timeoutNanos(): number;
    sample(nanos: number): void;
    /** The timeout passed without an answer: wait twice as long (RFC 6298, 5.5). */
    backOff(): void;
    /** Something new was acknowledged, so the peer is there. */
    forgetBackoff(): void;
}
