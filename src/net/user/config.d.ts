import { type Cidr, type IpAddress } from '../wire/ip-address.ts';
import { type Egress, type EgressRule } from './egress.ts';
/** What `createUserNet` takes. Names in comments are QEMU's options of `-netdev user`. */
export interface UserNetOptions {
    /** `ipv4`, `ipv6`; both default to true. */
    readonly ipv4?: boolean;
    readonly ipv6?: boolean;
    /** `net`: 10.0.2.0/24. */
    readonly net?: string;
    /** `host`: the gateway, which stands for the host's loopback; .2 of the net. */
    readonly host?: string;
    /** `dns`: .3 of the net. */
    readonly dns?: string;
    /** `dhcpstart`: first of 16 addresses given out; .15 of the net. */
    readonly dhcpStart?: string;
    /** `ipv6-prefix` and `ipv6-prefixlen`: fec0:: and 64. */
    readonly ipv6Prefix?: string;
    readonly ipv6PrefixLength?: number;
    /** `ipv6-host`, `ipv6-dns`: ::2 and ::3 in the prefix. */
    readonly ipv6Host?: string;
    readonly ipv6Dns?: string;
    /** `hostname`: what DHCP tells the guest it is called. */
    readonly hostName?: string;
    readonly domainName?: string;
    /** `dnssearch`; default the host's own. */
    readonly searchDomains?: readonly string[];
    /** `tftp-server-name`, `bootfile`: what DHCP tells a guest that boots from the network. */
    readonly tftpServerName?: string;
    readonly bootFile?: string;
    /** `restrict`: nothing goes out but what forwarding rules name. */
    readonly restrict?: boolean;
    /** Whether the gateway's address leads to the host's loopback; default true, as in QEMU. */
    readonly hostLoopback?: boolean;
    /** First match decides; without a match `egressDefault` does. */
    readonly egress?: readonly EgressRule[];
    readonly egressDefault?: 'allow' | 'deny';
    readonly mtuBytes?: number;
    readonly limits?: Partial<UserNetLimits>;
}
export interface UserNetLimits {
    readonly tcpConnections: number;
    readonly udpAssociations: number;
    /** Of all connections' buffers together. */
    readonly memoryBytes: number;
    /** Of one connection, in each direction. */
    readonly connectionBytes: number;
}
export declare const DEFAULT_LIMITS: UserNetLimits;
export interface Ipv4Config {
    readonly net: Cidr;
    readonly host: IpAddress;
    readonly dns: IpAddress;
    readonly dhcpStart: IpAddress;
    readonly broadcast: IpAddress;
    readonly mask: IpAddress;
}
export interface Ipv6Config {
    readonly net: Cidr;
    readonly host: IpAddress;
    readonly dns: IpAddress;
    /** From which advertisements come. */
    readonly linkLocal: IpAddress;
}
/** Checked, with defaults; a version that is off is undefined. */
export interface UserNetConfig {
    readonly ipv4: Ipv4Config | undefined;
    readonly ipv6: Ipv6Config | undefined;
    readonly hostName: string | undefined;
    readonly domainName: string | undefined;
    readonly searchDomains: readonly string[] | undefined;
    readonly tftpServerName: string | undefined;
    readonly bootFile: string | undefined;
    readonly restrict: boolean;
    readonly hostLoopback: boolean;
    readonly egress: Egress;
    readonly mtuBytes: number;
    readonly limits: UserNetLimits;
}
/** Throws UserError that names the option. */
export declare function checkUserNet(options: UserNetOptions): UserNetConfig;
