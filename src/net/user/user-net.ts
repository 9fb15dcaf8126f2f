/**
 * The user-mode network: a gateway, a name server and a DHCP server in front of
 * the host's sockets. Needs no privileges; the guest reaches what the host's user reaches.
 */
import type {
  Clock,
  HostEndpoint,
  HostFolder,
  HostResolver,
  HostSockets,
  NetLink,
  NetOffloads,
} from '../../contract/index.ts';
import { FrameQueue } from '../link/frame-queue.ts';
import { SECOND_NANOS, type StackTimer, Timers } from '../timers.ts';
import { copyOf, equalBytes } from '../wire/bytes.ts';
import { DHCP_PORT } from '../wire/dhcp.ts';
import { buildDhcpv6Reply, DHCPV6_PORT, parseDhcpv6, serverDuid } from '../wire/dhcpv6.ts';
import { DNS_PORT } from '../wire/dns.ts';
import { type IpPacket, ipHeaderBytes } from '../wire/ip.ts';
import { type IpAddress, ipText, isUnspecified } from '../wire/ip-address.ts';
import { ALL_NODES, NDP_HOP_LIMIT, routerAdvert } from '../wire/ndp.ts';
import { TFTP_PORT } from '../wire/tftp.ts';
import { UDP_HEADER_BYTES, type UdpDatagram } from '../wire/udp.ts';
import { MemoryBudget } from './budget.ts';
import { checkUserNet, type UserNetConfig, type UserNetOptions } from './config.ts';
import { DhcpServer } from './dhcp-server.ts';
import { DnsForwarder, dnsStream } from './dns-forwarder.ts';
import { type HostForward, parseHostForward } from './forward-text.ts';
import { type GuestForwardRule, GuestForwards } from './guest-forwards.ts';
import { GuestInput } from './guest-input.ts';
import { HostForwards } from './host-forwards.ts';
import { type Flow, IpOutput } from './ip-output.ts';
import { hostAddress, type Route, routeOf } from './route.ts';
import { type OpenStream, type TcpDecision, TcpNat } from './tcp-nat.ts';
import { TftpServer } from './tftp-server.ts';
import { emptyDatagram, UdpNat } from './udp-nat.ts';

/** What the network needs of the world around it. */
export interface UserNetPorts {
  readonly clock: Clock;
  readonly sockets: HostSockets;
  readonly resolver: HostResolver;
  /** 32 bits that nobody can guess. */
  random(): number;
  /** What TFTP serves; without it there is no TFTP. */
  readonly tftpFolder?: HostFolder;
}

export interface UserNetStatistics {
  readonly receivedFrames: number;
  readonly sentFrames: number;
  readonly droppedFrames: number;
  readonly tcpConnections: number;
  readonly udpAssociations: number;
  readonly dnsQueries: number;
  readonly bufferedBytes: number;
  readonly runningTimers: number;
}

export interface UserNet {
  /** Where the guest's card is plugged in. */
  readonly link: NetLink;
  /** Rejects with UserError. Resolves to the rule in force, with its port. */
  addHostForward(text: string): Promise<HostForward>;
  /** `[tcp|udp]:[hostaddr]:hostport`, as QEMU's hostfwd_remove takes it. False when there is none. */
  removeHostForward(text: string): boolean;
  hostForwards(): HostForward[];
  /** Throws UserError. With `open`, the stream comes from there instead of the text's target. */
  addGuestForward(rule: GuestForwardRule): void;
  removeGuestForward(address: IpAddress, port: number): boolean;
  statistics(): UserNetStatistics;
  /** Ends all connections and gives up all sockets. */
  close(): void;
}

const TAKES: NetOffloads = { checksum: true, tcp4: true, tcp6: true };
const ROUTER_LIFETIME_SECONDS = 1800;
const ADVERT_INTERVAL_NANOS = 600 * SECOND_NANOS;
const TFTP_HEADER_BYTES = 4;

/** Throws UserError for options that are wrong. */
export function createUserNet(options: UserNetOptions, ports: UserNetPorts): UserNet {
  return new UserNetwork(checkUserNet(options), ports);
}

class UserNetwork implements UserNet {
  readonly link: NetLink;
  readonly #config: UserNetConfig;
  readonly #ports: UserNetPorts;
  readonly #timers: Timers;
  readonly #frames = new FrameQueue();
  readonly #output: IpOutput;
  readonly #input: GuestInput;
  readonly #budget: MemoryBudget;
  readonly #tcp: TcpNat;
  readonly #udp: UdpNat;
  readonly #dns: DnsForwarder;
  readonly #dhcp: DhcpServer | undefined;
  readonly #tftp: TftpServer | undefined;
  readonly #hostForwards: HostForwards;
  readonly #guestForwards: GuestForwards;
  readonly #advertTimer: StackTimer;
  #isClosed = false;

  constructor(config: UserNetConfig, ports: UserNetPorts) {
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
    this.#guestForwards = new GuestForwards(config, sockets);
    this.#input = new GuestInput({
      config,
      timers,
      output: this.#output,
      isForwarded: (address) => this.#guestForwards.has(address),
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
    const sendUdp = (flow: Flow, payload: Uint8Array) => this.#output.sendUdp(flow, payload);
    this.#udp = new UdpNat({
      sockets,
      timers,
      associationsMax: limits.udpAssociations,
      deliver: sendUdp,
      refused: (flow) => this.#input.unreachable(emptyDatagram(flow), 'port'),
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
    if (config.ipv6 !== undefined) this.#advertTimer.start(ADVERT_INTERVAL_NANOS);
    this.link = {
      takes: TAKES,
      send: (frame, unfinished) => {
        if (!this.#isClosed) this.#input.receive(frame, unfinished);
      },
      connect: (receiver) => this.#frames.connect(receiver),
      resume: () => this.#frames.resume(),
    };
  }

  async addHostForward(text: string): Promise<HostForward> {
    return this.#hostForwards.add(parseHostForward(text, this.#config));
  }

  removeHostForward(text: string): boolean {
    return this.#hostForwards.remove(text);
  }

  hostForwards(): HostForward[] {
    return this.#hostForwards.list();
  }

  addGuestForward(rule: GuestForwardRule): void {
    this.#guestForwards.add(rule);
  }

  removeGuestForward(address: IpAddress, port: number): boolean {
    return this.#guestForwards.remove(address, port);
  }

  statistics(): UserNetStatistics {
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

  close(): void {
    this.#isClosed = true;
    this.#hostForwards.close();
    this.#tcp.close();
    this.#udp.close();
    this.#dns.close();
    this.#tftp?.close();
    this.#timers.stopAll();
  }

  #searchDomains(): readonly string[] {
    const { restrict, searchDomains } = this.#config;
    return searchDomains ?? (restrict ? [] : this.#ports.resolver.searchDomains());
  }

  #decideTcp({ local, localPort }: Flow): TcpDecision {
    const forwarded = this.#guestForwards.find(local, localPort);
    if (forwarded !== undefined) return { kind: 'open', open: forwarded };
    const route = routeOf(this.#config, local);
    if (route === 'group' || route === 'invalid') return { kind: 'drop' };
    if (this.#config.restrict) return { kind: 'drop' };
    if (route === 'dns') return localPort === DNS_PORT ? { kind: 'open', open: this.#openDns } : { kind: 'reset' };
    if (route === 'inside') return { kind: 'unreachable', reason: 'host' };
    if (!this.#mayLeave(route, local, localPort, 'tcp')) return { kind: 'unreachable', reason: 'prohibited' };
    const to: HostEndpoint = { kind: 'inet', address: hostAddress(route, local), port: localPort };
    return { kind: 'open', open: (events) => this.#ports.sockets.connect(to, events) };
  }

  readonly #openDns: OpenStream = (events) => {
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

  #mayLeave(route: Route, address: IpAddress, port: number, protocol: 'tcp' | 'udp'): boolean {
    const { restrict, hostLoopback, egress } = this.#config;
    if (restrict || (route === 'gateway' && !hostLoopback) || port === 0) return false;
    return egress.allows({ address, port, protocol, isVirtual: route !== 'outside' }, this.#timers.nowNanos());
  }

  #receiveUdp(packet: IpPacket, { sourcePort, destinationPort, payload }: UdpDatagram): void {
    const flow = { guest: packet.source, guestPort: sourcePort, local: packet.destination, localPort: destinationPort };
    const route = routeOf(this.#config, packet.destination);
    if (this.#receiveService(flow, route, payload)) return;
    if (isUnspecified(packet.source) || route === 'group' || route === 'invalid') return;
    if (this.#hostForwards.answerUdp(flow, payload) || this.#config.restrict) return;
    if (route === 'inside') this.#input.unreachable(packet, 'host');
    else if (route === 'dns') this.#askDns(packet, flow, payload);
    else if (!this.#mayLeave(route, packet.destination, destinationPort, 'udp')) {
      this.#input.unreachable(packet, 'prohibited');
    } else {
      const to = { kind: 'inet', address: hostAddress(route, packet.destination), port: destinationPort } as const;
      this.#udp.send(flow, to, payload);
    }
  }

  /** What the guest needs before it can speak to anyone, restricted or not: DHCP and TFTP. */
  #receiveService(flow: Flow, route: Route, payload: Uint8Array): boolean {
    const isHere = route === 'group' || route === 'gateway';
    const isIpv4 = flow.guest.length === 4;
    if (isHere && isIpv4 && flow.localPort === DHCP_PORT.server) this.#answerDhcp(flow, payload);
    else if (isHere && !isIpv4 && flow.localPort === DHCPV6_PORT.server) this.#answerDhcpv6(flow, payload);
    else if (route === 'gateway' && flow.localPort === TFTP_PORT && this.#tftp !== undefined) {
      this.#tftp.receive(flow, payload);
    } else return false;
    return true;
  }

  #askDns(packet: IpPacket, flow: Flow, payload: Uint8Array): void {
    if (flow.localPort !== DNS_PORT) {
      this.#input.unreachable(packet, 'port');
      return;
    }
    const kept = { ...flow, guest: copyOf(flow.guest), local: copyOf(flow.local) };
    this.#dns.ask(payload, 'udp', (response) => this.#output.sendUdp(kept, response));
  }

  #answerDhcp({ guestPort }: Flow, payload: Uint8Array): void {
    const answer = this.#dhcp?.answer(payload);
    if (answer === undefined || guestPort !== DHCP_PORT.client) return;
    const { bytes, to, mac } = answer;
    if (!to.every((byte) => byte === 255)) this.#output.neighbours.learn(to, mac);
    const local = this.#config.ipv4!.host;
    this.#output.sendUdp({ guest: to, guestPort, local, localPort: DHCP_PORT.server }, bytes);
  }

  #answerDhcpv6({ guest, guestPort }: Flow, payload: Uint8Array): void {
    const request = parseDhcpv6(payload);
    const { ipv6, restrict, bootFile } = this.#config;
    if (request === undefined || ipv6 === undefined || isUnspecified(guest)) return;
    const serverMac = this.#output.macOf(ipv6.linkLocal);
    if (request.serverId !== undefined && !equalBytes(request.serverId, serverDuid(serverMac))) return;
    const bytes = buildDhcpv6Reply(request, {
      serverMac,
      dns: restrict ? undefined : ipv6.dns,
      searchDomains: this.#searchDomains(),
      bootFileUrl: bootFile === undefined ? undefined : `tftp://[${ipText(ipv6.host)}]/${bootFile}`,
    });
    this.#output.sendUdp({ guest, guestPort, local: ipv6.linkLocal, localPort: DHCPV6_PORT.server }, bytes);
  }

  #advertiseRouter(to: IpAddress): void {
    const { ipv6, restrict } = this.#config;
    if (ipv6 === undefined) return;
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
