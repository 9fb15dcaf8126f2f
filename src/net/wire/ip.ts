/** IPv4 (RFC 791) and IPv6 (RFC 8200) packets in one form. */
import { get16, get32, put16, put32 } from './bytes.ts';
import { checksum } from './checksum.ts';
import type { IpAddress } from './ip-address.ts';

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
export const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;
const FRAGMENT_HEADER_BYTES = 8;
/** IPv6 extension headers that are skipped: hop-by-hop, routing, destination options. */
const SKIPPED = [0, 43, 60];
const NEXT_FRAGMENT = 44;
const EXTENSION_MAX = 8;

/** Which part of a packet a fragment is. */
export interface Fragment {
  readonly identification: number;
  /** From the start of the packet's payload. */
  readonly offsetBytes: number;
  readonly more: boolean;
}

export interface IpPacket {
  readonly source: IpAddress;
  /** As long as `source`. */
  readonly destination: IpAddress;
  /** TTL or hop limit. */
  readonly hopLimit: number;
  /** Of the payload: the last next header in IPv6. */
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly fragment?: Fragment;
  /** The whole packet's bytes, which an ICMP error quotes. */
  readonly bytes: Uint8Array;
}

/** Undefined when any field is wrong. Trailing bytes beyond the packet's length are padding. */
export function parseIp4Packet(bytes: Uint8Array): IpPacket | undefined {
  if (bytes.length < IPV4_HEADER_BYTES || bytes[0] >> 4 !== 4) return undefined;
  const headerBytes = (bytes[0] & 0xf) * 4;
  const totalBytes = get16(bytes, 2);
  if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || totalBytes > bytes.length) return undefined;
  if (checksum(bytes, 0, headerBytes) !== 0) return undefined;
  const flags = get16(bytes, 6);
  const [offsetBytes, more] = [(flags & 0x1fff) * 8, (flags & 0x2000) !== 0];
  return {
    source: bytes.subarray(12, 16),
    destination: bytes.subarray(16, 20),
    hopLimit: bytes[8],
    protocol: bytes[9],
    payload: bytes.subarray(headerBytes, totalBytes),
    fragment: more || offsetBytes > 0 ? { identification: get16(bytes, 4), offsetBytes, more } : undefined,
    bytes: bytes.subarray(0, totalBytes),
  };
}

export function parseIp6Packet(bytes: Uint8Array): IpPacket | undefined {
  if (bytes.length < IPV6_HEADER_BYTES || bytes[0] >> 4 !== 6) return undefined;
  const end = IPV6_HEADER_BYTES + get16(bytes, 4);
  if (end > bytes.length) return undefined;
  let protocol = bytes[6];
  let at = IPV6_HEADER_BYTES;
  let fragment: Fragment | undefined;
  for (let i = 0; SKIPPED.includes(protocol) || protocol === NEXT_FRAGMENT; i++) {
    if (i === EXTENSION_MAX || at + 8 > end) return undefined;
    const isFragment = protocol === NEXT_FRAGMENT;
    if (isFragment) {
      if (fragment !== undefined) return undefined;
      const field = get16(bytes, at + 2);
      fragment = { identification: get32(bytes, at + 4), offsetBytes: field & 0xfff8, more: (field & 1) !== 0 };
    }
    protocol = bytes[at];
    at += isFragment ? FRAGMENT_HEADER_BYTES : (bytes[at + 1] + 1) * 8;
    if (at > end) return undefined;
    if (isFragment && fragment!.offsetBytes > 0) break; // what follows is not the start of a header
  }
  return {
    source: bytes.subarray(8, 24),
    destination: bytes.subarray(24, 40),
    hopLimit: bytes[7],
    protocol,
    payload: bytes.subarray(at, end),
    // One that is both first and last is a whole packet (RFC 6946).
    fragment: fragment?.more || (fragment?.offsetBytes ?? 0) > 0 ? fragment : undefined,
    bytes: bytes.subarray(0, end),
  };
}

export function ipHeaderBytes(address: IpAddress): number {
  return address.length === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
}

export interface IpHeader {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly hopLimit?: number;
  /** IPv4 only; in IPv6 a fragment has its own header, which `putFragmentHeader` writes. */
  readonly fragment?: Fragment;
}

/** Writes a header of 20 or 40 bytes, by the addresses' version, at `offset`. */
export function putIpHeader(target: Uint8Array, offset: number, header: IpHeader, payloadBytes: number): void {
  const { source, destination, protocol, hopLimit = 64, fragment } = header;
  if (source.length === 16) {
    put32(target, offset, 0x6000_0000);
    put16(target, offset + 4, payloadBytes);
    target[offset + 6] = protocol;
    target[offset + 7] = hopLimit;
    target.set(source, offset + 8);
    target.set(destination, offset + 24);
    return;
  }
  target[offset] = 0x45;
  put16(target, offset + 2, IPV4_HEADER_BYTES + payloadBytes);
  put16(target, offset + 4, fragment?.identification ?? 0);
  put16(
    target,
    offset + 6,
    fragment === undefined ? 0x4000 : (fragment.offsetBytes >> 3) | (fragment.more ? 0x2000 : 0),
  );
  target[offset + 8] = hopLimit;
  target[offset + 9] = protocol;
  put16(target, offset + 10, 0);
  target.set(source, offset + 12);
  target.set(destination, offset + 16);
  put16(target, offset + 10, checksum(target, offset, offset + IPV4_HEADER_BYTES));
}

/** One packet, with its payload. */
export function buildIp(header: IpHeader, payload: Uint8Array): Uint8Array {
  const headerBytes = ipHeaderBytes(header.source);
  const packet = new Uint8Array(headerBytes + payload.length);
  putIpHeader(packet, 0, header, payload.length);
  packet.set(payload, headerBytes);
  return packet;
}

/** The packets that carry a payload over links of `mtuBytes`: one, or fragments. */
export function buildIpPackets(
  header: IpHeader,
  payload: Uint8Array,
  mtuBytes: number,
  identification: number,
): Uint8Array[] {
  const headerBytes = ipHeaderBytes(header.source);
  if (headerBytes + payload.length <= mtuBytes) return [buildIp(header, payload)];
  const isIpv6 = header.source.length === 16;
  const partBytes = (mtuBytes - headerBytes - (isIpv6 ? FRAGMENT_HEADER_BYTES : 0)) & ~7;
  const packets: Uint8Array[] = [];
  for (let offsetBytes = 0; offsetBytes < payload.length; offsetBytes += partBytes) {
    const part = payload.subarray(offsetBytes, offsetBytes + partBytes);
    const more = offsetBytes + part.length < payload.length;
    const fragment = { identification, offsetBytes, more };
    packets.push(isIpv6 ? buildIp6Fragment(header, part, fragment) : buildIp({ ...header, fragment }, part));
  }
  return packets;
}

function buildIp6Fragment(header: IpHeader, part: Uint8Array, { identification, offsetBytes, more }: Fragment) {
  const payload = new Uint8Array(FRAGMENT_HEADER_BYTES + part.length);
  payload[0] = header.protocol;
  put16(payload, 2, offsetBytes | (more ? 1 : 0));
  put32(payload, 4, identification);
  payload.set(part, FRAGMENT_HEADER_BYTES);
  return buildIp({ ...header, protocol: NEXT_FRAGMENT }, payload);
}
