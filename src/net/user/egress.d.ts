import type { DnsAddress } from '../wire/dns.ts';
import { type Cidr, type IpAddress } from '../wire/ip-address.ts';
export interface EgressRule {
    readonly action: 'allow' | 'deny';
    /** An address or net; exclusive with `name`. Neither: everything. */
    readonly cidr?: string;
    /** A domain name, or `*.example.org` for all names below it. */
    readonly name?: string;
    /** Default: both. */
    readonly protocol?: 'tcp' | 'udp';
    /** A port, or the first and last of a range. Default: all. */
    readonly port?: number | readonly [number, number];
}
export interface Destination {
    readonly address: IpAddress;
    readonly port: number;
    readonly protocol: 'tcp' | 'udp';
}
interface Rule {
    readonly isAllow: boolean;
    readonly cidr: Cidr | undefined;
    readonly name: string | undefined;
    readonly protocol: 'tcp' | 'udp' | undefined;
    readonly ports: readonly [number, number];
}
/** @throws UserError that names the rule */
export declare function parseEgress(rules: readonly EgressRule[], standard: 'allow' | 'deny'): Egress;
export declare class Egress {
    #private;
    constructor(rules: readonly Rule[], allowsByDefault: boolean);
    /** Names matter: queries must pass through the forwarder to be seen. */
    get hasNames(): boolean;
    allows({ address, port, protocol }: Destination, nowNanos: number): boolean;
    /**
     * Whether a name may be asked for. Without rules by name all may, or a guest
     * that is allowed an address could not find it.
     */
    allowsName(name: string): boolean;
    /** A name was resolved for the guest. */
    learn(name: string, addresses: readonly DnsAddress[], nowNanos: number): void;
}
export {};
