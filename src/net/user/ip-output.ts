/** Packets to the guest: Ethernet header, neighbour's address, fragments, checksums that the guest takes undone. */
import type { UnfinishedFrame } from '../../contract/index.ts';
import type { FrameQueue } from '../link/frame-queue.ts';
import type { OutgoingSegment } from '../tcp/port.ts';
import type { Timers } from '../timers.ts';
import { buildArp } from '../wire/arp.ts';
import { put16 } from '../wire/bytes.ts';
import { checksum, pseudoHeaderSum } from '../wire/checksum.ts';
import { buildEthernet, ETHER_TYPE, ETHERNET_HEADER_BYTES, putEthernet } from '../wire/ethernet.ts';
import { buildIcmp, type IcmpMessage, icmpProtocol } from '../wire/icmp.ts';
import { buildIpPackets, type IpHeader, ipHeaderBytes, PROTOCOL, putIpHeader } from '../wire/ip.ts';
import { type IpAddress, ipKey, isMulticast, isUnspecified } from '../wire/ip-address.ts';
import { BROADCAST_MAC, type MacAddress } from '../wire/mac.ts';
import { multicastMac, NDP_HOP_LIMIT, neighbourSolicit, solicitedNode } from '../wire/ndp.ts';
import { putTcpHeader, tcpHeaderBytes } from '../wire/tcp.ts';
import { buildUdp } from '../wire/udp.ts';
import type { UserNetConfig } from './config.ts';
import { Neighbours } from './neighbours.ts';

/** The four numbers of a connection, from the guest's side: `local` is what stands for the outside. */
export interface Flow {
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly local: IpAddress;
  readonly localPort: number;
}

/** A segment with offload may carry as much as an IP packet can. */
const PACKET_MAX_BYTES = 65_535;
const TCP_CHECKSUM_OFFSET = 16;

/** The address of a virtual machine that only we know, as slirp makes it. */
export function virtualMac(address: IpAddress): MacAddress {
  return Uint8Array.of(0x52, address.length === 4 ? 0x55 : 0x56, ...address.subarray(address.length - 4));
}

export class IpOutput {
  readonly frames: FrameQueue;
  readonly neighbours: Neighbours;
  readonly #config: UserNetConfig;
  readonly #macs = new Map<string, MacAddress>();
  #identification = 0;

  constructor(frames: FrameQueue, timers: Timers, config: UserNetConfig) {
    this.frames = frames;
    this.#config = config;
    this.neighbours = new Neighbours(timers, (address) => this.#solicit(address));
  }

  /** Sends to an address of the guest's, or to a group. */
  sendIp(header: IpHeader, payload: Uint8Array): void {
    const { source, destination } = header;
    this.#identification = (this.#identification + 1) & 0xffff;
    for (const packet of buildIpPackets(header, payload, this.#config.mtuBytes, this.#identification)) {
      const frame = buildEthernet({
        destination: BROADCAST_MAC,
        source: this.macOf(source),
        type: source.length === 4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6,
        payload: packet,
      });
      this.#sendFrame(frame, destination);
    }
  }

  sendUdp({ guest, guestPort, local, localPort }: Flow, payload: Uint8Array): void {
    const datagram = { sourcePort: localPort, destinationPort: guestPort, payload };
    const context = { source: local, destination: guest };
    this.sendIp({ ...context, protocol: PROTOCOL.udp }, buildUdp(datagram, context));
  }

  sendIcmp(message: IcmpMessage, source: IpAddress, destination: IpAddress, hopLimit = 64): void {
    const payload = buildIcmp(message, source, destination);
    this.sendIp({ source, destination, protocol: icmpProtocol(source), hopLimit }, payload);
  }

  sendArp(operation: 'request' | 'reply', senderIp: IpAddress, targetMac: MacAddress, targetIp: IpAddress): void {
    const senderMac = this.macOf(senderIp);
    const isRequest = operation === 'request';
    const payload = buildArp({
      operation,
      senderMac,
      senderIp,
      targetMac: isRequest ? new Uint8Array(6) : targetMac,
      targetIp,
    });
    const destination = isRequest ? BROADCAST_MAC : targetMac;
    this.frames.send(buildEthernet({ destination, source: senderMac, type: ETHER_TYPE.arp, payload }));
  }

  /** The most that one segment may carry: as much as the guest's driver takes to cut itself. */
  tcpPayloadMax(guest: IpAddress, mss: number): number {
    const { takes } = this.frames;
    const canCut = takes.checksum && (guest.length === 4 ? takes.tcp4 : takes.tcp6);
    if (!canCut) return mss;
    const room = PACKET_MAX_BYTES - ipHeaderBytes(guest) - tcpHeaderBytes({});
    return Math.max(mss, room - (room % mss));
  }

  sendTcp({ guest, guestPort, local, localPort }: Flow, segment: OutgoingSegment): void {
    const tcpOffset = ETHERNET_HEADER_BYTES + ipHeaderBytes(guest);
    const payloadOffset = tcpOffset + tcpHeaderBytes(segment.options);
    const frame = new Uint8Array(payloadOffset + segment.payloadBytes);
    const tcpBytes = frame.length - tcpOffset;
    putEthernet(frame, BROADCAST_MAC, this.macOf(local), guest.length === 4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6);
    putIpHeader(frame, ETHERNET_HEADER_BYTES, { source: local, destination: guest, protocol: PROTOCOL.tcp }, tcpBytes);
    putTcpHeader(frame, tcpOffset, { ...segment, sourcePort: localPort, destinationPort: guestPort });
    segment.copyPayload(frame, payloadOffset);
    const pseudo = pseudoHeaderSum(local, guest, PROTOCOL.tcp, tcpBytes);
    const canLeaveChecksum = this.frames.takes.checksum;
    put16(
      frame,
      tcpOffset + TCP_CHECKSUM_OFFSET,
      canLeaveChecksum ? pseudo : checksum(frame, tcpOffset, frame.length, pseudo),
    );
    const isCut = segment.payloadBytes > segment.mss;
    const unfinished: UnfinishedFrame | undefined = canLeaveChecksum
      ? {
          checksumStart: tcpOffset,
          checksumOffset: TCP_CHECKSUM_OFFSET,
          segments: isCut
            ? {
                kind: guest.length === 4 ? 'tcp4' : 'tcp6',
                payloadBytes: segment.mss,
                headerBytes: payloadOffset,
              }
            : undefined,
        }
      : undefined;
    this.#sendFrame(frame, guest, unfinished);
  }

  /** The Ethernet address of one of ours. */
  macOf(address: IpAddress): MacAddress {
    const key = ipKey(address);
    let mac = this.#macs.get(key);
    if (mac === undefined) {
      // Addresses outside come from the gateway.
      const { ipv4, ipv6 } = this.#config;
      const host = address.length === 4 ? ipv4?.host : ipv6?.host;
      mac = virtualMac(this.isVirtual(address) || host === undefined ? address : host);
      if (this.#macs.size >= 1024) this.#macs.clear();
      this.#macs.set(key, mac);
    }
    return mac;
  }

  /** One of the machines that we play: gateway, name server. */
  isVirtual(address: IpAddress): boolean {
    const key = ipKey(address);
    const { ipv4, ipv6 } = this.#config;
    const ours = address.length === 4 ? [ipv4?.host, ipv4?.dns] : [ipv6?.host, ipv6?.dns, ipv6?.linkLocal];
    return ours.some((own) => own !== undefined && ipKey(own) === key);
  }

  #sendFrame(frame: Uint8Array, destination: IpAddress, unfinished?: UnfinishedFrame): void {
    const group = this.#groupMac(destination);
    const send = (mac: MacAddress) => {
      frame.set(mac, 0);
      this.frames.send(frame, unfinished);
    };
    if (group !== undefined) send(group);
    else this.neighbours.whenKnown(destination, send);
  }

  #groupMac(destination: IpAddress): MacAddress | undefined {
    if (destination.length === 16) return isMulticast(destination) ? multicastMac(destination) : undefined;
    return destination.every((byte) => byte === 255) || isUnspecified(destination) ? BROADCAST_MAC : undefined;
  }

  #solicit(address: IpAddress): void {
    const { ipv4, ipv6 } = this.#config;
    if (address.length === 4 && ipv4 !== undefined) this.sendArp('request', ipv4.host, BROADCAST_MAC, address);
    if (address.length === 16 && ipv6 !== undefined) {
      const message = neighbourSolicit(address, this.macOf(ipv6.linkLocal));
      this.sendIcmp(message, ipv6.linkLocal, solicitedNode(address), NDP_HOP_LIMIT);
    }
  }
}
