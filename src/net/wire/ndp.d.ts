import type { IcmpMessage } from './icmp.ts';
import type { Cidr, IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';
export declare const NDP_TYPE: {
    readonly routerSolicit: 133;
    readonly routerAdvert: 134;
    readonly neighbourSolicit: 135;
    readonly neighbourAdvert: 136;
};
/** Messages with another hop limit came over a router and are false. */
export declare const NDP_HOP_LIMIT = 255;
export declare const ALL_NODES: IpAddress;
export interface NeighbourMessage {
    readonly kind: 'solicit' | 'advert';
    readonly target: IpAddress;
    /** Of the sender in a solicitation, of the target in an advertisement. */
    readonly mac?: MacAddress;
}
export declare function parseNeighbour({ type, code, body }: IcmpMessage): NeighbourMessage | undefined;
export declare function neighbourAdvert(target: IpAddress, mac: MacAddress, isSolicited: boolean): IcmpMessage;
export declare function neighbourSolicit(target: IpAddress, sourceMac: MacAddress): IcmpMessage;
/** The multicast group in which the owner of an address hears solicitations (RFC 4291, 2.7.1). */
export declare function solicitedNode(address: IpAddress): IpAddress;
/** RFC 2464, 7. */
export declare function multicastMac(group: IpAddress): MacAddress;
export interface RouterAdvert {
    readonly mac: MacAddress;
    readonly prefix: Cidr;
    readonly lifetimeSeconds: number;
    readonly dns?: IpAddress;
    readonly searchDomains: readonly string[];
}
/** Hosts make their own addresses from the prefix and ask DHCPv6 for the rest. */
export declare function routerAdvert({ mac, prefix, lifetimeSeconds, dns, searchDomains }: RouterAdvert): IcmpMessage;
