/**
 * Joins a guest's TCP connection to a host's stream: bytes, ends and failures of
 * one become those of the other, and neither side's slowness costs memory.
 */
import type { HostFailure, HostStream, HostStreamEvents } from '../../contract/index.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import type { TcpEvents } from '../tcp/port.ts';
import type { BudgetUser, MemoryBudget } from './budget.ts';
export interface SplicePorts {
    readonly budget: MemoryBudget;
    /** The host's stream stops when so much waits for the guest, and goes on at half. */
    readonly queueMaxBytes: number;
    /** The guest's connection was not accepted, because the host's failed. */
    refused(failure: HostFailure): void;
    /** The guest's side ended in order; the host's is still sending what the guest had sent. */
    guestOver(): void;
    /** Both sides are over. */
    over(): void;
}
export declare class Splice implements BudgetUser {
    #private;
    readonly tcpEvents: TcpEvents;
    readonly hostEvents: HostStreamEvents;
    constructor(ports: SplicePorts);
    get heldBytes(): number;
    /** Names both sides; before anything happens on either. */
    join(connection: TcpConnection, stream: HostStream): void;
    /** Ends both sides at once. */
    abort(): void;
    memoryAgain(): void;
}
