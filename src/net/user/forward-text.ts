/** Forwarding rules as QEMU writes them: `tcp::2222-:22`, `tcp:10.0.2.100:80-cmd:httpd`. */
import { UserError } from '../../base/index.ts';
import type { HostEndpoint } from '../../contract/index.ts';
import { type IpAddress, ipText, isInside, parseIp } from '../wire/ip-address.ts';
import type { UserNetConfig } from './config.ts';

/** A port of the host's that leads into the guest. */
export interface HostForward {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress: string;
  /** 0: any that is free. */
  readonly hostPort: number;
  readonly guest: IpAddress;
  readonly guestPort: number;
}

export type GuestForwardTarget = HostEndpoint | { readonly kind: 'command'; readonly command: string };

/** An address in the guest's net that leads to one place on the host, even when the guest is restricted. */
export interface GuestForward {
  readonly address: IpAddress;
  readonly port: number;
  readonly target: GuestForwardTarget;
}

/**
 * `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`; IPv6 addresses in
 * brackets. Without hostaddr all of the host's, without guestaddr the first that DHCP gives.
 */
export function parseHostForward(text: string, config: UserNetConfig): HostForward {
  const fault = (what: string) => new UserError(`hostfwd=${text}: ${what}; write it like tcp::2222-:22`);
  const match = /^([a-z]*):(\[[^\]]*\]|[^:[\]]*):(\d+)-(\[[^\]]*\]|[^:[\]]*):(\d+)$/i.exec(text);
  if (match === null) throw fault('not of the form [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport');
  const [, protocolText, hostText, hostPortText, guestText, guestPortText] = match;
  const protocol = protocolText === '' ? 'tcp' : protocolText;
  if (protocol !== 'tcp' && protocol !== 'udp') throw fault(`${protocol} is not tcp or udp`);
  const host = hostText === '' ? parseIp('0.0.0.0') : parseIp(unbracketed(hostText));
  if (host === undefined) throw fault(`${hostText} is not an address of the host`);
  const guest = guestText === '' ? config.ipv4?.dhcpStart : parseIp(unbracketed(guestText));
  if (guest === undefined) throw fault(guestText === '' ? 'name the guest address' : `${guestText} is not an address`);
  const net = (guest.length === 4 ? config.ipv4 : config.ipv6)?.net;
  if (net === undefined || !isInside(net, guest)) throw fault(`${ipText(guest)} is not in the guest's network`);
  const [hostPort, guestPort] = [Number(hostPortText), Number(guestPortText)];
  if (hostPort > 65_535) throw fault(`${hostPort} is not a port`);
  if (guestPort < 1 || guestPort > 65_535) throw fault(`${guestPort} is not a port`);
  return { protocol, hostAddress: ipText(host), hostPort, guest, guestPort };
}

/** The key by which QEMU's `hostfwd_remove` names a rule: `[tcp|udp]:[hostaddr]:hostport`. */
export function hostForwardKey({ protocol, hostAddress, hostPort }: HostForward): string {
  return `${protocol}:${hostAddress.includes(':') ? `[${hostAddress}]` : hostAddress}:${hostPort}`;
}

/** The same key from what a person wrote. */
export function parseHostForwardKey(text: string): string {
  const match = /^([a-z]*):(\[[^\]]*\]|[^:[\]]*):(\d+)$/i.exec(text);
  const host = match?.[2] === '' ? '0.0.0.0' : match?.[2];
  const address = host === undefined ? undefined : parseIp(unbracketed(host));
  if (match === null || address === undefined) {
    throw new UserError(`"${text}" names no forwarding rule; write it like tcp::2222`);
  }
  const plain = ipText(address);
  return `${match[1] || 'tcp'}:${address.length === 16 ? `[${plain}]` : plain}:${Number(match[3])}`;
}

/** `[tcp]:server:port-target`, where the target is `tcp:host:port`, `unix:path` or `cmd:command`. */
export function parseGuestForward(text: string, config: UserNetConfig): GuestForward {
  const fault = (what: string) =>
    new UserError(`guestfwd=${text}: ${what}; write it like tcp:10.0.2.100:80-cmd:program`);
  const match = /^(?:tcp)?:(\[[^\]]*\]|[^:[\]]*):(\d+)-(.+)$/i.exec(text);
  if (match === null) throw fault('not of the form [tcp]:server:port-target');
  const address = parseIp(unbracketed(match[1]));
  const version = address?.length === 4 ? config.ipv4 : config.ipv6;
  if (address === undefined || version === undefined || !isInside(version.net, address)) {
    throw fault(`${match[1]} is not in the guest's network`);
  }
  const port = Number(match[2]);
  if (port < 1 || port > 65_535) throw fault(`${port} is not a port`);
  const target = parseTarget(match[3]);
  if (target === undefined) throw fault(`${match[3]} is not tcp:host:port, unix:path or cmd:command`);
  return { address, port, target };
}

function parseTarget(text: string): GuestForwardTarget | undefined {
  const tcp = /^tcp:(\[[^\]]*\]|[^:[\]]+):(\d{1,5})$/i.exec(text);
  if (tcp !== null && Number(tcp[2]) <= 65_535) {
    return { kind: 'inet', address: unbracketed(tcp[1]), port: Number(tcp[2]) };
  }
  const unix = /^unix:(.+)$/i.exec(text);
  if (unix !== null) return { kind: 'unix', path: unix[1] };
  const command = /^cmd:(.+)$/i.exec(text);
  return command === null ? undefined : { kind: 'command', command: command[1] };
}

function unbracketed(text: string): string {
  return text.startsWith('[') ? text.slice(1, -1) : text;
}
