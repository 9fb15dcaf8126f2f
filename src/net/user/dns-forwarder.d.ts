/**
 * The name server at the dns address: answers from the host's own table,
 * passes the rest to the host's resolvers, over UDP and TCP, as it came.
 */
import type { HostResolver, HostSockets, HostStream } from '../../contract/index.ts';
import { type Timers } from '../timers.ts';
import type { Egress } from './egress.ts';
export interface DnsForwarderPorts {
    readonly sockets: HostSockets;
    readonly resolver: HostResolver;
    readonly timers: Timers;
    readonly egress: Egress;
    /** 32 random bits. */
    random(): number;
}
export type DnsTransport = 'udp' | 'tcp';
export declare class DnsForwarder {
    #private;
    constructor(ports: DnsForwarderPorts);
    get pendingCount(): number;
    /**
     * Calls `answer` once, with the query's own identifier, perhaps before this returns. The bytes are copied.
     * @returns false for what is no query: it gets no answer
     */
    ask(bytes: Uint8Array, transport: DnsTransport, answer: (response: Uint8Array) => void): boolean;
    close(): void;
}
/** Two bytes of length before each message (RFC 7766, 8). */
export declare function framedDns(message: Uint8Array): Uint8Array;
/** Takes a stream apart into messages. */
export declare class DnsMessageReader {
    #private;
    constructor(onMessage: (message: Uint8Array) => void);
    push(bytes: Uint8Array): void;
}
/** The forwarder behind a guest's TCP connection. */
export declare function dnsStream(forwarder: DnsForwarder, events: {
    data(bytes: Uint8Array): void;
    written?(byteCount: number): void;
    ended(): void;
}): HostStream;
