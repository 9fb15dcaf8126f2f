/** A read-only TFTP server for guests that boot from the network (RFC 1350, options of RFC 2347 to 2349). */
import type { HostFolder } from '../../contract/index.ts';
import { type Timers } from '../timers.ts';
import type { Flow } from './ip-output.ts';
export interface TftpPorts {
    readonly folder: HostFolder;
    readonly timers: Timers;
    /** The largest block that fits one packet. */
    readonly blockMaxBytes: number;
    send(flow: Flow, payload: Uint8Array): void;
}
export declare class TftpServer {
    #private;
    constructor(ports: TftpPorts);
    get count(): number;
    receive(received: Flow, bytes: Uint8Array): void;
    close(): void;
}
