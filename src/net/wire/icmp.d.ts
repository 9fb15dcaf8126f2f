import { type IpPacket } from './ip.ts';
import type { IpAddress } from './ip-address.ts';
export interface IcmpMessage {
    readonly type: number;
    readonly code: number;
    /** After type, code and checksum: at least 4 bytes. */
    readonly body: Uint8Array;
}
export type UnreachableReason = 'network' | 'host' | 'port' | 'prohibited';
export declare const ICMP_ECHO: {
    readonly request: 8;
    readonly reply: 0;
};
export declare const ICMPV6_ECHO: {
    readonly request: 128;
    readonly reply: 129;
};
export declare function parseIcmp(bytes: Uint8Array, source: IpAddress, destination: IpAddress): IcmpMessage | undefined;
export declare function buildIcmp(message: IcmpMessage, source: IpAddress, destination: IpAddress): Uint8Array;
export declare function icmpProtocol(address: IpAddress): number;
/** The answer to an echo request, or undefined when the message is none. */
export declare function echoReply({ type, code, body }: IcmpMessage, version: 4 | 6): IcmpMessage | undefined;
/** The error about a packet that cannot be delivered; undefined for packets that must not be answered with one. */
export declare function unreachable(packet: IpPacket, reason: UnreachableReason): IcmpMessage | undefined;
/** The hop limit ran out on the way (RFC 792, code 0). */
export declare function timeExceeded(packet: IpPacket): IcmpMessage | undefined;
