import type { Timers } from '../timers.ts';
import { type IcmpMessage } from '../wire/icmp.ts';
import { type IpHeader } from '../wire/ip.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import { type MacAddress } from '../wire/mac.ts';
import type { OutgoingSegment } from '../tcp/port.ts';
import type { UserNetConfig } from './config.ts';
import { Neighbours } from './neighbours.ts';
import type { GuestOutput } from './output.ts';
/** The four numbers of a connection, from the guest's side: `local` is what stands for the outside. */
export interface Flow {
    readonly guest: IpAddress;
    readonly guestPort: number;
    readonly local: IpAddress;
    readonly localPort: number;
}
/** The address of a virtual machine that only we know, as slirp makes it. */
export declare function virtualMac(address: IpAddress): MacAddress;
export declare class IpOutput {
    #private;
    readonly frames: GuestOutput;
    readonly neighbours: Neighbours;
    constructor(frames: GuestOutput, timers: Timers, config: UserNetConfig);
    /** Sends to an address of the guest's, or to a group. */
    sendIp(header: IpHeader, payload: Uint8Array): void;
    sendUdp({ guest, guestPort, local, localPort }: Flow, payload: Uint8Array): void;
    sendIcmp(message: IcmpMessage, source: IpAddress, destination: IpAddress, hopLimit?: number): void;
    sendArp(operation: 'request' | 'reply', senderIp: IpAddress, targetMac: MacAddress, targetIp: IpAddress): void;
    /** The most that one segment may carry: as much as the guest's driver takes to cut itself. */
    tcpPayloadMax(guest: IpAddress, mss: number): number;
    sendTcp({ guest, guestPort, local, localPort }: Flow, segment: OutgoingSegment): void;
    /** The Ethernet address of one of ours. */
    macOf(address: IpAddress): MacAddress;
    /** One of the machines that we play: gateway, name server. */
    isVirtual(address: IpAddress): boolean;
}
