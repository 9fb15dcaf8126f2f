/** Frames from the guest, taken apart and handed to whoever answers them. */
import type { UnfinishedFrame } from '../../contract/index.ts';
import type { Timers } from '../timers.ts';
import { type UnreachableReason } from '../wire/icmp.ts';
import { type IpPacket } from '../wire/ip.ts';
import { type IpAddress } from '../wire/ip-address.ts';
import { type TcpSegment } from '../wire/tcp.ts';
import { type UdpDatagram } from '../wire/udp.ts';
import type { UserNetConfig } from './config.ts';
import type { IpOutput } from './ip-output.ts';
import { Reassembly } from './reassembly.ts';
export interface GuestInputPorts {
    readonly config: UserNetConfig;
    readonly timers: Timers;
    readonly output: IpOutput;
    /** Whether an address in the net is played by a forwarding rule. */
    isForwarded(address: IpAddress): boolean;
    tcp(packet: IpPacket, segment: TcpSegment): void;
    udp(packet: IpPacket, datagram: UdpDatagram): void;
    /** Says where the network is; `to` is the one who asked. */
    advertiseRouter(to: IpAddress): void;
}
export declare class GuestInput {
    #private;
    receivedFrames: number;
    /** Malformed, forged or of a kind that nobody here takes. */
    droppedFrames: number;
    readonly reassembly: Reassembly;
    constructor(ports: GuestInputPorts);
    receive(bytes: Uint8Array, unfinished: UnfinishedFrame | undefined): void;
    /** Tells the guest that a packet cannot be delivered. Always true: it was dealt with. */
    unreachable(packet: IpPacket, reason: UnreachableReason): boolean;
}
