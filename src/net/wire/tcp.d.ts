import type { TransportContext } from './udp.ts';
export declare const TCP_HEADER_BYTES = 20;
export declare const TCP_FLAG: {
    readonly fin: 1;
    readonly syn: 2;
    readonly rst: 4;
    readonly psh: 8;
    readonly ack: 16;
};
export interface TcpOptions {
    /** Not 0. */
    readonly mss?: number;
    /** 0 to 14. */
    readonly windowScale?: number;
}
export interface TcpSegment {
    readonly sourcePort: number;
    readonly destinationPort: number;
    readonly sequence: number;
    readonly acknowledgement: number;
    /** Of TCP_FLAG. */
    readonly flags: number;
    /** As in the header: not scaled. */
    readonly window: number;
    readonly options: TcpOptions;
    readonly payload: Uint8Array;
}
export declare function parseTcp(bytes: Uint8Array, context: TransportContext): TcpSegment | undefined;
export declare function tcpHeaderBytes({ mss, windowScale }: TcpOptions): number;
/** Writes the header and options, with checksum 0; the payload is what the caller puts behind them. */
export declare function putTcpHeader(target: Uint8Array, offset: number, segment: Omit<TcpSegment, 'payload'>): void;
export declare function buildTcp(segment: TcpSegment, { source, destination }: TransportContext): Uint8Array;
/** Sequence numbers wrap at 2^32 (RFC 9293, 3.4). */
export declare function seqAdd(sequence: number, count: number): number;
/** How far `a` is ahead of `b`: negative when behind. */
export declare function seqDistance(a: number, b: number): number;
