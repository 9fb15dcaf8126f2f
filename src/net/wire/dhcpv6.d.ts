import type { IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';
export declare const DHCPV6_PORT: {
    readonly server: 547;
    readonly client: 546;
};
export interface Dhcpv6InformationRequest {
    /** 24 bits. */
    readonly transactionId: number;
    readonly clientId?: Uint8Array;
    readonly serverId?: Uint8Array;
    /** Codes of the options that the client wants. */
    readonly requested: readonly number[];
}
export interface Dhcpv6Settings {
    readonly serverMac: MacAddress;
    readonly dns?: IpAddress;
    readonly searchDomains: readonly string[];
    readonly bootFileUrl?: string;
}
/** Undefined for other messages and malformed ones. */
export declare function parseDhcpv6(bytes: Uint8Array): Dhcpv6InformationRequest | undefined;
/** A server's identifier: its link-layer address (RFC 8415, 11.4). */
export declare function serverDuid(mac: MacAddress): Uint8Array;
export declare function buildDhcpv6Reply(request: Dhcpv6InformationRequest, settings: Dhcpv6Settings): Uint8Array;
