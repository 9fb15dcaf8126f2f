/**
 * Joins a guest's TCP connection to a host's stream: bytes, ends and failures of
 * one become those of the other, and neither side's slowness costs memory.
 */
import type { HostFailure, HostStream, HostStreamEvents } from '../../contract/index.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import type { TcpEnd, TcpEvents } from '../tcp/port.ts';
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

export class Splice implements BudgetUser {
  readonly tcpEvents: TcpEvents;
  readonly hostEvents: HostStreamEvents;
  readonly #ports: SplicePorts;
  #connection: TcpConnection | undefined;
  #stream: HostStream | undefined;
  #isPaused = false;
  #isGuestOver = false;
  #isHostOver = false;

  constructor(ports: SplicePorts) {
    this.#ports = ports;
    this.tcpEvents = {
      established: () => {},
      data: (bytes) => {
        this.#stream?.write(bytes);
        ports.budget.update(this);
      },
      ended: () => this.#stream?.end(),
      acknowledged: () => this.#onAcknowledged(),
      closed: (end) => this.#onGuestClosed(end),
    };
    this.hostEvents = {
      connected: () => this.#connection?.accept(),
      data: (bytes) => this.#onHostData(bytes),
      written: (byteCount) => {
        this.#connection?.consumed(byteCount);
        ports.budget.update(this);
      },
      ended: () => this.#connection?.end(),
      closed: (failure) => this.#onHostClosed(failure),
    };
  }

  get heldBytes(): number {
    return this.#connection?.heldBytes ?? 0;
  }

  /** Names both sides; before anything happens on either. */
  join(connection: TcpConnection, stream: HostStream): void {
    this.#connection = connection;
    this.#stream = stream;
  }

  /** Ends both sides at once. */
  abort(): void {
    this.#connection?.abort();
    this.#isGuestOver = true;
    this.#endHost();
  }

  memoryAgain(): void {
    this.#resumeHost();
    this.#connection?.windowMayGrow();
  }

  #onHostData(bytes: Uint8Array): void {
    if (this.#isGuestOver) return;
    this.#connection!.write(bytes);
    this.#ports.budget.update(this);
    const { budget, queueMaxBytes } = this.#ports;
    if (this.#isPaused || (this.#connection!.queuedBytes < queueMaxBytes && budget.roomBytes > 0)) return;
    this.#isPaused = true;
    this.#stream!.pause();
  }

  #onAcknowledged(): void {
    this.#ports.budget.update(this);
    this.#resumeHost();
  }

  /** With nothing queued of its own, a connection goes on even when others hold all memory. */
  #resumeHost(): void {
    if (!this.#isPaused || this.#isHostOver) return;
    const queued = this.#connection!.queuedBytes;
    const isMemoryFree = queued === 0 || this.#ports.budget.roomBytes > 0;
    if (queued > this.#ports.queueMaxBytes >> 1 || !isMemoryFree) return;
    this.#isPaused = false;
    this.#stream!.resume();
  }

  #onGuestClosed(end: TcpEnd): void {
    this.#isGuestOver = true;
    // After an orderly end, what the guest sent may still be on its way out of the host's queue.
    if (end !== 'done') this.#endHost();
    else if (this.#isHostOver) this.#finish();
    else {
      this.#ports.budget.update(this);
      this.#ports.guestOver();
    }
  }

  #onHostClosed(failure: HostFailure | undefined): void {
    if (this.#isHostOver) return;
    this.#isHostOver = true;
    if (failure !== undefined && !this.#isGuestOver) {
      this.#isGuestOver = true;
      if (this.#connection!.state === 'waiting' && failure !== 'refused') this.#ports.refused(failure);
      else this.#connection!.abort();
    }
    if (this.#isGuestOver) this.#finish();
  }

  #endHost(): void {
    if (!this.#isHostOver) this.#stream?.destroy();
    this.#isHostOver = true;
    this.#finish();
  }

  #finish(): void {
    this.#ports.budget.remove(this);
    this.#ports.over();
  }
}
