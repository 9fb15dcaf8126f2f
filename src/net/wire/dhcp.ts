/** DHCP messages (RFC 2131) and options (RFC 2132, RFC 3397). */
import { get32, latin1, put16, put32 } from './bytes.ts';
import { encodeDnsName } from './dns.ts';
import type { IpAddress } from './ip-address.ts';
import type { MacAddress } from './mac.ts';

export const DHCP_PORT = { server: 67, client: 68 } as const;
export const DHCP_TYPE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
export type DhcpType = keyof typeof DHCP_TYPE;

const OPTIONS_OFFSET = 240;
const MAGIC = 0x6382_5363;
const OPTION = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  dns: 6,
  hostName: 12,
  domainName: 15,
  requestedIp: 50,
  leaseTime: 51,
  messageType: 53,
  serverId: 54,
  tftpServer: 66,
  bootFile: 67,
  searchDomains: 119,
  end: 255,
} as const;
const OPTION_MAX_BYTES = 255;
/** The smallest message that every client takes (RFC 2131, 2). */
const REPLY_MAX_BYTES = 576 - 28;

/** What a server reads of a client's message. */
export interface DhcpQuery {
  readonly type: DhcpType;
  /** The first 44 bytes up to the client's address are answered as they came. */
  readonly transactionId: number;
  readonly isBroadcastWanted: boolean;
  readonly clientIp: IpAddress;
  readonly relayIp: IpAddress;
  readonly clientMac: MacAddress;
  readonly requestedIp?: IpAddress;
  readonly serverId?: IpAddress;
}

export interface DhcpReply {
  readonly type: 'offer' | 'ack' | 'nak';
  readonly query: DhcpQuery;
  /** What the client gets; 0.0.0.0 in a nak. */
  readonly yourIp: IpAddress;
  readonly serverIp: IpAddress;
  readonly settings?: DhcpSettings;
}

export interface DhcpSettings {
  /** Absent in the answer to `inform`. */
  readonly leaseSeconds?: number;
  readonly subnetMask: IpAddress;
  readonly router?: IpAddress;
  readonly dns?: IpAddress;
  readonly hostName?: string;
  readonly domainName?: string;
  readonly searchDomains: readonly string[];
  readonly tftpServer?: string;
  readonly bootFile?: string;
}

export function parseDhcpQuery(bytes: Uint8Array): DhcpQuery | undefined {
  if (bytes.length < OPTIONS_OFFSET || bytes[0] !== 1 || bytes[1] !== 1 || bytes[2] !== 6) return undefined;
  if (get32(bytes, 236) !== MAGIC) return undefined;
  const options = readOptions(bytes);
  const typeByte = options?.get(OPTION.messageType);
  const type = (Object.keys(DHCP_TYPE) as DhcpType[]).find((name) => DHCP_TYPE[name] === typeByte?.[0]);
  if (options === undefined || type === undefined || typeByte?.length !== 1) return undefined;
  const address = (option: number) => (options.get(option)?.length === 4 ? options.get(option) : undefined);
  return {
    type,
    transactionId: get32(bytes, 4),
    isBroadcastWanted: (bytes[10] & 0x80) !== 0,
    clientIp: bytes.subarray(12, 16),
    relayIp: bytes.subarray(24, 28),
    clientMac: bytes.subarray(28, 34),
    requestedIp: address(OPTION.requestedIp),
    serverId: address(OPTION.serverId),
  };
}

/** Undefined when an option runs over the end. The first of a repeated option counts. */
function readOptions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>();
  for (let at = OPTIONS_OFFSET; at < bytes.length && bytes[at] !== OPTION.end; ) {
    if (bytes[at] === OPTION.pad) {
      at++;
      continue;
    }
    const end = at + 2 + bytes[at + 1];
    if (at + 1 >= bytes.length || end > bytes.length) return undefined;
    if (!options.has(bytes[at])) options.set(bytes[at], bytes.subarray(at + 2, end));
    at = end;
  }
  return options;
}

export function buildDhcpReply({ type, query, yourIp, serverIp, settings }: DhcpReply): Uint8Array {
  const bytes = new Uint8Array(REPLY_MAX_BYTES);
  bytes[0] = 2;
  bytes[1] = 1;
  bytes[2] = 6;
  put32(bytes, 4, query.transactionId);
  put16(bytes, 10, query.isBroadcastWanted ? 0x8000 : 0);
  bytes.set(query.clientIp, 12);
  bytes.set(yourIp, 16);
  if (type !== 'nak') bytes.set(serverIp, 20);
  bytes.set(query.relayIp, 24);
  bytes.set(query.clientMac, 28);
  if (settings?.bootFile !== undefined) bytes.set(latin1(settings.bootFile).subarray(0, 127), 108);
  put32(bytes, 236, MAGIC);
  let at = OPTIONS_OFFSET;
  for (const [option, value] of replyOptions(type, serverIp, settings)) {
    // One more byte stays for the end. What does not fit is left out, the least important last.
    if (value.length === 0 || value.length > OPTION_MAX_BYTES || at + 2 + value.length >= bytes.length) continue;
    bytes[at] = option;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = OPTION.end;
  return bytes.subarray(0, Math.max(at + 1, 300)); // BOOTP's size, which some relays and clients want
}

function replyOptions(
  type: DhcpReply['type'],
  serverIp: IpAddress,
  settings: DhcpSettings | undefined,
): [number, Uint8Array][] {
  const options: [number, Uint8Array][] = [
    [OPTION.messageType, Uint8Array.of(DHCP_TYPE[type])],
    [OPTION.serverId, serverIp],
  ];
  if (settings === undefined) return options;
  const { leaseSeconds, subnetMask, router, dns, hostName, domainName, searchDomains, tftpServer, bootFile } = settings;
  if (leaseSeconds !== undefined) {
    const value = new Uint8Array(4);
    put32(value, 0, leaseSeconds);
    options.push([OPTION.leaseTime, value]);
  }
  options.push([OPTION.subnetMask, subnetMask]);
  if (router !== undefined) options.push([OPTION.router, router]);
  if (dns !== undefined) options.push([OPTION.dns, dns]);
  const texts = [
    [OPTION.hostName, hostName],
    [OPTION.domainName, domainName],
    [OPTION.tftpServer, tftpServer],
    [OPTION.bootFile, bootFile],
  ] as const;
  for (const [option, text] of texts) if (text !== undefined) options.push([option, latin1(text)]);
  // Not compressed: RFC 3397 allows it.
  const names = searchDomains.flatMap((domain) => Array.from(encodeDnsName(domain) ?? []));
  options.push([OPTION.searchDomains, Uint8Array.from(names)]);
  return options;
}
