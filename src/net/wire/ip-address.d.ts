export type IpAddress = Uint8Array;
export interface Cidr {
    readonly address: IpAddress;
    readonly prefixLength: number;
}
export declare function parseIp(text: string): IpAddress | undefined;
/** Four decimal numbers; no leading zeros, which some read as octal. */
export declare function parseIpv4(text: string): IpAddress | undefined;
/** RFC 4291, 2.2; without a zone. */
export declare function parseIpv6(text: string): IpAddress | undefined;
/** The canonical text (RFC 5952). */
export declare function ipText(address: IpAddress): string;
/** `10.0.2.0/24`; an address alone is itself only. */
export declare function parseCidr(text: string): Cidr | undefined;
/** `10.0.2.0/24` or `10.0.2.0/255.255.255.0`, as QEMU's `net=` allows. */
export declare function parseIpv4Net(text: string): Cidr | undefined;
export declare function isInside({ address: net, prefixLength }: Cidr, address: IpAddress): boolean;
export declare function netmask(prefixLength: number): IpAddress;
/** The address with number `host` inside a net: `10.0.2.0/24` and 15 are `10.0.2.15`. */
export declare function addressInside({ address, prefixLength }: Cidr, host: number): IpAddress;
/** A string that only this address has: a key for maps. */
export declare function ipKey(address: IpAddress): string;
export declare function isMulticast(address: IpAddress): boolean;
export declare function isUnspecified(address: IpAddress): boolean;
/** Of one link only: 169.254.0.0/16, fe80::/10. */
export declare function isLinkLocal(address: IpAddress): boolean;
export declare function isLoopback(address: IpAddress): boolean;
