/** The DHCP server (RFC 2131): sixteen addresses, each kept for the card that got it first. */
import { SECOND_NANOS } from '../timers.js';
import { buildDhcpReply, parseDhcpQuery } from '../wire/dhcp.js';
import { addressInside, ipKey, isInside, isUnspecified } from '../wire/ip-address.js';
import { macText } from '../wire/mac.js';
const LEASES_MAX = 16;
const LEASE_SECONDS = 86_400;
/** An address that a client found in use is not offered for so long. */
const DECLINED_NANOS = 600 * SECOND_NANOS;
const NOWHERE = new Uint8Array(4);
export class DhcpServer {
    #config;
    #ipv4;
    #timers;
    #searchDomains;
    #leases = new Map();
    constructor(config, ipv4, timers, searchDomains) {
        this.#config = config;
        this.#ipv4 = ipv4;
        this.#timers = timers;
        this.#searchDomains = searchDomains;
    }
    /** Undefined when nothing is to be said. */
    answer(bytes) {
        const query = parseDhcpQuery(bytes);
        if (query === undefined)
            return undefined;
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
    #offer(query) {
        const lease = this.#leaseFor(query);
        return lease === undefined
            ? undefined
            : this.#reply(query, 'offer', lease.address, this.#settings(LEASE_SECONDS));
    }
    /** RFC 2131, 4.3.2: selecting, init-reboot, renewing and rebinding differ only in where the address stands. */
    #request(query) {
        const { serverId } = query;
        if (serverId !== undefined && ipKey(serverId) !== ipKey(this.#ipv4.host))
            return undefined; // another server's
        const wanted = query.requestedIp ?? query.clientIp;
        const lease = this.#leaseFor(query);
        if (lease === undefined || ipKey(lease.address) !== ipKey(wanted)) {
            return this.#reply(query, 'nak', NOWHERE, undefined);
        }
        lease.untilNanos = this.#timers.nowNanos() + LEASE_SECONDS * SECOND_NANOS;
        return this.#reply(query, 'ack', lease.address, this.#settings(LEASE_SECONDS));
    }
    /** The card's own lease, else the address it wishes for when free, else the first free. */
    #leaseFor({ clientMac, requestedIp }) {
        const mac = macText(clientMac);
        const now = this.#timers.nowNanos();
        const all = Array.from({ length: LEASES_MAX }, (_, i) => this.#address(i)).filter((address) => address !== undefined);
        const isFree = (address) => (this.#leases.get(ipKey(address))?.untilNanos ?? 0) <= now;
        const own = all.find((address) => this.#leases.get(ipKey(address))?.mac === mac);
        const wished = all.find((address) => requestedIp !== undefined && ipKey(address) === ipKey(requestedIp));
        const isWishFree = wished !== undefined && isFree(wished);
        const address = own ?? (isWishFree ? wished : all.find(isFree));
        if (address === undefined)
            return undefined;
        const lease = this.#leases.get(ipKey(address)) ?? { address, mac, untilNanos: 0 };
        lease.mac = mac;
        // An offer holds the address until the client has decided.
        lease.untilNanos = Math.max(lease.untilNanos, now + 60 * SECOND_NANOS);
        this.#leases.set(ipKey(address), lease);
        return lease;
    }
    #address(index) {
        const { net, dhcpStart, host, dns, broadcast } = this.#ipv4;
        const first = dhcpStart.reduce((number, byte) => number * 256 + byte, 0);
        const address = addressInside({ address: NOWHERE, prefixLength: 0 }, first + index);
        const isTaken = [host, dns, broadcast].some((other) => ipKey(other) === ipKey(address));
        return isTaken || !isInside(net, address) ? undefined : address;
    }
    #decline({ requestedIp, clientMac }) {
        const lease = requestedIp === undefined ? undefined : this.#leases.get(ipKey(requestedIp));
        if (lease?.mac !== macText(clientMac))
            return;
        lease.mac = '';
        lease.untilNanos = this.#timers.nowNanos() + DECLINED_NANOS;
    }
    #release({ clientIp, clientMac }) {
        const lease = this.#leases.get(ipKey(clientIp));
        if (lease?.mac === macText(clientMac))
            this.#leases.delete(ipKey(clientIp));
    }
    #settings(leaseSeconds) {
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
    #reply(query, type, yourIp, settings) {
        if (!isUnspecified(query.relayIp))
            return undefined; // there is no relay in this net
        const bytes = buildDhcpReply({ type, query, yourIp, serverIp: this.#ipv4.host, settings });
        const address = isUnspecified(query.clientIp) ? yourIp : query.clientIp;
        const isForAll = type === 'nak' || query.isBroadcastWanted || !isInside(this.#ipv4.net, address);
        return { bytes, to: isForAll ? Uint8Array.of(255, 255, 255, 255) : address, mac: query.clientMac };
    }
}
