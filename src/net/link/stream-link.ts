/** A link to another process over a stream socket, TCP or unix (QEMU's `-netdev stream` and `socket,listen=`/`connect=`). */
import type {
  HostEndpoint,
  HostListener,
  HostSockets,
  HostStream,
  HostStreamEvents,
  NetLink,
} from '../../contract/index.ts';
import { SECOND_NANOS, type StackTimer, type Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';
import { FrameQueue, NO_OFFLOADS } from './frame-queue.ts';
import { framed, STREAM_FRAME_MAX_BYTES, StreamFrameReader } from './stream-framing.ts';

export interface StreamLinkOptions {
  readonly endpoint: HostEndpoint;
  /** Listens, and takes one peer at a time; else connects. */
  readonly server: boolean;
  /** A client tries again so long after it lost its peer; absent: never (QEMU's `reconnect-ms`). */
  readonly reconnectNanos?: number;
}

export interface StreamLinkPorts {
  readonly sockets: HostSockets;
  readonly timers: Timers;
}

export interface OutsideLink extends NetLink {
  /** Where it listens or is bound; what was asked for, with the port that was given. */
  readonly endpoint: HostEndpoint;
  close(): void;
}

const OUTPUT_MAX_BYTES = 4 * 1024 * 1024;
const RECONNECT_MIN_NANOS = SECOND_NANOS / 100;

/** Rejects with UserError when the server's address cannot be had. A client without a peer has no carrier. */
export async function openStreamLink(options: StreamLinkOptions, ports: StreamLinkPorts): Promise<OutsideLink> {
  const link = new StreamLink(options, ports);
  await link.open();
  return link;
}

class StreamLink implements OutsideLink {
  readonly takes = NO_OFFLOADS;
  readonly #options: StreamLinkOptions;
  readonly #ports: StreamLinkPorts;
  readonly #frames = new FrameQueue();
  readonly #reconnect: StackTimer;
  #listener: HostListener | undefined;
  #stream: HostStream | undefined;
  #isUp = false;
  #isClosed = false;
  #outputBytes = 0;

  constructor(options: StreamLinkOptions, ports: StreamLinkPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#reconnect = ports.timers.create(() => this.#connect());
  }

  get endpoint(): HostEndpoint {
    return this.#listener?.endpoint ?? this.#options.endpoint;
  }

  async open(): Promise<void> {
    const { server, endpoint } = this.#options;
    if (!server) {
      this.#connect();
      return;
    }
    this.#listener = await this.#ports.sockets.listen(endpoint, (stream) => {
      if (this.#stream !== undefined) {
        stream.destroy(); // there is one peer already
        return { data() {}, ended() {}, closed() {} };
      }
      const events = this.#eventsOf(() => stream);
      this.#attach(stream);
      return events;
    });
  }

  connect(receiver: Parameters<NetLink['connect']>[0]): void {
    this.#frames.connect(receiver);
    receiver.carrierChanged?.(this.#isUp);
  }

  send(frame: Uint8Array): void {
    if (!this.#isUp || frame.length === 0 || frame.length > STREAM_FRAME_MAX_BYTES) return;
    if (this.#outputBytes > OUTPUT_MAX_BYTES) return; // the peer does not keep up
    const bytes = framed(frame);
    this.#outputBytes += bytes.length;
    this.#stream!.write(bytes);
  }

  resume(): void {
    this.#frames.resume();
  }

  close(): void {
    this.#isClosed = true;
    this.#reconnect.stop();
    this.#listener?.close();
    this.#stream?.destroy();
    this.#stream = undefined;
    this.#setUp(false);
  }

  #connect(): void {
    const stream: HostStream = this.#ports.sockets.connect(
      this.#options.endpoint,
      this.#eventsOf(() => stream),
    );
    this.#stream = stream;
  }

  #attach(stream: HostStream): void {
    this.#stream = stream;
    this.#outputBytes = 0;
    this.#setUp(true);
  }

  #eventsOf(stream: () => HostStream): HostStreamEvents {
    const reader = new StreamFrameReader((frame) => this.#frames.send(copyOf(frame)));
    return {
      connected: () => this.#attach(stream()),
      data: (bytes) => {
        if (!reader.push(bytes)) {
          stream().destroy();
          this.#lost();
        } else if (this.#frames.waitingFrames > 0) {
          stream().pause();
          this.#frames.waitForRoom({ roomAgain: () => stream().resume() });
        }
      },
      written: (byteCount) => {
        this.#outputBytes -= byteCount;
      },
      ended: () => stream().end(),
      closed: () => this.#lost(),
    };
  }

  #lost(): void {
    this.#stream = undefined;
    this.#setUp(false);
    const { server, reconnectNanos } = this.#options;
    if (!server && reconnectNanos !== undefined && !this.#isClosed) {
      this.#reconnect.start(Math.max(RECONNECT_MIN_NANOS, reconnectNanos));
    }
  }

  #setUp(isUp: boolean): void {
    if (this.#isUp === isUp) return;
    this.#isUp = isUp;
    this.#frames.carrierChanged(isUp);
  }
}
