/** The DHCP server (RFC 2131): sixteen addresses, each kept for the card that got it first. */
import { SECOND_NANOS, type Timers } from '../timers.ts';
import { buildDhcpReply, type DhcpQuery, type DhcpReply, type DhcpSettings, parseDhcpQuery } from '../wire/dhcp.ts';
import { addressInside, type IpAddress, ipKey, isInside, isUnspecified } from '../wire/ip-address.ts';
import { type MacAddress, macText } from '../wire/mac.ts';
import type { Ipv4Config, UserNetConfig } from './config.ts';

const LEASES_MAX = 16;
const LEASE_SECONDS = 86_400;
/** An address that a client found in use is not offered for so long. */
const DECLINED_NANOS = 600 * SECOND_NANOS;
const NOWHERE: IpAddress = new Uint8Array(4);

export interface DhcpAnswer {
  readonly bytes: Uint8Array;
  /** Where it goes: the client's address, or all. */
  readonly to: IpAddress;
  /** Who has `to`, when the client does not answer ARP for it yet. */
  readonly mac: MacAddress;
}

interface Lease {
  readonly address: IpAddress;
  mac: string;
  untilNanos: number;
}

export class DhcpServer {
  readonly #config: UserNetConfig;
  readonly #ipv4: Ipv4Config;
  readonly #timers: Timers;
  readonly #searchDomains: () => readonly string[];
  readonly #leases = new Map<string, Lease>();

  constructor(config: UserNetConfig, ipv4: Ipv4Config, timers: Timers, searchDomains: () => readonly string[]) {
    this.#config = config;
    this.#ipv4 = ipv4;
    this.#timers = timers;
    this.#searchDomains = searchDomains;
  }

  /** Undefined when nothing is to be said. */
  answer(bytes: Uint8Array): DhcpAnswer | undefined {
    const query = parseDhcpQuery(bytes);
    if (query === undefined) return undefined;
    switch (query.type) {
      case 'discover':
        return this.#offer(query);
      case 'request':
        return this.#request(query);
      case 'inform':
        return this.#reply(query, 'ack', NOWHERE, this.#settings(undefined));
      case 'decline':
        this.#decline(query);
        return undefined;
      case 'release':
        this.#release(query);
        return undefined;
      default:
        return undefined;
    }
  }

  #offer(query: DhcpQuery): DhcpAnswer | undefined {
    const lease = this.#leaseFor(query);
    return lease === undefined ? undefined : this.#reply(query, 'offer', lease.address, this.#settings(LEASE_SECONDS));
  }

  /** RFC 2131, 4.3.2: selecting, init-reboot, renewing and rebinding differ only in where the address stands. */
  #request(query: DhcpQuery): DhcpAnswer | undefined {
    const { serverId } = query;
    if (serverId !== undefined && ipKey(serverId) !== ipKey(this.#ipv4.host)) return undefined; // another server's
    const wanted = query.requestedIp ?? query.clientIp;
    const lease = this.#leaseFor(query);
    if (lease === undefined || ipKey(lease.address) !== ipKey(wanted)) {
      return this.#reply(query, 'nak', NOWHERE, undefined);
    }
    lease.untilNanos = this.#timers.nowNanos() + LEASE_SECONDS * SECOND_NANOS;
    return this.#reply(query, 'ack', lease.address, this.#settings(LEASE_SECONDS));
  }

  /** The card's own lease, else the address it wishes for when free, else the first free. */
  #leaseFor({ clientMac, requestedIp }: DhcpQuery): Lease | undefined {
    const mac = macText(clientMac);
    const now = this.#timers.nowNanos();
    const all = Array.from({ length: LEASES_MAX }, (_, i) => this.#address(i)).filter(
      (address) => address !== undefined,
    );
    const isFree = (address: IpAddress) => (this.#leases.get(ipKey(address))?.untilNanos ?? 0) <= now;
    const own = all.find((address) => this.#leases.get(ipKey(address))?.mac === mac);
    const wished = all.find((address) => requestedIp !== undefined && ipKey(address) === ipKey(requestedIp));
    const isWishFree = wished !== undefined && isFree(wished);
    const address = own ?? (isWishFree ? wished : all.find(isFree));
    if (address === undefined) return undefined;
    const lease = this.#leases.get(ipKey(address)) ?? { address, mac, untilNanos: 0 };
    lease.mac = mac;
    // An offer holds the address until the client has decided.
    lease.untilNanos = Math.max(lease.untilNanos, now + 60 * SECOND_NANOS);
    this.#leases.set(ipKey(address), lease);
    return lease;
  }

  #address(index: number): IpAddress | undefined {
    const { net, dhcpStart, host, dns, broadcast } = this.#ipv4;
    const first = dhcpStart.reduce((number, byte) => number * 256 + byte, 0);
    const address = addressInside({ address: NOWHERE, prefixLength: 0 }, first + index);
    const isTaken = [host, dns, broadcast].some((other) => ipKey(other) === ipKey(address));
    return isTaken || !isInside(net, address) ? undefined : address;
  }

  #decline({ requestedIp, clientMac }: DhcpQuery): void {
    const lease = requestedIp === undefined ? undefined : this.#leases.get(ipKey(requestedIp));
    if (lease?.mac !== macText(clientMac)) return;
    lease.mac = '';
    lease.untilNanos = this.#timers.nowNanos() + DECLINED_NANOS;
  }

  #release({ clientIp, clientMac }: DhcpQuery): void {
    const lease = this.#leases.get(ipKey(clientIp));
    if (lease?.mac === macText(clientMac)) this.#leases.delete(ipKey(clientIp));
  }

  #settings(leaseSeconds: number | undefined): DhcpSettings {
    const { restrict, hostName, domainName, tftpServerName, bootFile } = this.#config;
    return {
      leaseSeconds,
      subnetMask: this.#ipv4.mask,
      // A restricted guest has no way out to be told of.
      router: restrict ? undefined : this.#ipv4.host,
      dns: restrict ? undefined : this.#ipv4.dns,
      hostName,
      domainName,
      searchDomains: this.#searchDomains(),
      tftpServer: tftpServerName,
      bootFile,
    };
  }

  #reply(
    query: DhcpQuery,
    type: DhcpReply['type'],
    yourIp: IpAddress,
    settings: DhcpSettings | undefined,
  ): DhcpAnswer | undefined {
    if (!isUnspecified(query.relayIp)) return undefined; // there is no relay in this net
    const bytes = buildDhcpReply({ type, query, yourIp, serverIp: this.#ipv4.host, settings });
    const address = isUnspecified(query.clientIp) ? yourIp : query.clientIp;
    const isForAll = type === 'nak' || query.isBroadcastWanted || !isInside(this.#ipv4.net, address);
    return { bytes, to: isForAll ? Uint8Array.of(255, 255, 255, 255) : address, mac: query.clientMac };
  }
}
