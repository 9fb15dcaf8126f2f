/** The socket device: streams between programs of the guest and of the host (VIRTIO 1.2, section 5.10). */
import type { HostStream } from '../../../contract/index.ts';
import type { Chain } from '../chain.ts';
import { FEATURE } from '../constants.ts';
import type { DevicePort, VirtioDevice } from '../device.ts';
import { layout } from '../layout.ts';
import type { Virtqueue } from '../queue.ts';
import { BUFFER_BYTES, VsockConnection } from './connection.ts';
import { HOST_CID, OPERATION, PACKET, PACKET_HEADER_BYTES, type Reply, STREAM_TYPE } from './packet.ts';
import type { VsockHost } from './unix-sockets.ts';

const STREAM_FEATURE = 0;
const CONFIG = layout({ guestCid: 'u64' });
const [RECEIVE, TRANSMIT, EVENT] = [0, 1, 2];
const QUEUE_SIZE = 128;
/** Of one packet to the guest; Linux's buffers are smaller. */
const PAYLOAD_BYTES_MAX = 65_536;
/** Packets without data that wait for the guest's buffers; while there are more, its own wait too. */
const REPLIES_MAX = 256;
export const CONNECTIONS_MAX = 1024;
/** Ports of the host's end, for connections that the host begins. */
const FIRST_HOST_PORT = 2 ** 30;
const HOST_PORTS = 2 ** 30;
/** struct virtio_vsock_event: the transport was reset. */
const EVENT_BYTES = 4;

export interface VsockOptions {
  readonly name: string;
  readonly guestCid: number;
  readonly host: VsockHost;
  /** Something came from the host or goes there: more is to be expected. */
  readonly onActivity?: () => void;
}

export interface VirtioVsock extends VirtioDevice {
  readonly connectionCount: number;
}

export function virtioVsock(options: VsockOptions): VirtioVsock {
  return new Vsock(options);
}

class Vsock implements VirtioVsock {
  readonly name: string;
  readonly id = 19;
  readonly pciClass = 0x02_80_00;
  readonly features = [STREAM_FEATURE, FEATURE.inOrder];
  readonly queues = [
    { maxSize: QUEUE_SIZE, onNotify: () => this.#feed() },
    { maxSize: QUEUE_SIZE, onNotify: () => this.#pump() },
    { maxSize: QUEUE_SIZE, onNotify: () => this.#sendEvent() },
  ];
  readonly #guestCid: number;
  readonly #host: VsockHost;
  readonly #onActivity: () => void;
  readonly #connections = new Map<string, VsockConnection>();
  #replies: Reply[] = [];
  #device: DevicePort | undefined;
  #isRunning = false;
  #isFeeding = false;
  #lastHostPort = 0;
  #eventIsDue = false;

  constructor({ name, guestCid, host, onActivity = () => {} }: VsockOptions) {
    this.name = name;
    this.#guestCid = guestCid;
    this.#host = host;
    this.#onActivity = onActivity;
    host.attach({ connect: (guestPort, stream) => this.#hostConnects(guestPort, stream) });
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  attach(device: DevicePort): void {
    this.#device = device;
  }

  start(): void {
    this.#isRunning = true;
    this.#sendEvent();
  }

  config(): Uint8Array {
    return CONFIG.encode({ guestCid: this.#guestCid });
  }

  reset(): void {
    this.#isRunning = false;
    this.#replies = [];
    this.#eventIsDue = false;
    for (const connection of [...this.#connections.values()]) connection.abort();
    this.#replies = [];
  }

  /** Connections are the host's as well, and stay with it. */
  snapshot() {
    return {};
  }

  restore(): void {
    this.reset();
    this.#eventIsDue = true; // 5.10.6.7: the guest's connections are no more
  }

  #hostConnects(guestPort: number, stream: HostStream) {
    if (!this.#isRunning || this.#connections.size >= CONNECTIONS_MAX) return undefined;
    do this.#lastHostPort = (this.#lastHostPort + 1) % HOST_PORTS;
    while (this.#connections.has(keyOf(FIRST_HOST_PORT + this.#lastHostPort, guestPort)));
    const connection = this.#open(FIRST_HOST_PORT + this.#lastHostPort, guestPort, 'guest');
    connection.join(stream);
    this.#reply({ hostPort: connection.hostPort, guestPort, operation: OPERATION.request });
    return connection.hostEvents;
  }

  #open(hostPort: number, guestPort: number, asks: 'guest' | 'host'): VsockConnection {
    const key = keyOf(hostPort, guestPort);
    const connection: VsockConnection = new VsockConnection(hostPort, guestPort, asks, {
      send: (operation, flags) => this.#reply({ hostPort, guestPort, operation, flags }),
      ready: () => this.#feed(),
      over: () => {
        if (this.#connections.get(key) === connection) this.#connections.delete(key);
      },
    });
    this.#connections.set(key, connection);
    return connection;
  }

  /** Takes the guest's packets, unless it does not take ours. */
  #pump(): void {
    const queue = this.#device?.queue(TRANSMIT);
    queue?.pumpWhile(
      () => this.#replies.length < REPLIES_MAX,
      (chain) => {
        this.#onActivity();
        this.#packet(queue, chain);
      },
    );
  }

  #packet(queue: Virtqueue, chain: Chain): void {
    const header = new Uint8Array(PACKET_HEADER_BYTES);
    if (chain.read(0, header) < PACKET_HEADER_BYTES) {
      queue.fail(`a packet of ${chain.readableBytes} bytes`);
      return;
    }
    const packet = PACKET.decode(header);
    const payload = new Uint8Array(
      Math.min(packet.length, PAYLOAD_BYTES_MAX, chain.readableBytes - PACKET_HEADER_BYTES),
    );
    chain.read(PACKET_HEADER_BYTES, payload);
    queue.complete(chain, 0);
    if (packet.sourceCid !== this.#guestCid || packet.targetCid !== HOST_CID) return; // there is nobody else
    const [hostPort, guestPort] = [packet.targetPort, packet.sourcePort];
    const connection = this.#connections.get(keyOf(hostPort, guestPort));
    const isWhole = payload.length === packet.length && packet.type === STREAM_TYPE;
    connection?.credit(packet.bufferBytes, packet.forwardedBytes);
    if (!isWhole || !this.#carryOut(packet, payload, connection)) {
      connection?.abort();
      if (packet.operation !== OPERATION.reset) this.#reply({ hostPort, guestPort, operation: OPERATION.reset });
    }
  }

  /** False when the packet does not fit the connection, which then ends. */
  #carryOut(
    { operation, flags, targetPort, sourcePort, bufferBytes, forwardedBytes }: ReturnType<typeof PACKET.decode>,
    payload: Uint8Array,
    connection: VsockConnection | undefined,
  ): boolean {
    if (operation === OPERATION.request) {
      if (connection !== undefined || this.#connections.size >= CONNECTIONS_MAX) return false;
      const asked = this.#open(targetPort, sourcePort, 'host');
      asked.credit(bufferBytes, forwardedBytes);
      asked.join(this.#host.connect(targetPort, asked.hostEvents));
      return true;
    }
    if (connection === undefined) return false;
    switch (operation) {
      case OPERATION.response:
        return connection.accepted();
      case OPERATION.data:
        return connection.guestData(payload);
      case OPERATION.shutdown:
        connection.guestShutdown(flags);
        return true;
      case OPERATION.creditUpdate:
        return true;
      case OPERATION.creditRequest:
        this.#reply({ hostPort: targetPort, guestPort: sourcePort, operation: OPERATION.creditUpdate });
        return true;
      default:
        return false;
    }
  }

  #reply(reply: Reply): void {
    this.#onActivity();
    this.#replies.push(reply);
    this.#feed();
  }

  /** Fills the guest's buffers: replies first, then data, each connection in turn. */
  #feed(): void {
    const queue = this.#device?.queue(RECEIVE);
    if (queue === undefined || !this.#isRunning || this.#isFeeding) return;
    const filled: { chain: Chain; written: number }[] = [];
    const wasFull = this.#replies.length >= REPLIES_MAX;
    this.#isFeeding = true;
    for (let sender = this.#nextSender(); sender !== undefined; sender = this.#nextSender()) {
      const chain = this.#takeBuffer(queue);
      if (chain === undefined) break;
      filled.push({ chain, written: sender === 'replies' ? this.#fillReply(chain) : this.#fillData(chain, sender) });
    }
    this.#isFeeding = false;
    queue.completeAll(filled);
    if (wasFull && this.#replies.length < REPLIES_MAX) this.#pump();
  }

  #nextSender(): 'replies' | VsockConnection | undefined {
    if (this.#replies.length > 0) return 'replies';
    for (const [key, connection] of this.#connections) {
      if (connection.sendableBytes === 0) continue;
      this.#connections.delete(key);
      this.#connections.set(key, connection); // the others come first next time
      return connection;
    }
    return undefined;
  }

  #fillReply(chain: Chain): number {
    return this.#write(chain, this.#replies.shift()!);
  }

  #fillData(chain: Chain, connection: VsockConnection): number {
    this.#onActivity();
    const room = Math.min(chain.writableBytes - PACKET_HEADER_BYTES, PAYLOAD_BYTES_MAX);
    const bytes = connection.take(Math.min(connection.sendableBytes, room));
    const { hostPort, guestPort } = connection;
    return this.#write(chain, { hostPort, guestPort, operation: OPERATION.data }, bytes);
  }

  #takeBuffer(queue: Virtqueue): Chain | undefined {
    let chain = queue.take();
    if (chain === undefined && queue.awaitNotification()) chain = queue.take();
    if (chain === undefined || chain.writableBytes > PACKET_HEADER_BYTES) return chain;
    queue.fail(`a buffer of ${chain.writableBytes} bytes`);
    return undefined;
  }

  #write(chain: Chain, { hostPort, guestPort, operation, flags }: Reply, data?: Uint8Array): number {
    const connection = this.#connections.get(keyOf(hostPort, guestPort));
    const header = PACKET.encode({
      sourceCid: HOST_CID,
      targetCid: this.#guestCid,
      sourcePort: hostPort,
      targetPort: guestPort,
      length: data?.length,
      type: STREAM_TYPE,
      operation,
      flags,
      bufferBytes: BUFFER_BYTES,
      forwardedBytes: connection?.tellForwarded(),
    });
    return chain.write(0, header) + (data === undefined ? 0 : chain.write(PACKET_HEADER_BYTES, data));
  }

  #sendEvent(): void {
    const queue = this.#device?.queue(EVENT);
    if (!this.#eventIsDue || !this.#isRunning) return;
    const chain = queue?.take();
    if (chain === undefined) return;
    this.#eventIsDue = false;
    queue!.complete(chain, chain.write(0, new Uint8Array(EVENT_BYTES)));
  }
}

function keyOf(hostPort: number, guestPort: number): string {
  return `${hostPort}:${guestPort}`;
}
