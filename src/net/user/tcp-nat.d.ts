/** All TCP connections of a guest: finds the one a segment belongs to, begins new ones in both directions. */
import type { HostStream, HostStreamEvents } from '../../contract/index.ts';
import { type Timers } from '../timers.ts';
import type { UnreachableReason } from '../wire/icmp.ts';
import { type IpPacket } from '../wire/ip.ts';
import { type TcpSegment } from '../wire/tcp.ts';
import type { MemoryBudget } from './budget.ts';
import type { Flow, IpOutput } from './ip-output.ts';
/** Begins the host's side of a connection; what it returns must not call its events before it has returned. */
export type OpenStream = (events: HostStreamEvents) => HostStream;
export type TcpDecision = {
    readonly kind: 'open';
    readonly open: OpenStream;
} | {
    readonly kind: 'unreachable';
    readonly reason: UnreachableReason;
} | {
    readonly kind: 'reset';
} | {
    readonly kind: 'drop';
};
export interface TcpNatPorts {
    readonly timers: Timers;
    readonly output: IpOutput;
    readonly budget: MemoryBudget;
    readonly mtuBytes: number;
    readonly connectionsMax: number;
    readonly connectionBytes: number;
    random(): number;
    /** What is to become of a guest's new connection. */
    decide(flow: Flow): TcpDecision;
    unreachable(packet: IpPacket, reason: UnreachableReason): void;
}
export declare class TcpNat {
    #private;
    constructor(ports: TcpNatPorts);
    get count(): number;
    receive(packet: IpPacket, segment: TcpSegment): void;
    /**
     * Connects to the guest for a stream of the host's that is there already.
     * @returns the stream's events, or undefined when there is no room or the ports are in use
     */
    connectToGuest(flow: Flow, stream: HostStream): HostStreamEvents | undefined;
    isFlowFree({ guest, guestPort, local, localPort }: Flow): boolean;
    close(): void;
}
