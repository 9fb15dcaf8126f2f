/** One connection between a port of the host's and a port of the guest's, with its credit (VIRTIO 1.2, 5.10.6.3). */
import type { HostFailure, HostStream, HostStreamEvents } from '../../../contract/index.ts';
import { OPERATION, SHUTDOWN } from './packet.ts';

/** What we take of the guest's bytes before the host's program has them. */
export const BUFFER_BYTES = 256 * 1024;
/** What waits for the guest before the host's stream is paused; it goes on at half. */
const QUEUE_BYTES_MAX = 256 * 1024;
/** The guest is told of its new room when so much has become free. */
const CREDIT_STEP_BYTES = BUFFER_BYTES / 4;

export interface ConnectionPorts {
  /** Sends a packet without data. */
  send(operation: number, flags?: number): void;
  /** Has data for the guest, or room for its. */
  ready(): void;
  /** Neither side uses it any more. */
  over(): void;
}

export class VsockConnection {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly hostEvents: HostStreamEvents;
  readonly #ports: ConnectionPorts;
  #stream: HostStream | undefined;
  #state: 'asking-guest' | 'asking-host' | 'open' | 'over';
  /** Bytes for the guest, oldest first. */
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isPaused = false;
  #hostEnded = false;
  #endSent = false;
  #guestEnded = false;
  /** Sent to the guest, and what it says of that: counts modulo 2^32. */
  #sent = 0;
  #guestForwarded = 0;
  #guestBufferBytes = 0;
  /** Received from the guest, and what the host's program has of it. */
  #received = 0;
  #forwarded = 0;
  #forwardedTold = 0;
  /** Of what was written to the host's program, these are ours. */
  #greetingBytes = 0;

  constructor(hostPort: number, guestPort: number, asks: 'guest' | 'host', ports: ConnectionPorts) {
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.#ports = ports;
    this.#state = asks === 'guest' ? 'asking-guest' : 'asking-host';
    this.hostEvents = {
      connected: () => {
        if (this.#state !== 'asking-host') return;
        this.#state = 'open';
        ports.send(OPERATION.response);
      },
      data: (bytes) => this.#hostData(bytes),
      written: (byteCount) => this.#hostTook(byteCount),
      ended: () => {
        this.#hostEnded = true;
        this.#endWhenSent();
      },
      closed: (failure) => this.#hostClosed(failure),
    };
  }

  /** Names the host's side; before anything happens. */
  join(stream: HostStream): void {
    this.#stream = stream;
  }

  /** How much of our buffer has been emptied, as every packet to the guest says. */
  tellForwarded(): number {
    this.#forwardedTold = this.#forwarded;
    return this.#forwarded;
  }

  /** How much may be sent to the guest now. */
  get sendableBytes(): number {
    if (this.#state !== 'open') return 0;
    const inFlight = (this.#sent - this.#guestForwarded) >>> 0;
    return Math.min(this.#queuedBytes, Math.max(0, this.#guestBufferBytes - inFlight));
  }

  /** Takes bytes to send: at most `limit`, which is at most `sendableBytes`. */
  take(limit: number): Uint8Array {
    const first = this.#queue[0];
    const bytes = first.subarray(0, limit);
    if (bytes.length === first.length) this.#queue.shift();
    else this.#queue[0] = first.subarray(bytes.length);
    this.#queuedBytes -= bytes.length;
    this.#sent = (this.#sent + bytes.length) >>> 0;
    if (this.#isPaused && this.#queuedBytes <= QUEUE_BYTES_MAX / 2) {
      this.#isPaused = false;
      this.#stream?.resume();
    }
    this.#endWhenSent();
    return bytes;
  }

  /** Every packet of the guest's says how much room it has. */
  credit(bufferBytes: number, forwardedBytes: number): void {
    this.#guestBufferBytes = bufferBytes;
    this.#guestForwarded = forwardedBytes;
    if (this.sendableBytes > 0) this.#ports.ready();
  }

  /** The guest accepts what was asked of it. False: nothing was asked. */
  accepted(): boolean {
    if (this.#state !== 'asking-guest') return false;
    this.#state = 'open';
    const greeting = ascii(`OK ${this.hostPort}\n`);
    this.#greetingBytes = greeting.length;
    this.#stream?.write(greeting);
    this.#ports.ready(); // what came meanwhile
    this.#endWhenSent();
    return true;
  }

  /** Bytes of the guest's; false when it had no room for them, or may not send. */
  guestData(bytes: Uint8Array): boolean {
    if (this.#state !== 'open' || this.#guestEnded) return false;
    this.#received = (this.#received + bytes.length) >>> 0;
    if ((this.#received - this.#forwarded) >>> 0 > BUFFER_BYTES) return false;
    if (bytes.length > 0) this.#stream?.write(bytes);
    return true;
  }

  guestShutdown(flags: number): void {
    if (flags & SHUTDOWN.send && !this.#guestEnded) {
      this.#guestEnded = true;
      this.#stream?.end();
    }
    if (flags & SHUTDOWN.receive) {
      this.#queue.length = 0;
      this.#queuedBytes = 0;
    }
    if ((flags & SHUTDOWN.both) !== SHUTDOWN.both) return;
    // The guest waits for this before it forgets the port; what it sent is still on its way out.
    this.#ports.send(OPERATION.reset);
    this.#finish();
  }

  /** The guest broke off, or the device does. */
  abort(): void {
    if (this.#state === 'over') return;
    this.#stream?.destroy();
    this.#finish();
  }

  #hostData(bytes: Uint8Array): void {
    if (this.#state === 'over') return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes >= QUEUE_BYTES_MAX && !this.#isPaused) {
      this.#isPaused = true;
      this.#stream?.pause();
    }
    this.#ports.ready();
  }

  #hostTook(byteCount: number): void {
    const greeting = Math.min(this.#greetingBytes, byteCount);
    this.#greetingBytes -= greeting;
    this.#forwarded = (this.#forwarded + byteCount - greeting) >>> 0;
    if (this.#state !== 'open' || (this.#forwarded - this.#forwardedTold) >>> 0 < CREDIT_STEP_BYTES) return;
    this.#ports.send(OPERATION.creditUpdate);
  }

  /** The host's end comes after its data. */
  #endWhenSent(): void {
    if (!this.#hostEnded || this.#endSent || this.#queuedBytes > 0 || this.#state !== 'open') return;
    this.#endSent = true;
    this.#ports.send(OPERATION.shutdown, SHUTDOWN.send);
  }

  #hostClosed(failure: HostFailure | undefined): void {
    if (this.#state === 'over') return;
    if (failure === undefined && this.#queuedBytes > 0) return; // the guest still takes them, then ends its side
    this.#ports.send(OPERATION.reset);
    this.#finish();
  }

  #finish(): void {
    this.#state = 'over';
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#ports.over();
  }
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
