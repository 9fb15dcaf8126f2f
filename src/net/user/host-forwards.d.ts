import type { HostSockets, HostStream, HostStreamEvents } from '../../contract/index.ts';
import { type Timers } from '../timers.ts';
import type { UserNetConfig } from './config.ts';
import { type HostForward } from './forward-text.ts';
import type { Flow } from './ip-output.ts';
export interface HostForwardPorts {
    readonly config: UserNetConfig;
    readonly sockets: HostSockets;
    readonly timers: Timers;
    isTcpFlowFree(flow: Flow): boolean;
    connectToGuest(flow: Flow, stream: HostStream): HostStreamEvents | undefined;
    sendUdp(flow: Flow, payload: Uint8Array): void;
}
export declare class HostForwards {
    #private;
    constructor(ports: HostForwardPorts);
    /** The rules in force, with the ports that were given where any was asked for. */
    list(): HostForward[];
    /** Rejects with UserError. Resolves to the rule in force. */
    add(forward: HostForward): Promise<HostForward>;
    /** Takes a rule away; its connections go on. False when there is no such rule. */
    remove(text: string): boolean;
    /** A datagram to the gateway that answers a client of a rule. False when it does not. */
    answerUdp(flow: Flow, payload: Uint8Array): boolean;
    close(): void;
}
