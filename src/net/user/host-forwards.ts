/** Ports of the host's that lead into the guest; added and removed while it runs. */
import { UserError } from '../../base/index.ts';
import type {
  HostDatagramSocket,
  HostEndpoint,
  HostSockets,
  HostStream,
  HostStreamEvents,
} from '../../contract/index.ts';
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { ipKey } from '../wire/ip-address.ts';
import type { UserNetConfig } from './config.ts';
import { type HostForward, hostForwardKey, parseHostForwardKey } from './forward-text.ts';
import type { Flow } from './ip-output.ts';

const RULES_MAX = 1024;
const CLIENT_IDLE_NANOS = 240 * SECOND_NANOS;
const CLIENTS_MAX = 1024;
/** RFC 6335, 6. */
const DYNAMIC_PORTS = { first: 49_152, count: 16_384 } as const;

export interface HostForwardPorts {
  readonly config: UserNetConfig;
  readonly sockets: HostSockets;
  readonly timers: Timers;
  isTcpFlowFree(flow: Flow): boolean;
  connectToGuest(flow: Flow, stream: HostStream): HostStreamEvents | undefined;
  sendUdp(flow: Flow, payload: Uint8Array): void;
}

interface Rule {
  readonly forward: HostForward;
  readonly close: () => void;
}

/** A client on the host that sends datagrams into the guest; it has a port of the gateway's there. */
interface UdpClient {
  readonly flow: Flow;
  readonly from: HostEndpoint;
  readonly socket: () => HostDatagramSocket | undefined;
  readonly idle: StackTimer;
}

export class HostForwards {
  readonly #ports: HostForwardPorts;
  readonly #rules = new Map<string, Rule>();
  /** By the flow's numbers, to find the client that a guest's datagram answers. */
  readonly #clients = new Map<string, UdpClient>();
  /** By rule and the client's endpoint. */
  readonly #clientsByOrigin = new Map<string, UdpClient>();
  #nextPort = 0;
  #isClosed = false;

  constructor(ports: HostForwardPorts) {
    this.#ports = ports;
  }

  /** The rules in force, with the ports that were given where any was asked for. */
  list(): HostForward[] {
    return Array.from(this.#rules.values(), ({ forward }) => forward);
  }

  /** Rejects with UserError. Resolves to the rule in force. */
  async add(forward: HostForward): Promise<HostForward> {
    const key = hostForwardKey(forward);
    if (this.#rules.has(key)) throw new UserError(`the forwarding rule ${key} exists already`);
    if (this.#rules.size >= RULES_MAX) throw new UserError(`there cannot be more than ${RULES_MAX} forwarding rules`);
    const local = forward.guest.length === 4 ? this.#ports.config.ipv4?.host : this.#ports.config.ipv6?.host;
    if (local === undefined) throw new UserError(`the forwarding rule ${key} needs an IP version that is off`);
    const begin = { guest: forward.guest, guestPort: forward.guestPort, local, localPort: 0 };
    const { endpoint, close } =
      forward.protocol === 'tcp' ? await this.#listen(forward, begin) : await this.#openUdp(forward, begin);
    if (this.#isClosed) {
      close();
      throw new UserError(`the network was closed before it had the forwarding rule ${key}`);
    }
    const hostPort = endpoint.kind === 'inet' ? endpoint.port : forward.hostPort;
    const inForce = { ...forward, hostPort };
    this.#rules.set(hostForwardKey(inForce), { forward: inForce, close });
    return inForce;
  }

  /** Takes a rule away; its connections go on. False when there is no such rule. */
  remove(text: string): boolean {
    const key = parseHostForwardKey(text);
    const rule = this.#rules.get(key);
    rule?.close();
    return this.#rules.delete(key);
  }

  /** A datagram to the gateway that answers a client of a rule. False when it does not. */
  answerUdp(flow: Flow, payload: Uint8Array): boolean {
    const client = this.#clients.get(udpKey(flow));
    if (client === undefined) return false;
    client.idle.start(CLIENT_IDLE_NANOS);
    client.socket()?.send(copyOf(payload), client.from);
    return true;
  }

  close(): void {
    this.#isClosed = true;
    for (const { close } of this.#rules.values()) close();
    this.#rules.clear();
  }

  async #listen({ hostAddress, hostPort }: HostForward, begin: Flow) {
    const listener = await this.#ports.sockets.listen(
      { kind: 'inet', address: hostAddress, port: hostPort },
      (stream, from) => {
        const flow = this.#freeFlow(begin, from, (candidate) => this.#ports.isTcpFlowFree(candidate));
        const events = flow === undefined ? undefined : this.#ports.connectToGuest(flow, stream);
        if (events !== undefined) return events;
        stream.destroy();
        return { data: () => {}, ended: () => {}, closed: () => {} };
      },
    );
    return { endpoint: listener.endpoint, close: () => listener.close() };
  }

  async #openUdp(forward: HostForward, begin: Flow) {
    let socket: HostDatagramSocket | undefined;
    const origin = hostForwardKey(forward);
    const at: HostEndpoint = { kind: 'inet', address: forward.hostAddress, port: forward.hostPort };
    socket = await this.#ports.sockets.openDatagram(at, {
      message: (bytes, from) => {
        if (from === undefined) return;
        const client = this.#client(origin, begin, from, () => socket);
        if (client !== undefined) this.#ports.sendUdp(client.flow, bytes);
      },
      failed: () => {}, // an ICMP error about one client; the others stay
    });
    const close = () => {
      socket?.close();
      socket = undefined;
    };
    return { endpoint: socket.endpoint, close };
  }

  #client(origin: string, begin: Flow, from: HostEndpoint, socket: UdpClient['socket']): UdpClient | undefined {
    const originKey = `${origin} ${from.kind === 'inet' ? `${from.address} ${from.port}` : from.path}`;
    let client = this.#clientsByOrigin.get(originKey);
    if (client === undefined) {
      const flow = this.#freeFlow(begin, from, (candidate) => !this.#clients.has(udpKey(candidate)));
      if (flow === undefined || this.#clients.size >= CLIENTS_MAX) return undefined;
      const idle = this.#ports.timers.create(() => {
        this.#clients.delete(udpKey(flow));
        this.#clientsByOrigin.delete(originKey);
      });
      client = { flow, from, socket, idle };
      this.#clients.set(udpKey(flow), client);
      this.#clientsByOrigin.set(originKey, client);
    }
    client.idle.start(CLIENT_IDLE_NANOS);
    return client;
  }

  /** The client's own port when the guest does not know it yet, else another. */
  #freeFlow(begin: Flow, from: HostEndpoint | undefined, isFree: (flow: Flow) => boolean): Flow | undefined {
    const own = { ...begin, localPort: from?.kind === 'inet' ? from.port : 0 };
    if (own.localPort > 0 && isFree(own)) return own;
    for (let i = 0; i < DYNAMIC_PORTS.count; i++) {
      const localPort = DYNAMIC_PORTS.first + (this.#nextPort++ % DYNAMIC_PORTS.count);
      const flow = { ...begin, localPort };
      if (isFree(flow)) return flow;
    }
    return undefined;
  }
}

function udpKey({ guest, guestPort, local, localPort }: Flow): string {
  return `${ipKey(guest)}${guestPort},${ipKey(local)}${localPort}`;
}
