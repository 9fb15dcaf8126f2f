/**
 * UDP to the outside: a host socket for each port the guest sends from. What
 * comes back is taken only from where the guest has sent to.
 */
import type { HostEndpoint, HostSockets } from '../../contract/index.ts';
import { type Timers } from '../timers.ts';
import type { Flow } from './ip-output.ts';
export interface UdpNatPorts {
    readonly sockets: HostSockets;
    readonly timers: Timers;
    readonly associationsMax: number;
    /** Sends a datagram to the guest. */
    deliver(flow: Flow, payload: Uint8Array): void;
}
export declare class UdpNat {
    #private;
    constructor(ports: UdpNatPorts);
    get count(): number;
    /** @param payload is copied */
    send(flow: Flow, to: HostEndpoint & {
        kind: 'inet';
    }, payload: Uint8Array): void;
    close(): void;
}
