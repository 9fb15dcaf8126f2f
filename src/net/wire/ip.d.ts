import type { IpAddress } from './ip-address.ts';
export declare const PROTOCOL: {
    readonly icmp: 1;
    readonly tcp: 6;
    readonly udp: 17;
    readonly icmpv6: 58;
};
export declare const IPV4_HEADER_BYTES = 20;
export declare const IPV6_HEADER_BYTES = 40;
/** Which part of a packet a fragment is. */
export interface Fragment {
    readonly identification: number;
    /** From the start of the packet's payload. */
    readonly offsetBytes: number;
    readonly more: boolean;
}
export interface IpPacket {
    readonly source: IpAddress;
    /** As long as `source`. */
    readonly destination: IpAddress;
    /** TTL or hop limit. */
    readonly hopLimit: number;
    /** Of the payload: the last next header in IPv6. */
    readonly protocol: number;
    readonly payload: Uint8Array;
    readonly fragment?: Fragment;
    /** The whole packet's bytes, which an ICMP error quotes. */
    readonly bytes: Uint8Array;
}
/** Undefined when any field is wrong. Trailing bytes beyond the packet's length are padding. */
export declare function parseIp4Packet(bytes: Uint8Array): IpPacket | undefined;
export declare function parseIp6Packet(bytes: Uint8Array): IpPacket | undefined;
export declare function ipHeaderBytes(address: IpAddress): number;
export interface IpHeader {
    readonly source: IpAddress;
    readonly destination: IpAddress;
    readonly protocol: number;
    readonly hopLimit?: number;
    /** IPv4 only; in IPv6 a fragment has its own header, which `putFragmentHeader` writes. */
    readonly fragment?: Fragment;
}
/** Writes a header of 20 or 40 bytes, by the addresses' version, at `offset`. */
export declare function putIpHeader(target: Uint8Array, offset: number, header: IpHeader, payloadBytes: number): void;
/** One packet, with its payload. */
export declare function buildIp(header: IpHeader, payload: Uint8Array): Uint8Array;
/** The packets that carry a payload over links of `mtuBytes`: one, or fragments. */
export declare function buildIpPackets(header: IpHeader, payload: Uint8Array, mtuBytes: number, identification: number): Uint8Array[];
