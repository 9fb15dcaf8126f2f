/** The DHCP server (RFC 2131): sixteen addresses, each kept for the card that got it first. */
import { type Timers } from '../timers.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import { type MacAddress } from '../wire/mac.ts';
import type { Ipv4Config, UserNetConfig } from './config.ts';
export interface DhcpAnswer {
    readonly bytes: Uint8Array;
    /** Where it goes: the client's address, or all. */
    readonly to: IpAddress;
    /** Who has `to`, when the client does not answer ARP for it yet. */
    readonly mac: MacAddress;
}
export declare class DhcpServer {
    #private;
    constructor(config: UserNetConfig, ipv4: Ipv4Config, timers: Timers, searchDomains: () => readonly string[]);
    /** Undefined when nothing is to be said. */
    answer(bytes: Uint8Array): DhcpAnswer | undefined;
}
