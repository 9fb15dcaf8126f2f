/**
 * UDP to the outside: a host socket for each port the guest sends from. What
 * comes back is taken only from where the guest has sent to.
 */
import type { HostDatagramSocket, HostEndpoint, HostFailure, HostSockets } from '../../contract/index.ts';
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { buildIpPackets, type IpPacket, PROTOCOL } from '../wire/ip.ts';
import { type IpAddress, ipKey } from '../wire/ip-address.ts';
import { buildUdp } from '../wire/udp.ts';
import type { Flow } from './ip-output.ts';

const IDLE_NANOS = 240 * SECOND_NANOS;
const PEERS_MAX = 256;
/** Datagrams that wait for the socket to be opened. */
const EARLY_MAX = 16;
const MTU_MIN_BYTES = 576;
const HOP_LIMIT = 64;

interface Association {
  readonly key: string;
  socket: HostDatagramSocket | undefined;
  /** By the host's text of the peer: the address that the guest knows it by. */
  readonly peers: Map<string, Flow>;
  readonly early: { readonly bytes: Uint8Array; readonly to: HostEndpoint }[];
  readonly idle: StackTimer;
  isClosed: boolean;
}

export interface UdpNatPorts {
  readonly sockets: HostSockets;
  readonly timers: Timers;
  readonly associationsMax: number;
  /** Sends a datagram to the guest. */
  deliver(flow: Flow, payload: Uint8Array): void;
  /** Whom the guest sends to does not take it. */
  refused(flow: Flow): void;
}

export class UdpNat {
  readonly #ports: UdpNatPorts;
  /** The least recently used first. */
  readonly #associations = new Map<string, Association>();

  constructor(ports: UdpNatPorts) {
    this.#ports = ports;
  }

  get count(): number {
    return this.#associations.size;
  }

  /** @param payload is copied */
  send(flow: Flow, to: HostEndpoint & { kind: 'inet' }, payload: Uint8Array): void {
    const key = `${ipKey(flow.guest)},${flow.guestPort}`;
    const association = this.#associations.get(key) ?? this.#open(key, flow.guest);
    this.#associations.delete(key);
    this.#associations.set(key, association);
    association.idle.start(IDLE_NANOS);
    const { peers, socket, early } = association;
    const peerKey = `${to.address} ${to.port}`;
    if (!peers.has(peerKey)) {
      // Of one peer the host tells what it refuses; with several it could not say whose refusal it was.
      if (peers.size === 1) socket?.connect?.(undefined);
      if (peers.size >= PEERS_MAX) peers.delete(peers.keys().next().value!);
      peers.set(peerKey, { ...flow, guest: copyOf(flow.guest), local: copyOf(flow.local) });
    }
    if (socket !== undefined) socket.send(copyOf(payload), to);
    else if (early.length < EARLY_MAX) early.push({ bytes: copyOf(payload), to });
  }

  close(): void {
    for (const association of this.#associations.values()) this.#close(association);
  }

  #open(key: string, guest: IpAddress): Association {
    const { sockets, timers, associationsMax } = this.#ports;
    if (this.#associations.size >= associationsMax) this.#close(this.#associations.values().next().value!);
    const idle = timers.create(() => this.#close(association));
    const association: Association = { key, socket: undefined, peers: new Map(), early: [], idle, isClosed: false };
    this.#associations.set(key, association);
    const at: HostEndpoint = { kind: 'inet', address: guest.length === 4 ? '0.0.0.0' : '::', port: 0 };
    const events = {
      message: (bytes: Uint8Array, from: HostEndpoint | undefined) => this.#receive(association, bytes, from),
      failed: (failure: HostFailure) => {
        const [peer] = association.peers.values();
        if (failure === 'refused' && association.peers.size === 1) this.#ports.refused(peer);
      },
    };
    sockets.openDatagram(at, events).then(
      (socket) => {
        if (association.isClosed) {
          socket.close();
          return;
        }
        association.socket = socket;
        if (association.peers.size === 1) socket.connect?.(association.early[0]?.to);
        for (const { bytes, to } of association.early.splice(0)) socket.send(bytes, to);
      },
      () => this.#close(association),
    );
    return association;
  }

  #receive({ peers, idle }: Association, bytes: Uint8Array, from: HostEndpoint | undefined): void {
    const flow = from?.kind === 'inet' ? peers.get(`${from.address} ${from.port}`) : undefined;
    if (flow === undefined) return;
    idle.start(IDLE_NANOS);
    this.#ports.deliver(flow, bytes);
  }

  #close(association: Association): void {
    association.isClosed = true;
    association.idle.stop();
    association.socket?.close();
    this.#associations.delete(association.key);
  }
}

/** What the guest has sent, for an error to quote: its content is gone. */
export function emptyDatagram({ guest, guestPort, local, localPort }: Flow): IpPacket {
  const context = { source: guest, destination: local };
  const datagram = { sourcePort: guestPort, destinationPort: localPort, payload: new Uint8Array(0) };
  const payload = buildUdp(datagram, context);
  const [bytes] = buildIpPackets({ ...context, protocol: PROTOCOL.udp }, payload, MTU_MIN_BYTES, 0);
  return { ...context, hopLimit: HOP_LIMIT, protocol: PROTOCOL.udp, payload, bytes };
}
