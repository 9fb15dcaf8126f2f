import type { HostEndpoint } from '../../contract/index.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import type { UserNetConfig } from './config.ts';
/** A port of the host's that leads into the guest. */
export interface HostForward {
    readonly protocol: 'tcp' | 'udp';
    readonly hostAddress: string;
    /** 0: any that is free. */
    readonly hostPort: number;
    readonly guest: IpAddress;
    readonly guestPort: number;
}
export type GuestForwardTarget = HostEndpoint | {
    readonly kind: 'command';
    readonly command: string;
};
/** An address in the guest's net that leads to one place on the host, even when the guest is restricted. */
export interface GuestForward {
    readonly address: IpAddress;
    readonly port: number;
    readonly target: GuestForwardTarget;
}
/**
 * `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`; IPv6 addresses in
 * brackets. Without hostaddr all of the host's, without guestaddr the first that DHCP gives.
 */
export declare function parseHostForward(text: string, config: UserNetConfig): HostForward;
/** The key by which QEMU's `hostfwd_remove` names a rule: `[tcp|udp]:[hostaddr]:hostport`. */
export declare function hostForwardKey({ protocol, hostAddress, hostPort }: HostForward): string;
/** The same key from what a person wrote. */
export declare function parseHostForwardKey(text: string): string;
/** `[tcp]:server:port-target`, where the target is `tcp:host:port`, `unix:path` or `cmd:command`. */
export declare function parseGuestForward(text: string, config: UserNetConfig): GuestForward;
