/** Composable checks on frames: `expectFrame(frame, ipv4({source}, udp({destinationPort: 68})))`. */
import assert from 'node:assert/strict';
import {
  type ArpPacket,
  ETHER_TYPE,
  type EthernetFrame,
  type IcmpMessage,
  type IpAddress,
  type IpPacket,
  ipText,
  macText,
  PROTOCOL,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIp4Packet,
  parseIp6Packet,
  parseTcp,
  parseUdp,
  TCP_FLAG,
  type TcpSegment,
  type UdpDatagram,
} from '../index.ts';

export type FrameCheck = (frame: EthernetFrame) => void;
export type PacketCheck = (packet: IpPacket) => void;

export function expectFrame(bytes: Uint8Array | undefined, ...checks: FrameCheck[]): void {
  assert.ok(bytes !== undefined, 'no frame came');
  const frame = parseEthernet(bytes);
  assert.ok(frame !== undefined, 'not an Ethernet frame');
  for (const check of checks) check(frame);
}

export function ethernet(want: { source?: string; destination?: string }): FrameCheck {
  return ({ source, destination }) => {
    if (want.source !== undefined) assert.equal(macText(source), want.source, 'source address');
    if (want.destination !== undefined) assert.equal(macText(destination), want.destination, 'destination address');
  };
}

export function arp(want: { operation: ArpPacket['operation']; senderIp?: string; targetIp?: string }): FrameCheck {
  return ({ type, payload }) => {
    assert.equal(type, ETHER_TYPE.arp, 'not ARP');
    const packet = parseArp(payload);
    assert.ok(packet !== undefined, 'malformed ARP');
    assert.equal(packet.operation, want.operation);
    if (want.senderIp !== undefined) assert.equal(ipText(packet.senderIp), want.senderIp);
    if (want.targetIp !== undefined) assert.equal(ipText(packet.targetIp), want.targetIp);
  };
}

/** Of either version. */
export function ip(
  want: { source?: string; destination?: string; hopLimit?: number },
  ...checks: PacketCheck[]
): FrameCheck {
  return ({ type, payload }) => {
    const packet = type === ETHER_TYPE.ipv6 ? parseIp6Packet(payload) : parseIp4Packet(payload);
    assert.ok(packet !== undefined && (type === ETHER_TYPE.ipv4 || type === ETHER_TYPE.ipv6), 'not an IP packet');
    if (want.source !== undefined) assert.equal(ipText(packet.source), want.source, 'source');
    if (want.destination !== undefined) assert.equal(ipText(packet.destination), want.destination, 'destination');
    if (want.hopLimit !== undefined) assert.equal(packet.hopLimit, want.hopLimit, 'hop limit');
    for (const check of checks) check(packet);
  };
}

export function udp(
  want: Partial<Pick<UdpDatagram, 'sourcePort' | 'destinationPort'>>,
  ...checks: ((payload: Uint8Array) => void)[]
): PacketCheck {
  return (packet) => {
    assert.equal(packet.protocol, PROTOCOL.udp, 'not UDP');
    const datagram = parseUdp(packet.payload, packet);
    assert.ok(datagram !== undefined, 'malformed UDP');
    compare(datagram, want);
    for (const check of checks) check(datagram.payload);
  };
}

export type FlagName = keyof typeof TCP_FLAG;

export function flagsOf(...names: FlagName[]): number {
  return names.reduce((flags, name) => flags | TCP_FLAG[name], 0);
}

export function tcp(
  want: Partial<Omit<TcpSegment, 'payload' | 'options'>>,
  ...checks: ((segment: TcpSegment) => void)[]
): PacketCheck {
  return (packet) => {
    assert.equal(packet.protocol, PROTOCOL.tcp, 'not TCP');
    const segment = parseTcp(packet.payload, packet);
    assert.ok(segment !== undefined, 'malformed TCP');
    compare(segment, want);
    for (const check of checks) check(segment);
  };
}

export function icmp(want: Partial<IcmpMessage>, ...checks: ((message: IcmpMessage) => void)[]): PacketCheck {
  return (packet) => {
    assert.ok(packet.protocol === PROTOCOL.icmp || packet.protocol === PROTOCOL.icmpv6, 'not ICMP');
    const message = parseIcmp(packet.payload, packet.source, packet.destination);
    assert.ok(message !== undefined, 'malformed ICMP');
    compare(message, want);
    for (const check of checks) check(message);
  };
}

function compare<Value extends object>(value: Value, want: Partial<Value>): void {
  for (const key of Object.keys(want) as (keyof Value)[]) assert.deepEqual(value[key], want[key], String(key));
}

export type { IpAddress };
