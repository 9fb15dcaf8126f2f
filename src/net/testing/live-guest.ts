/** A guest in real time, with many TCPs of its own, for tests against real sockets. */
import type { NetLink, NetOffloads, NetReceiver, UnfinishedFrame } from '../../contract/index.ts';
import { systemClock } from '../../host/node/index.ts';
import {
  ETHER_TYPE,
  PROTOCOL,
  parseEthernet,
  parseIp4Packet,
  parseTcp,
  parseUdp,
  Timers,
  type UdpDatagram,
} from '../index.ts';
import { TestGuest } from './guest.ts';
import { TinyTcp, type TinyTcpOptions } from './tiny-tcp.ts';

export class LiveGuest implements NetReceiver {
  takes: NetOffloads = { checksum: false, tcp4: false, tcp6: false };
  onUdp: (datagram: UdpDatagram) => void = () => {};
  readonly #timers = new Timers(systemClock());
  readonly #peers = new Map<number, TinyTcp>();
  readonly #guest: TestGuest;
  readonly #queue: { frame: Uint8Array; unfinished: UnfinishedFrame | undefined }[] = [];
  #isScheduled = false;

  constructor(link: NetLink) {
    this.#guest = new TestGuest(link);
    link.connect(this);
    this.#guest.announce();
  }

  peer(to: string, options: Omit<TinyTcpOptions, 'timers' | 'send'>): TinyTcp {
    const peer = new TinyTcp({ ...options, timers: this.#timers, send: (segment) => this.#guest.sendTcp(to, segment) });
    this.#peers.set(options.localPort, peer);
    return peer;
  }

  sendUdp(to: string, destinationPort: number, sourcePort: number, payload: Uint8Array): void {
    this.#guest.sendUdp(to, destinationPort, sourcePort, payload);
  }

  receive(frame: Uint8Array, unfinished?: UnfinishedFrame): boolean {
    this.#queue.push({ frame: frame.slice(), unfinished });
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => this.#drain());
    }
    return true;
  }

  #drain(): void {
    this.#isScheduled = false;
    for (const { frame, unfinished } of this.#queue.splice(0)) this.#take(frame, unfinished !== undefined);
  }

  #take(bytes: Uint8Array, trustChecksum: boolean): void {
    const frame = parseEthernet(bytes)!;
    const packet = frame.type === ETHER_TYPE.ipv4 ? parseIp4Packet(frame.payload) : undefined;
    if (packet === undefined) return;
    const context = { source: packet.source, destination: packet.destination, trustChecksum };
    if (packet.protocol === PROTOCOL.udp) this.onUdp(parseUdp(packet.payload, context)!);
    if (packet.protocol !== PROTOCOL.tcp) return;
    const segment = parseTcp(packet.payload, context)!;
    this.#peers.get(segment.destinationPort)?.receive(segment);
  }
}
