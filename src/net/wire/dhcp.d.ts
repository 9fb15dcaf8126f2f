import type { IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';
export declare const DHCP_PORT: {
    readonly server: 67;
    readonly client: 68;
};
export declare const DHCP_TYPE: {
    readonly discover: 1;
    readonly offer: 2;
    readonly request: 3;
    readonly decline: 4;
    readonly ack: 5;
    readonly nak: 6;
    readonly release: 7;
    readonly inform: 8;
};
export type DhcpType = keyof typeof DHCP_TYPE;
/** What a server reads of a client's message. */
export interface DhcpQuery {
    readonly type: DhcpType;
    /** The first 44 bytes up to the client's address are answered as they came. */
    readonly transactionId: number;
    readonly isBroadcastWanted: boolean;
    readonly clientIp: IpAddress;
    readonly relayIp: IpAddress;
    readonly clientMac: MacAddress;
    readonly requestedIp?: IpAddress;
    readonly serverId?: IpAddress;
}
export interface DhcpReply {
    readonly type: 'offer' | 'ack' | 'nak';
    readonly query: DhcpQuery;
    /** What the client gets; 0.0.0.0 in a nak. */
    readonly yourIp: IpAddress;
    readonly serverIp: IpAddress;
    readonly settings?: DhcpSettings;
}
export interface DhcpSettings {
    /** Absent in the answer to `inform`. */
    readonly leaseSeconds?: number;
    readonly subnetMask: IpAddress;
    readonly router?: IpAddress;
    readonly dns?: IpAddress;
    readonly hostName?: string;
    readonly domainName?: string;
    readonly searchDomains: readonly string[];
    readonly tftpServer?: string;
    readonly bootFile?: string;
}
export declare function parseDhcpQuery(bytes: Uint8Array): DhcpQuery | undefined;
export declare function buildDhcpReply({ type, query, yourIp, serverIp, settings }: DhcpReply): Uint8Array;
