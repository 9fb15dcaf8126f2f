/** A guest in a test: builds packets by hand, keeps what comes. */
import type { NetLink, NetOffloads, NetReceiver, UnfinishedFrame } from '../../contract/index.ts';
import {
  buildArp,
  buildEthernet,
  buildIcmp,
  buildIp,
  buildTcp,
  buildUdp,
  ETHER_TYPE,
  type IpAddress,
  icmpProtocol,
  type MacAddress,
  PROTOCOL,
  parseIp,
  parseMac,
  type TcpSegment,
} from '../index.ts';

export const GUEST_MAC: MacAddress = parseMac('52:54:00:12:34:56')!;
export const GATEWAY_MAC: MacAddress = parseMac('52:55:0a:00:02:02')!;
const NO_OFFLOADS: NetOffloads = { checksum: false, tcp4: false, tcp6: false };

export function address(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(`${text} is not an address`);
  return parsed;
}

export class TestGuest implements NetReceiver {
  takes: NetOffloads = NO_OFFLOADS;
  /** Frames that came and nobody looked at yet. */
  readonly inbox: Uint8Array[] = [];
  readonly unfinished: (UnfinishedFrame | undefined)[] = [];
  /** False: no room. */
  isOpen = true;
  readonly link: NetLink;
  ipv4: IpAddress = address('10.0.2.15');
  ipv6: IpAddress = address('fec0::5054:ff:fe12:3456');

  constructor(link: NetLink) {
    this.link = link;
    link.connect(this);
  }

  receive(frame: Uint8Array, unfinished?: UnfinishedFrame): boolean {
    if (!this.isOpen) return false;
    this.inbox.push(frame.slice());
    this.unfinished.push(unfinished);
    return true;
  }

  next(): Uint8Array | undefined {
    this.unfinished.shift();
    return this.inbox.shift();
  }

  /** Says who it is, so that nobody has to ask. */
  announce(): void {
    this.sendArp('request', this.ipv4, this.ipv4);
  }

  sendFrame(type: number, payload: Uint8Array, destination: MacAddress = GATEWAY_MAC): void {
    this.link.send(buildEthernet({ destination, source: GUEST_MAC, type, payload }));
  }

  sendArp(operation: 'request' | 'reply', senderIp: IpAddress, targetIp: IpAddress): void {
    const packet = { operation, senderMac: GUEST_MAC, senderIp, targetMac: new Uint8Array(6), targetIp };
    this.sendFrame(ETHER_TYPE.arp, buildArp(packet), new Uint8Array(6).fill(255));
  }

  sendPacket(packet: Uint8Array): void {
    this.sendFrame(packet[0] >> 4 === 6 ? ETHER_TYPE.ipv6 : ETHER_TYPE.ipv4, packet);
  }

  sendIp(
    destination: IpAddress,
    protocol: number,
    payload: Uint8Array,
    options: { source?: IpAddress; hopLimit?: number } = {},
  ): void {
    const source = options.source ?? this.sourceFor(destination);
    this.sendPacket(buildIp({ source, destination, protocol, hopLimit: options.hopLimit }, payload));
  }

  sendUdp(to: string, destinationPort: number, sourcePort: number, payload: Uint8Array, source?: IpAddress): void {
    const destination = address(to);
    const context = { source: source ?? this.sourceFor(destination), destination };
    this.sendIp(destination, PROTOCOL.udp, buildUdp({ sourcePort, destinationPort, payload }, context), context);
  }

  sendTcp(to: string, segment: TcpSegment): void {
    const destination = address(to);
    const source = this.sourceFor(destination);
    this.sendIp(destination, PROTOCOL.tcp, buildTcp(segment, { source, destination }));
  }

  sendIcmp(to: string, type: number, body: Uint8Array, options: { source?: IpAddress; hopLimit?: number } = {}): void {
    const destination = address(to);
    const source = options.source ?? this.sourceFor(destination);
    const payload = buildIcmp({ type, code: 0, body }, source, destination);
    this.sendIp(destination, icmpProtocol(source), payload, { ...options, source });
  }

  sourceFor(destination: IpAddress): IpAddress {
    return destination.length === 4 ? this.ipv4 : this.ipv6;
  }
}
