import { type TcpSegment } from '../wire/tcp.ts';
import type { TcpConfig, TcpEvents, TcpNetwork } from './port.ts';
export type TcpState = 'waiting' | 'syn-sent' | 'syn-received' | 'established' | 'fin-wait-1' | 'fin-wait-2' | 'close-wait' | 'closing' | 'last-ack' | 'time-wait' | 'closed';
export declare class TcpConnection {
    #private;
    constructor(network: TcpNetwork, events: TcpEvents, config: TcpConfig, peerSyn?: TcpSegment);
    get state(): TcpState;
    /** Written and not yet acknowledged by the peer. */
    get queuedBytes(): number;
    /** Bytes held in both directions. */
    get heldBytes(): number;
    /** Answers the peer's SYN. */
    accept(): void;
    /** Queues bytes, which are copied. */
    write(bytes: Uint8Array): void;
    /** No more writes: FIN follows what is queued. */
    end(): void;
    /** Ends at once; the peer is told with RST. */
    abort(): void;
    /** The user has got rid of so many of the bytes it was given. */
    consumed(byteCount: number): void;
    /** Memory has become free, here or elsewhere. */
    windowMayGrow(): void;
    /** For the network: there is room for data again. */
    roomAgain(): void;
    /** Takes a segment that came for this connection. */
    receive(segment: TcpSegment): void;
    /** True when a SYN may take the place of this connection, which has ended (RFC 9293, 3.10.7.4). */
    canBeReplacedBy({ flags, sequence }: TcpSegment): boolean;
}
