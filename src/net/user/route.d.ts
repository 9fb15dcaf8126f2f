import { type IpAddress } from '../wire/ip-address.ts';
import type { UserNetConfig } from './config.ts';
export type Route = 
/** The gateway's address: the host's loopback. */
'gateway' | 'dns'
/** In the virtual net, but none of ours. */
 | 'inside' | 'outside'
/** To all on the link. */
 | 'group'
/** No packet to it may leave a machine, or it would mean something else on the host than to the guest. */
 | 'invalid';
export declare function routeOf(config: UserNetConfig, address: IpAddress): Route;
/** Whether a guest may call itself so; others are forged. */
export declare function isGuestAddress(config: UserNetConfig, address: IpAddress): boolean;
/** The host's address for what the guest reaches through `route`. */
export declare function hostAddress(route: 'gateway' | 'outside', address: IpAddress): string;
