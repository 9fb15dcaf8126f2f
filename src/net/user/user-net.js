/**
 * The user-mode network: a gateway, a name server and a DHCP server in front of
 * the host's sockets. Needs no privileges; the guest reaches what the host's user reaches.
 */
import { UserError } from '../../base/index.js';
import { SECOND_NANOS, Timers } from '../timers.js';
import { DHCP_PORT } from '../wire/dhcp.js';
import { buildDhcpv6Reply, DHCPV6_PORT, parseDhcpv6, serverDuid } from '../wire/dhcpv6.js';
import { DNS_PORT } from '../wire/dns.js';
import { equalBytes } from '../wire/bytes.js';
import { ipHeaderBytes } from '../wire/ip.js';
import { ipKey, ipText, isUnspecified } from '../wire/ip-address.js';
import { ALL_NODES, NDP_HOP_LIMIT, routerAdvert } from '../wire/ndp.js';
import { TFTP_PORT } from '../wire/tftp.js';
import { UDP_HEADER_BYTES } from '../wire/udp.js';
import { MemoryBudget } from './budget.js';
import { checkUserNet } from './config.js';
import { DhcpServer } from './dhcp-server.js';
import { DnsForwarder, dnsStream } from './dns-forwarder.js';
import { parseGuestForward, parseHostForward } from './forward-text.js';
import { GuestInput } from './guest-input.js';
import { HostForwards } from './host-forwards.js';
import { IpOutput } from './ip-output.js';
import { GuestOutput } from './output.js';
import { hostAddress, routeOf } from './route.js';
import { TcpNat } from './tcp-nat.js';
import { TftpServer } from './tftp-server.js';
import { UdpNat } from './udp-nat.js';
const TAKES = { checksum: true, tcp4: true, tcp6: true };
const ROUTER_LIFETIME_SECONDS = 1800;
const ADVERT_INTERVAL_NANOS = 600 * SECOND_NANOS;
const GUEST_FORWARDS_MAX = 1024;
const TFTP_HEADER_BYTES = 4;
/** Throws UserError for options that are wrong. */
export function createUserNet(options, ports) {
    return new UserNetwork(checkUserNet(options), ports);
}
class UserNetwork {
    link;
    #config;
    #ports;
    #timers;
    #frames = new GuestOutput();
    #output;
    #input;
    #budget;
    #tcp;
    #udp;
    #dns;
    #dhcp;
    #tftp;
    #hostForwards;
    #guestForwards = new Map();
    #advertTimer;
    #isClosed = false;
    constructor(config, ports) {
        this.#config = config;
        this.#ports = ports;
        const { sockets, resolver } = ports;
        const { limits, mtuBytes, egress, ipv4 } = config;
        const timers = new Timers(ports.clock);
        this.#timers = timers;
        const random = () => ports.random();
        this.#output = new IpOutput(this.#frames, timers, config);
        this.#budget = new MemoryBudget(limits.memoryBytes);
        this.#dns = new DnsForwarder({ sockets, resolver, timers, egress, random });
        this.#input = new GuestInput({
            config,
            timers,
            output: this.#output,
            isForwarded: (address) => this.#isForwarded(address),
            tcp: (packet, segment) => this.#tcp.receive(packet, segment),
            udp: (packet, datagram) => this.#receiveUdp(packet, datagram),
            advertiseRouter: (to) => this.#advertiseRouter(to),
        });
        this.#tcp = new TcpNat({
            timers,
            output: this.#output,
            budget: this.#budget,
            mtuBytes,
            connectionsMax: limits.tcpConnections,
            connectionBytes: limits.connectionBytes,
            random,
            decide: (flow) => this.#decideTcp(flow),
            unreachable: (packet, reason) => this.#input.unreachable(packet, reason),
        });
        const sendUdp = (flow, payload) => this.#output.sendUdp(flow, payload);
        this.#udp = new UdpNat({
            sockets,
            timers,
            associationsMax: limits.udpAssociations,
            deliver: sendUdp,
        });
        this.#hostForwards = new HostForwards({
            config,
            sockets,
            timers,
            isTcpFlowFree: (flow) => this.#tcp.isFlowFree(flow),
            connectToGuest: (flow, stream) => this.#tcp.connectToGuest(flow, stream),
            sendUdp,
        });
        const searchDomains = () => this.#searchDomains();
        this.#dhcp = ipv4 === undefined ? undefined : new DhcpServer(config, ipv4, timers, searchDomains);
        const blockMaxBytes = mtuBytes - ipHeaderBytes(new Uint8Array(16)) - UDP_HEADER_BYTES - TFTP_HEADER_BYTES;
        const folder = ports.tftpFolder;
        this.#tftp = folder === undefined ? undefined : new TftpServer({ folder, timers, blockMaxBytes, send: sendUdp });
        this.#advertTimer = timers.create(() => {
            this.#advertiseRouter(ALL_NODES);
            this.#advertTimer.start(ADVERT_INTERVAL_NANOS);
        });
        if (config.ipv6 !== undefined)
            this.#advertTimer.start(ADVERT_INTERVAL_NANOS);
        this.link = {
            takes: TAKES,
            send: (frame, unfinished) => {
                if (!this.#isClosed)
                    this.#input.receive(frame, unfinished);
            },
            connect: (receiver) => this.#frames.connect(receiver),
            resume: () => this.#frames.resume(),
        };
    }
    async addHostForward(text) {
        return this.#hostForwards.add(parseHostForward(text, this.#config));
    }
    removeHostForward(text) {
        return this.#hostForwards.remove(text);
    }
    hostForwards() {
        return this.#hostForwards.list();
    }
    addGuestForward(rule) {
        const { address, port, open } = typeof rule === 'string' ? this.#parseGuestForward(rule) : rule;
        const key = `${ipKey(address)}${port}`;
        if (this.#guestForwards.size >= GUEST_FORWARDS_MAX && !this.#guestForwards.has(key)) {
            throw new UserError(`there cannot be more than ${GUEST_FORWARDS_MAX} guest forwarding rules`);
        }
        this.#guestForwards.set(key, { address, open });
    }
    removeGuestForward(address, port) {
        return this.#guestForwards.delete(`${ipKey(address)}${port}`);
    }
    statistics() {
        return {
            receivedFrames: this.#input.receivedFrames,
            sentFrames: this.#frames.sentFrames,
            droppedFrames: this.#input.droppedFrames + this.#frames.droppedFrames,
            tcpConnections: this.#tcp.count,
            udpAssociations: this.#udp.count,
            dnsQueries: this.#dns.pendingCount,
            bufferedBytes: this.#budget.usedBytes,
            runningTimers: this.#timers.runningCount,
        };
    }
    close() {
        this.#isClosed = true;
        this.#hostForwards.close();
        this.#tcp.close();
        this.#udp.close();
        this.#dns.close();
        this.#tftp?.close();
        this.#timers.stopAll();
    }
    #parseGuestForward(text) {
        const { address, port, target } = parseGuestForward(text, this.#config);
        const { sockets } = this.#ports;
        if (target.kind !== 'command')
            return { address, port, open: (events) => sockets.connect(target, events) };
        const { spawn } = sockets;
        if (spawn === undefined)
            throw new UserError(`guestfwd=${text}: this host cannot run programs`);
        return { address, port, open: (events) => spawn(target.command, events) };
    }
    #isForwarded(address) {
        const key = ipKey(address);
        for (const rule of this.#guestForwards.values())
            if (ipKey(rule.address) === key)
                return true;
        return false;
    }
    #searchDomains() {
        const { restrict, searchDomains } = this.#config;
        return searchDomains ?? (restrict ? [] : this.#ports.resolver.searchDomains());
    }
    #decideTcp({ local, localPort }) {
        const forwarded = this.#guestForwards.get(`${ipKey(local)}${localPort}`);
        if (forwarded !== undefined)
            return { kind: 'open', open: forwarded.open };
        const route = routeOf(this.#config, local);
        if (route === 'group' || route === 'invalid')
            return { kind: 'drop' };
        if (this.#config.restrict)
            return { kind: 'drop' };
        if (route === 'dns')
            return localPort === DNS_PORT ? { kind: 'open', open: this.#openDns } : { kind: 'reset' };
        if (route === 'inside')
            return { kind: 'unreachable', reason: 'host' };
        if (!this.#mayLeave(route, local, localPort, 'tcp'))
            return { kind: 'unreachable', reason: 'prohibited' };
        const to = { kind: 'inet', address: hostAddress(route, local), port: localPort };
        return { kind: 'open', open: (events) => this.#ports.sockets.connect(to, events) };
    }
    #openDns = (events) => {
        const accept = this.#timers.create(() => events.connected?.());
        accept.start(0);
        return dnsStream(this.#dns, {
            data: (bytes) => events.data(bytes),
            written: (byteCount) => events.written?.(byteCount),
            ended: () => {
                events.ended();
                events.closed(undefined);
            },
        });
    };
    #mayLeave(route, address, port, protocol) {
        const { restrict, hostLoopback, egress } = this.#config;
        if (restrict || (route === 'gateway' && !hostLoopback) || port === 0)
            return false;
        return egress.allows({ address, port, protocol }, this.#timers.nowNanos());
    }
    #receiveUdp(packet, { sourcePort, destinationPort, payload }) {
        const flow = { guest: packet.source, guestPort: sourcePort, local: packet.destination, localPort: destinationPort };
        const route = routeOf(this.#config, packet.destination);
        if (this.#receiveService(flow, route, payload))
            return;
        if (isUnspecified(packet.source) || route === 'group' || route === 'invalid')
            return;
        if (this.#hostForwards.answerUdp(flow, payload) || this.#config.restrict)
            return;
        if (route === 'inside')
            this.#input.unreachable(packet, 'host');
        else if (route === 'dns')
            this.#askDns(packet, flow, payload);
        else if (!this.#mayLeave(route, packet.destination, destinationPort, 'udp')) {
            this.#input.unreachable(packet, 'prohibited');
        }
        else {
            const to = { kind: 'inet', address: hostAddress(route, packet.destination), port: destinationPort };
            this.#udp.send(flow, to, payload);
        }
    }
    /** What the guest needs before it can speak to anyone, restricted or not: DHCP and TFTP. */
    #receiveService(flow, route, payload) {
        const isHere = route === 'group' || route === 'gateway';
        const isIpv4 = flow.guest.length === 4;
        if (isHere && isIpv4 && flow.localPort === DHCP_PORT.server)
            this.#answerDhcp(flow, payload);
        else if (isHere && !isIpv4 && flow.localPort === DHCPV6_PORT.server)
            this.#answerDhcpv6(flow, payload);
        else if (route === 'gateway' && flow.localPort === TFTP_PORT && this.#tftp !== undefined) {
            this.#tftp.receive(flow, payload);
        }
        else
            return false;
        return true;
    }
    #askDns(packet, flow, payload) {
        if (flow.localPort !== DNS_PORT) {
            this.#input.unreachable(packet, 'port');
            return;
        }
        const kept = { ...flow, guest: flow.guest.slice(), local: flow.local.slice() };
        this.#dns.ask(payload, 'udp', (response) => this.#output.sendUdp(kept, response));
    }
    #answerDhcp({ guestPort }, payload) {
        const answer = this.#dhcp?.answer(payload);
        if (answer === undefined || guestPort !== DHCP_PORT.client)
            return;
        const { bytes, to, mac } = answer;
        if (!to.every((byte) => byte === 255))
            this.#output.neighbours.learn(to, mac);
        const local = this.#config.ipv4.host;
        this.#output.sendUdp({ guest: to, guestPort, local, localPort: DHCP_PORT.server }, bytes);
    }
    #answerDhcpv6({ guest, guestPort }, payload) {
        const request = parseDhcpv6(payload);
        const { ipv6, restrict, bootFile } = this.#config;
        if (request === undefined || ipv6 === undefined || isUnspecified(guest))
            return;
        const serverMac = this.#output.macOf(ipv6.linkLocal);
        if (request.serverId !== undefined && !equalBytes(request.serverId, serverDuid(serverMac)))
            return;
        const bytes = buildDhcpv6Reply(request, {
            serverMac,
            dns: restrict ? undefined : ipv6.dns,
            searchDomains: this.#searchDomains(),
            bootFileUrl: bootFile === undefined ? undefined : `tftp://[${ipText(ipv6.host)}]/${bootFile}`,
        });
        this.#output.sendUdp({ guest, guestPort, local: ipv6.linkLocal, localPort: DHCPV6_PORT.server }, bytes);
    }
    #advertiseRouter(to) {
        const { ipv6, restrict } = this.#config;
        if (ipv6 === undefined)
            return;
        const message = routerAdvert({
            mac: this.#output.macOf(ipv6.linkLocal),
            prefix: ipv6.net,
            // A restricted guest has an address but no way out.
            lifetimeSeconds: restrict ? 0 : ROUTER_LIFETIME_SECONDS,
            dns: restrict ? undefined : ipv6.dns,
            searchDomains: this.#searchDomains(),
        });
        this.#output.sendIcmp(message, ipv6.linkLocal, to, NDP_HOP_LIMIT);
    }
}
