/** IPv4 and IPv6 addresses as bytes in network order, 4 or 16, and as text. */
import { copyOf, get16 } from './bytes.ts';

export type IpAddress = Uint8Array;

export interface Cidr {
  readonly address: IpAddress;
  readonly prefixLength: number;
}

export function parseIp(text: string): IpAddress | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** Four decimal numbers; no leading zeros, which some read as octal. */
export function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

/** RFC 4291, 2.2; without a zone. */
export function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => groupsOf(half));
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const given = head.length + (tail?.length ?? 0);
  if (halves.length === 1 ? given !== 8 : given > 7) return undefined;
  const groups = [...head, ...new Array<number>(8 - given).fill(0), ...(tail ?? [])];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function groupsOf(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    const ipv4 = i === parts.length - 1 ? parseIpv4(part) : undefined;
    if (ipv4 !== undefined) groups.push(get16(ipv4, 0), get16(ipv4, 2));
    else if (/^[0-9a-f]{1,4}$/i.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

/** The canonical text (RFC 5952). */
export function ipText(address: IpAddress): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => get16(address, i * 2).toString(16));
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === '0') length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length === 1) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}

/** `10.0.2.0/24`; an address alone is itself only. */
export function parseCidr(text: string): Cidr | undefined {
  const [addressText, prefixText, ...rest] = text.split('/');
  const address = parseIp(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const bitCount = address.length * 8;
  if (prefixText === undefined) return { address, prefixLength: bitCount };
  if (!/^\d{1,3}$/.test(prefixText) || Number(prefixText) > bitCount) return undefined;
  return { address, prefixLength: Number(prefixText) };
}

/** `10.0.2.0/24` or `10.0.2.0/255.255.255.0`, as QEMU's `net=` allows. */
export function parseIpv4Net(text: string): Cidr | undefined {
  const mask = parseIpv4(text.split('/')[1] ?? '');
  if (mask === undefined) return parseCidr(text);
  const bits = Array.from(mask, (byte) => byte.toString(2).padStart(8, '0')).join('');
  const address = parseIpv4(text.split('/')[0]);
  if (address === undefined || !/^1*0*$/.test(bits)) return undefined;
  return { address, prefixLength: bits.lastIndexOf('1') + 1 };
}

export function isInside({ address: net, prefixLength }: Cidr, address: IpAddress): boolean {
  if (net.length !== address.length) return false;
  const wholeBytes = prefixLength >> 3;
  for (let i = 0; i < wholeBytes; i++) if (net[i] !== address[i]) return false;
  const mask = (0xff00 >> (prefixLength & 7)) & 0xff;
  return (prefixLength & 7) === 0 || ((net[wholeBytes] ^ address[wholeBytes]) & mask) === 0;
}

export function netmask(prefixLength: number): IpAddress {
  return Uint8Array.from({ length: 4 }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, prefixLength - i * 8))) & 0xff);
}

/** The address with number `host` inside a net: `10.0.2.0/24` and 15 are `10.0.2.15`. */
export function addressInside({ address, prefixLength }: Cidr, host: number): IpAddress {
  const result = copyOf(address);
  for (let bit = prefixLength; bit < result.length * 8; bit++) result[bit >> 3] &= ~(0x80 >> (bit & 7));
  let rest = host;
  for (let i = result.length - 1; i >= 0 && rest > 0; i--) {
    result[i] |= rest & 0xff;
    rest = Math.floor(rest / 256);
  }
  return result;
}

/** A string that only this address has: a key for maps. */
export function ipKey(address: IpAddress): string {
  return String.fromCharCode(...address);
}

export function isMulticast(address: IpAddress): boolean {
  return address.length === 4 ? address[0] >> 4 === 0xe : address[0] === 0xff;
}

export function isUnspecified(address: IpAddress): boolean {
  return address.every((byte) => byte === 0);
}

/** Of one link only: 169.254.0.0/16, fe80::/10. */
export function isLinkLocal(address: IpAddress): boolean {
  return address.length === 4 ? get16(address, 0) === 0xa9fe : (get16(address, 0) & 0xffc0) === 0xfe80;
}

export function isLoopback(address: IpAddress): boolean {
  if (address.length === 4) return address[0] === 127;
  return address[15] === 1 && address.subarray(0, 15).every((byte) => byte === 0);
}
