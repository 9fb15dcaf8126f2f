/** What a user-mode network is made of: what may be asked for, its defaults (QEMU's), and the checks. */
import { UserError } from '../../base/index.ts';
import { encodeDnsName } from '../wire/dns.ts';
import {
  addressInside,
  type Cidr,
  type IpAddress,
  ipText,
  isInside,
  isMulticast,
  netmask,
  parseIp,
  parseIpv4Net,
} from '../wire/ip-address.ts';
import { type Egress, type EgressRule, parseEgress } from './egress.ts';

/** What `createUserNet` takes. Names in comments are QEMU's options of `-netdev user`. */
export interface UserNetOptions {
  /** `ipv4`, `ipv6`; both default to true. */
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  /** `net`: 10.0.2.0/24. */
  readonly net?: string;
  /** `host`: the gateway, which stands for the host's loopback; .2 of the net. */
  readonly host?: string;
  /** `dns`: .3 of the net. */
  readonly dns?: string;
  /** `dhcpstart`: first of 16 addresses given out; .15 of the net. */
  readonly dhcpStart?: string;
  /** `ipv6-prefix` and `ipv6-prefixlen`: fec0:: and 64. */
  readonly ipv6Prefix?: string;
  readonly ipv6PrefixLength?: number;
  /** `ipv6-host`, `ipv6-dns`: ::2 and ::3 in the prefix. */
  readonly ipv6Host?: string;
  readonly ipv6Dns?: string;
  /** `hostname`: what DHCP tells the guest it is called. */
  readonly hostName?: string;
  readonly domainName?: string;
  /** `dnssearch`; default the host's own. */
  readonly searchDomains?: readonly string[];
  /** `tftp-server-name`, `bootfile`: what DHCP tells a guest that boots from the network. */
  readonly tftpServerName?: string;
  readonly bootFile?: string;
  /** `restrict`: nothing goes out but what forwarding rules name. */
  readonly restrict?: boolean;
  /** Whether the gateway's address leads to the host's loopback; default true, as in QEMU. */
  readonly hostLoopback?: boolean;
  /** First match decides; without a match `egressDefault` does. */
  readonly egress?: readonly EgressRule[];
  readonly egressDefault?: 'allow' | 'deny';
  readonly mtuBytes?: number;
  readonly limits?: Partial<UserNetLimits>;
}

export interface UserNetLimits {
  readonly tcpConnections: number;
  readonly udpAssociations: number;
  /** Of all connections' buffers together. */
  readonly memoryBytes: number;
  /** Of one connection, in each direction. */
  readonly connectionBytes: number;
}

export const DEFAULT_LIMITS: UserNetLimits = {
  tcpConnections: 4096,
  udpAssociations: 1024,
  memoryBytes: 64 * 1024 * 1024,
  connectionBytes: 512 * 1024,
};

export interface Ipv4Config {
  readonly net: Cidr;
  readonly host: IpAddress;
  readonly dns: IpAddress;
  readonly dhcpStart: IpAddress;
  readonly broadcast: IpAddress;
  readonly mask: IpAddress;
}

export interface Ipv6Config {
  readonly net: Cidr;
  readonly host: IpAddress;
  readonly dns: IpAddress;
  /** From which advertisements come. */
  readonly linkLocal: IpAddress;
}

/** Checked, with defaults; a version that is off is undefined. */
export interface UserNetConfig {
  readonly ipv4: Ipv4Config | undefined;
  readonly ipv6: Ipv6Config | undefined;
  readonly hostName: string | undefined;
  readonly domainName: string | undefined;
  readonly searchDomains: readonly string[] | undefined;
  readonly tftpServerName: string | undefined;
  readonly bootFile: string | undefined;
  readonly restrict: boolean;
  readonly hostLoopback: boolean;
  readonly egress: Egress;
  readonly mtuBytes: number;
  readonly limits: UserNetLimits;
}

/** IPv6's minimum. */
const MTU_MIN_BYTES = 1280;
const MTU_MAX_BYTES = 65_521;

/** Throws UserError that names the option. */
export function checkUserNet(options: UserNetOptions): UserNetConfig {
  const { mtuBytes = 1500, searchDomains } = options;
  if (!Number.isInteger(mtuBytes) || mtuBytes < MTU_MIN_BYTES || mtuBytes > MTU_MAX_BYTES) {
    throw new UserError(
      `network: mtuBytes ${mtuBytes} must be a whole number from ${MTU_MIN_BYTES} to ${MTU_MAX_BYTES}`,
    );
  }
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1) throw new UserError(`network: limits.${name} must be 1 or more`);
  }
  for (const name of searchDomains ?? []) checkName('dnssearch', name);
  if (options.domainName !== undefined) checkName('domainname', options.domainName);
  const ipv4 = options.ipv4 === false ? undefined : checkIpv4(options);
  const ipv6 = options.ipv6 === false ? undefined : checkIpv6(options);
  if (ipv4 === undefined && ipv6 === undefined) throw new UserError('network: ipv4 and ipv6 cannot both be off');
  return {
    ipv4,
    ipv6,
    hostName: options.hostName,
    domainName: options.domainName,
    searchDomains,
    tftpServerName: options.tftpServerName,
    bootFile: options.bootFile,
    restrict: options.restrict ?? false,
    hostLoopback: options.hostLoopback ?? true,
    egress: parseEgress(options.egress ?? [], options.egressDefault ?? 'allow'),
    mtuBytes,
    limits,
  };
}

function checkName(option: string, name: string): void {
  if (encodeDnsName(name) === undefined) throw new UserError(`network: ${option}=${name} is not a domain name`);
}

function checkIpv4(options: UserNetOptions): Ipv4Config {
  const text = options.net ?? '10.0.2.0/24';
  const net = parseIpv4Net(text);
  if (net === undefined || net.address.length !== 4 || net.prefixLength < 8 || net.prefixLength > 27) {
    throw new UserError(`network: net=${text} must be an IPv4 net with a prefix from 8 to 27, like 10.0.2.0/24`);
  }
  const inNet = (option: string, value: string | undefined, number: number) =>
    addressOption(option, value, addressInside(net, number), net);
  const broadcast = addressInside(net, 2 ** (32 - net.prefixLength) - 1);
  const config = {
    net,
    host: inNet('host', options.host, 2),
    dns: inNet('dns', options.dns, 3),
    dhcpStart: inNet('dhcpstart', options.dhcpStart, 15),
    broadcast,
    mask: netmask(net.prefixLength),
  };
  checkDistinct(config);
  return config;
}

function checkIpv6(options: UserNetOptions): Ipv6Config {
  const { ipv6Prefix = 'fec0::', ipv6PrefixLength = 64 } = options;
  const address = parseIp(ipv6Prefix);
  if (address?.length !== 16 || isMulticast(address)) {
    throw new UserError(`network: ipv6-prefix=${ipv6Prefix} must be an IPv6 address, like fec0::`);
  }
  if (!Number.isInteger(ipv6PrefixLength) || ipv6PrefixLength < 8 || ipv6PrefixLength > 120) {
    throw new UserError(`network: ipv6-prefixlen=${ipv6PrefixLength} must be a whole number from 8 to 120`);
  }
  const net = {
    address: addressInside({ address, prefixLength: ipv6PrefixLength }, 0),
    prefixLength: ipv6PrefixLength,
  };
  const config = {
    net,
    host: addressOption('ipv6-host', options.ipv6Host, addressInside(net, 2), net),
    dns: addressOption('ipv6-dns', options.ipv6Dns, addressInside(net, 3), net),
    linkLocal: parseIp('fe80::2')!,
  };
  checkDistinct(config);
  return config;
}

function addressOption(option: string, text: string | undefined, standard: IpAddress, net: Cidr): IpAddress {
  if (text === undefined) return standard;
  const address = parseIp(text);
  if (address === undefined || !isInside(net, address)) {
    throw new UserError(`network: ${option}=${text} must be an address in ${ipText(net.address)}/${net.prefixLength}`);
  }
  return address;
}

function checkDistinct({ host, dns }: { readonly host: IpAddress; readonly dns: IpAddress }): void {
  if (ipText(host) === ipText(dns)) throw new UserError(`network: the host and dns addresses are both ${ipText(dns)}`);
}
