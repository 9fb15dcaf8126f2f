/** Stateless DHCPv6 (RFC 8415, 18.2.6; RFC 3646): what an information-request asks and its reply. */
import { concat, get16, latin1, put16 } from './bytes.ts';
import { encodeDnsName } from './dns.ts';
import type { IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';

export const DHCPV6_PORT = { server: 547, client: 546 } as const;
const MESSAGE = { informationRequest: 11, reply: 7 } as const;
const OPTION = { clientId: 1, serverId: 2, optionRequest: 6, dns: 23, searchDomains: 24, bootFileUrl: 59 } as const;
const DUID_MAX_BYTES = 130;

export interface Dhcpv6InformationRequest {
  /** 24 bits. */
  readonly transactionId: number;
  readonly clientId?: Uint8Array;
  readonly serverId?: Uint8Array;
  /** Codes of the options that the client wants. */
  readonly requested: readonly number[];
}

export interface Dhcpv6Settings {
  readonly serverMac: MacAddress;
  readonly dns?: IpAddress;
  readonly searchDomains: readonly string[];
  readonly bootFileUrl?: string;
}

/** Undefined for other messages and malformed ones. */
export function parseDhcpv6(bytes: Uint8Array): Dhcpv6InformationRequest | undefined {
  if (bytes.length < 4 || bytes[0] !== MESSAGE.informationRequest) return undefined;
  let [clientId, serverId]: (Uint8Array | undefined)[] = [];
  let requested: number[] = [];
  for (let at = 4; at < bytes.length; ) {
    if (at + 4 > bytes.length) return undefined;
    const [code, end] = [get16(bytes, at), at + 4 + get16(bytes, at + 2)];
    if (end > bytes.length) return undefined;
    const value = bytes.subarray(at + 4, end);
    if (code === OPTION.clientId) clientId = value;
    if (code === OPTION.serverId) serverId = value;
    if (code === OPTION.optionRequest) {
      requested = Array.from({ length: value.length >> 1 }, (_, i) => get16(value, i * 2));
    }
    at = end;
  }
  if ((clientId?.length ?? 0) > DUID_MAX_BYTES) return undefined;
  return { transactionId: (bytes[1] << 16) | get16(bytes, 2), clientId, serverId, requested };
}

/** A server's identifier: its link-layer address (RFC 8415, 11.4). */
export function serverDuid(mac: MacAddress): Uint8Array {
  return Uint8Array.of(0, 3, 0, 1, ...mac);
}

export function buildDhcpv6Reply(request: Dhcpv6InformationRequest, settings: Dhcpv6Settings): Uint8Array {
  const { transactionId, clientId, requested } = request;
  const header = Uint8Array.of(MESSAGE.reply, transactionId >> 16, transactionId >> 8, transactionId);
  const parts = [header, option(OPTION.serverId, serverDuid(settings.serverMac))];
  if (clientId !== undefined) parts.push(option(OPTION.clientId, clientId));
  const { dns, searchDomains, bootFileUrl } = settings;
  if (dns !== undefined && requested.includes(OPTION.dns)) parts.push(option(OPTION.dns, dns));
  const names = searchDomains.flatMap((domain) => encodeDnsName(domain) ?? []);
  if (names.length > 0 && requested.includes(OPTION.searchDomains)) {
    parts.push(option(OPTION.searchDomains, concat(names)));
  }
  if (bootFileUrl !== undefined && requested.includes(OPTION.bootFileUrl)) {
    parts.push(option(OPTION.bootFileUrl, latin1(bootFileUrl)));
  }
  return concat(parts);
}

function option(code: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + value.length);
  put16(bytes, 0, code);
  put16(bytes, 2, value.length);
  bytes.set(value, 4);
  return bytes;
}
