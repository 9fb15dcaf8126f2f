/** All TCP connections of a guest: finds the one a segment belongs to, begins new ones in both directions. */
import type { HostFailure, HostStream, HostStreamEvents } from '../../contract/index.ts';
import { TcpConnection } from '../tcp/connection.ts';
import type { TcpConfig, TcpNetwork } from '../tcp/port.ts';
import { SECOND_NANOS, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import type { UnreachableReason } from '../wire/icmp.ts';
import { type IpPacket, ipHeaderBytes } from '../wire/ip.ts';
import type { IpAddress } from '../wire/ip-address.ts';
import { seqAdd, TCP_FLAG, TCP_HEADER_BYTES, type TcpSegment } from '../wire/tcp.ts';
import type { MemoryBudget } from './budget.ts';
import type { Flow, IpOutput } from './ip-output.ts';
import { Splice } from './splice.ts';

const KEEP_ALIVE_NANOS = 120 * SECOND_NANOS;

/** Begins the host's side of a connection; what it returns must not call its events before it has returned. */
export type OpenStream = (events: HostStreamEvents) => HostStream;

export type TcpDecision =
  | { readonly kind: 'open'; readonly open: OpenStream }
  | { readonly kind: 'unreachable'; readonly reason: UnreachableReason }
  | { readonly kind: 'reset' }
  | { readonly kind: 'drop' };

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

interface Entry {
  readonly connection: TcpConnection;
  readonly splice: Splice;
}

export class TcpNat {
  readonly #ports: TcpNatPorts;
  readonly #entries = new Map<string, Entry>();
  /** The guest's side is over, the host's is still sending what the guest had sent. */
  readonly #lingering = new Set<Splice>();

  constructor(ports: TcpNatPorts) {
    this.#ports = ports;
  }

  get count(): number {
    return this.#entries.size + this.#lingering.size;
  }

  receive(packet: IpPacket, segment: TcpSegment): void {
    const key = flowKey(packet.source, segment.sourcePort, packet.destination, segment.destinationPort);
    const entry = this.#entries.get(key);
    if (entry?.connection.canBeReplacedBy(segment)) {
      entry.connection.abort();
      entry.splice.tcpEvents.closed('done');
      this.#begin(packet, segment);
    } else if (entry !== undefined) entry.connection.receive(segment);
    else this.#begin(packet, segment);
  }

  /**
   * Connects to the guest for a stream of the host's that is there already.
   * @returns the stream's events, or undefined when there is no room or the ports are in use
   */
  connectToGuest(flow: Flow, stream: HostStream): HostStreamEvents | undefined {
    const key = flowKey(flow.guest, flow.guestPort, flow.local, flow.localPort);
    if (this.#entries.has(key) || !this.#hasRoom()) return undefined;
    const splice = this.#splice(key, () => {});
    const connection = new TcpConnection(this.#network(flow), splice.tcpEvents, this.#config(flow));
    splice.join(connection, stream);
    this.#entries.set(key, { connection, splice });
    return splice.hostEvents;
  }

  isFlowFree({ guest, guestPort, local, localPort }: Flow): boolean {
    return !this.#entries.has(flowKey(guest, guestPort, local, localPort));
  }

  close(): void {
    for (const { splice } of [...this.#entries.values()]) splice.abort();
    for (const splice of [...this.#lingering]) splice.abort();
  }

  #begin(packet: IpPacket, segment: TcpSegment): void {
    const flow: Flow = {
      guest: copyOf(packet.source),
      guestPort: segment.sourcePort,
      local: copyOf(packet.destination),
      localPort: segment.destinationPort,
    };
    const isSyn = (segment.flags & (TCP_FLAG.syn | TCP_FLAG.ack | TCP_FLAG.rst)) === TCP_FLAG.syn;
    if (!isSyn) {
      this.#refuse(flow, segment);
      return;
    }
    const decision = this.#ports.decide(flow);
    if (decision.kind === 'unreachable') this.#ports.unreachable(packet, decision.reason);
    else if (decision.kind === 'reset') this.#refuse(flow, segment);
    else if (decision.kind === 'open') {
      if (!this.#hasRoom() || segment.sourcePort === 0) this.#refuse(flow, segment);
      else this.#open(flow, packet, segment, decision.open);
    }
  }

  /** At the limit, one that only waits for stray segments gives its place. */
  #hasRoom(): boolean {
    if (this.count < this.#ports.connectionsMax) return true;
    for (const { connection, splice } of this.#entries.values()) {
      if (connection.state !== 'time-wait') continue;
      connection.abort();
      splice.tcpEvents.closed('done');
      return this.count < this.#ports.connectionsMax;
    }
    return false;
  }

  #open(flow: Flow, packet: IpPacket, syn: TcpSegment, open: OpenStream): void {
    const key = flowKey(flow.guest, flow.guestPort, flow.local, flow.localPort);
    const quoted: IpPacket = { ...packet, source: flow.guest, destination: flow.local, bytes: copyOf(packet.bytes) };
    const splice = this.#splice(key, (failure) => {
      this.#ports.unreachable(quoted, failure === 'denied' ? 'prohibited' : 'host');
    });
    const connection = new TcpConnection(this.#network(flow), splice.tcpEvents, this.#config(flow), syn);
    this.#entries.set(key, { connection, splice });
    splice.join(connection, open(splice.hostEvents));
  }

  #splice(key: string, refused: (failure: HostFailure) => void): Splice {
    const splice: Splice = new Splice({
      budget: this.#ports.budget,
      queueMaxBytes: this.#ports.connectionBytes,
      refused,
      // The ports are free for the guest again.
      guestOver: () => {
        this.#lingering.add(splice);
        this.#forget(key, splice);
      },
      over: () => {
        this.#lingering.delete(splice);
        this.#forget(key, splice);
      },
    });
    return splice;
  }

  #forget(key: string, splice: Splice): void {
    if (this.#entries.get(key)?.splice === splice) this.#entries.delete(key);
  }

  #config({ guest }: Flow): TcpConfig {
    const { budget, mtuBytes, connectionBytes } = this.#ports;
    return {
      mss: mtuBytes - ipHeaderBytes(guest) - TCP_HEADER_BYTES,
      receiveMaxBytes: connectionBytes,
      memoryRoom: () => budget.roomBytes,
      initialSequence: this.#ports.random() >>> 0,
      keepAliveNanos: KEEP_ALIVE_NANOS,
    };
  }

  #network(flow: Flow): TcpNetwork {
    const { output, timers } = this.#ports;
    const { frames } = output;
    return {
      timers,
      canSend: () => frames.canSend(),
      waitForRoom: (waiter) => frames.waitForRoom(waiter),
      payloadMax: (mss) => output.tcpPayloadMax(flow.guest, mss),
      send: (segment) => output.sendTcp(flow, segment),
    };
  }

  /** RFC 9293, 3.5.2: no connection there. */
  #refuse(flow: Flow, { flags, sequence, acknowledgement, payload }: TcpSegment): void {
    if ((flags & TCP_FLAG.rst) !== 0) return;
    const hasAck = (flags & TCP_FLAG.ack) !== 0;
    const length = payload.length + ((flags & TCP_FLAG.syn) !== 0 ? 1 : 0) + ((flags & TCP_FLAG.fin) !== 0 ? 1 : 0);
    this.#ports.output.sendTcp(flow, {
      sequence: hasAck ? acknowledgement : 0,
      acknowledgement: hasAck ? 0 : seqAdd(sequence, length),
      flags: hasAck ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
      window: 0,
      options: {},
      payloadBytes: 0,
      mss: 1,
      copyPayload: () => {},
    });
  }
}

function flowKey(guest: IpAddress, guestPort: number, local: IpAddress, localPort: number): string {
  return String.fromCharCode(guestPort, localPort, ...guest, ...local);
}
