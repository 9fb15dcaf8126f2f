/** A host without sockets: tests see what is asked of it and play the other side. */
import type {
  HostDatagramEvents,
  HostDatagramSocket,
  HostEndpoint,
  HostResolver,
  HostSockets,
  HostStream,
  HostStreamEvents,
} from '../../contract/index.ts';
import { createUserNet, type UserNet, type UserNetOptions, type UserNetPorts } from '../index.ts';
import { FakeClock } from './fake-clock.ts';
import { TestGuest } from './guest.ts';
import { randomFrom } from './random.ts';

/** A stream as the far side sees it. */
export class FakeStream implements HostStream {
  readonly to: HostEndpoint | undefined;
  readonly events: HostStreamEvents;
  readonly received: Uint8Array[] = [];
  state: 'open' | 'ended' | 'destroyed' = 'open';
  isPaused = false;
  /** False: what is written stays in the host's queue. */
  isReading = true;

  constructor(events: HostStreamEvents, to?: HostEndpoint) {
    this.events = events;
    this.to = to;
  }

  write(bytes: Uint8Array): void {
    this.received.push(bytes);
    if (this.isReading) this.events.written?.(bytes.length);
  }

  end(): void {
    this.state = 'ended';
  }

  destroy(): void {
    this.state = 'destroyed';
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  get content(): Buffer {
    return Buffer.concat(this.received);
  }
}

export class FakeDatagram implements HostDatagramSocket {
  readonly endpoint: HostEndpoint;
  readonly events: HostDatagramEvents;
  readonly sent: { bytes: Uint8Array; to: HostEndpoint }[] = [];
  isClosed = false;
  peer: HostEndpoint | undefined;

  constructor(endpoint: HostEndpoint, events: HostDatagramEvents) {
    this.endpoint = endpoint;
    this.events = events;
  }

  send(bytes: Uint8Array, to: HostEndpoint): void {
    this.sent.push({ bytes, to });
  }

  connect(to: HostEndpoint | undefined): void {
    this.peer = to;
  }

  close(): void {
    this.isClosed = true;
  }
}

export class FakeSockets implements HostSockets {
  readonly streams: FakeStream[] = [];
  readonly datagrams: FakeDatagram[] = [];
  readonly listeners: {
    at: HostEndpoint;
    accept: (stream: HostStream, from?: HostEndpoint) => HostStreamEvents;
    isClosed: boolean;
  }[] = [];

  connect(to: HostEndpoint, events: HostStreamEvents): FakeStream {
    const stream = new FakeStream(events, to);
    this.streams.push(stream);
    return stream;
  }

  async listen(at: HostEndpoint, accept: (stream: HostStream, from: HostEndpoint | undefined) => HostStreamEvents) {
    const listener = { at, accept: (stream: HostStream, from?: HostEndpoint) => accept(stream, from), isClosed: false };
    this.listeners.push(listener);
    return {
      endpoint: at,
      close: () => {
        listener.isClosed = true;
      },
    };
  }

  async openDatagram(at: HostEndpoint, events: HostDatagramEvents): Promise<FakeDatagram> {
    const socket = new FakeDatagram(at, events);
    this.datagrams.push(socket);
    return socket;
  }
}

export const NO_NAMES: HostResolver = { servers: () => [], searchDomains: () => [], hosts: () => [] };

export interface World {
  readonly clock: FakeClock;
  readonly sockets: FakeSockets;
  readonly net: UserNet;
  readonly guest: TestGuest;
}

/** A network on a fake host, with a guest that is known to it. */
export function createWorld(options: UserNetOptions = {}, ports: Partial<UserNetPorts> = {}): World {
  const clock = new FakeClock();
  const sockets = new FakeSockets();
  const random = randomFrom(1);
  const net = createUserNet(options, {
    clock,
    sockets,
    resolver: NO_NAMES,
    random: () => random.below(2 ** 32),
    ...ports,
  });
  const guest = new TestGuest(net.link);
  if (options.ipv4 !== false) guest.announce();
  guest.inbox.length = 0;
  return { clock, sockets, net, guest };
}

/** Lets promises that are settled take effect. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}
