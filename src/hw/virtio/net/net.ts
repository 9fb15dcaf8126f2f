/** The network device: VIRTIO 1.2, section 5.1. Its cable is any network link. */

import type { DeviceRecord, NetLink, NetOffloads, UnfinishedFrame } from '../../../contract/index.ts';
import type { Chain } from '../chain.ts';
import { FEATURE } from '../constants.ts';
import type { DevicePort, Negotiated, QueueSpec, VirtioDevice } from '../device.ts';
import { layout } from '../layout.ts';
import type { Virtqueue } from '../queue.ts';
import { COMMAND_BYTES_MAX, control, NET_STATE, type NetState, negotiatedGuestOffloads } from './control.ts';
import { NET_FEATURE } from './features.ts';
import { isWanted } from './filter.ts';
import { flowOf } from './flows.ts';
import { decodeHeader, encodeHeader, LEGACY_HEADER_BYTES, NET_HEADER_BYTES } from './header.ts';

/** struct virtio_net_config after the address (5.1.4). */
const CONFIG = layout({ status: 'u16', pairsMax: 'u16', mtu: 'u16' });
const STATUS = { linkUp: 1, announce: 2 } as const;
const CONTROL_OK = 0;
const CONTROL_ERROR = 1;

const QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;
const PAIRS_MAX = 16;
const ETHERNET_HEADER_BYTES = 14;
/** The largest that any frame is: 64 KiB of IP packet to be cut, a tag, an Ethernet header. */
const FRAME_BYTES_MAX = 65_535 + ETHERNET_HEADER_BYTES + 4;

export interface NetOptions {
  readonly name: string;
  readonly link: NetLink;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Queue pairs, 1 to 16; default 1. */
  readonly pairs?: number;
  /** Told to the driver when given. */
  readonly mtu?: number;
}

export interface VirtioNet extends VirtioDevice {
  /** Asks the driver to make itself known on the network, as after a migration. */
  announce(): void;
}

export function virtioNet(options: NetOptions): VirtioNet {
  return new Net(options);
}

class Net implements VirtioNet {
  readonly name: string;
  readonly id = 1;
  readonly pciClass = 0x02_00_00;
  readonly features: readonly number[];
  readonly queues: readonly QueueSpec[];
  readonly #link: NetLink;
  readonly #pairs: number;
  readonly #mac: Uint8Array;
  readonly #mtu: number;
  readonly #frame = new Uint8Array(FRAME_BYTES_MAX);
  #state: NetState;
  #device: DevicePort | undefined;
  #isRunning = false;
  #headerBytes = NET_HEADER_BYTES;
  #negotiated: Negotiated = () => false;

  constructor({ name, link, mac, pairs = 1, mtu }: NetOptions) {
    this.name = name;
    this.#link = link;
    this.#pairs = Math.max(1, Math.min(pairs, PAIRS_MAX));
    this.#mac = mac.slice(0, 6);
    this.#mtu = mtu ?? 0;
    this.#state = this.#initial();
    this.features = featuresOf(link.takes, this.#pairs, mtu !== undefined);
    this.queues = Array.from({ length: 2 * this.#pairs + 1 }, (_, index) => ({
      maxSize: index === 2 * this.#pairs ? CONTROL_QUEUE_SIZE : QUEUE_SIZE,
      onNotify: (queue: Virtqueue) => this.#notified(index, queue),
    }));
    const device = this;
    link.connect({
      get takes() {
        return device.#guestTakes();
      },
      receive: (frame, unfinished) => this.#receive(frame, unfinished),
      carrierChanged: (isUp) => {
        if (isUp === this.#state.isUp) return;
        this.#state.isUp = isUp;
        this.#device?.configChanged();
      },
    });
  }

  attach(device: DevicePort): void {
    this.#device = device;
  }

  start(negotiated: Negotiated): void {
    this.#negotiated = negotiated;
    this.#isRunning = true;
    this.#state.guestOffloads = negotiatedGuestOffloads(negotiated);
    const isWhole = negotiated(FEATURE.version1) || negotiated(NET_FEATURE.mergeableBuffers);
    this.#headerBytes = isWhole ? NET_HEADER_BYTES : LEGACY_HEADER_BYTES;
  }

  config(): Uint8Array {
    const { mac, isUp, announces } = this.#state;
    const status = (isUp ? STATUS.linkUp : 0) | (announces ? STATUS.announce : 0);
    return Uint8Array.of(...mac, ...CONFIG.encode({ status, pairsMax: this.#pairs, mtu: this.#mtu }));
  }

  /** 5.1.4: only drivers of the legacy interface set the address here. */
  writeConfig(offset: number, bytes: Uint8Array, isLegacy: boolean): void {
    if (isLegacy && offset + bytes.length <= this.#state.mac.length) this.#state.mac.set(bytes, offset);
  }

  announce(): void {
    if (!this.#negotiated(NET_FEATURE.announce)) return;
    this.#state.announces = true;
    this.#device?.configChanged();
  }

  reset(): void {
    this.#state = { ...this.#initial(), isUp: this.#state.isUp };
    this.#isRunning = false;
    this.#negotiated = () => false;
    this.#link.resume(); // what waits for room is lost, as on a card without a driver
  }

  snapshot(): DeviceRecord {
    return NET_STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = NET_STATE.load(record);
    this.#link.resume();
  }

  #initial(): NetState {
    return { ...NET_STATE.initial(), mac: this.#mac.slice() };
  }

  /** Receive and transmit queues by turns; the control queue comes after those that are in use (5.1.2). */
  #notified(index: number, queue: Virtqueue): void {
    const pairs = this.#negotiated(NET_FEATURE.multiQueue) ? this.#pairs : 1;
    if (index === 2 * pairs) queue.pump((chain) => this.#command(queue, chain));
    else if (index > 2 * pairs) return;
    else if (index % 2 === 1) queue.pump((chain) => this.#send(index >> 1, queue, chain));
    else {
      queue.ignoreNotifications(); // until there is no room again
      this.#link.resume();
    }
  }

  #send(pair: number, queue: Virtqueue, chain: Chain): void {
    const length = chain.readableBytes - this.#headerBytes;
    if (length < ETHERNET_HEADER_BYTES || length > FRAME_BYTES_MAX) {
      queue.complete(chain, 0);
      return;
    }
    const header = new Uint8Array(NET_HEADER_BYTES);
    chain.read(0, header.subarray(0, this.#headerBytes));
    const frame = this.#frame.subarray(0, length);
    chain.read(this.#headerBytes, frame);
    queue.complete(chain, 0);
    const unfinished = decodeHeader(header, frame, this.#linkTakes());
    if (typeof unfinished === 'string') return; // what makes no sense is lost
    if (this.#state.activePairs > 1) this.#state.flows[flowOf(frame)] = pair;
    this.#link.send(frame, unfinished);
  }

  #receive(frame: Uint8Array, unfinished?: UnfinishedFrame): boolean {
    if (!this.#isRunning || frame.length < ETHERNET_HEADER_BYTES || frame.length > FRAME_BYTES_MAX) return true;
    const { filter, mac, activePairs, flows } = this.#state;
    if (!isWanted(filter, mac, frame, this.#negotiated(NET_FEATURE.controlVlan))) return true;
    const pair = activePairs > 1 ? flows[flowOf(frame)] % activePairs : 0;
    const queue = this.#device?.queue(2 * pair);
    if (!queue?.state.enabled) return true;
    return this.#negotiated(NET_FEATURE.mergeableBuffers)
      ? deliverMerged(queue, frame, unfinished)
      : deliver(queue, frame, unfinished, this.#headerBytes);
  }

  #command(queue: Virtqueue, chain: Chain): void {
    if (chain.writableBytes === 0) {
      queue.fail('a command without room for its answer');
      return;
    }
    const command = new Uint8Array(Math.min(chain.readableBytes, COMMAND_BYTES_MAX));
    chain.read(0, command);
    const isDone = control(this.#state, command, { pairsMax: this.#pairs, negotiated: this.#negotiated });
    chain.write(0, Uint8Array.of(isDone ? CONTROL_OK : CONTROL_ERROR));
    queue.complete(chain, 1);
  }

  /** What the driver may leave to the link. */
  #linkTakes(): NetOffloads {
    const { takes } = this.#link;
    return {
      checksum: takes.checksum && this.#negotiated(NET_FEATURE.checksum),
      tcp4: takes.tcp4 && this.#negotiated(NET_FEATURE.hostTcp4),
      tcp6: takes.tcp6 && this.#negotiated(NET_FEATURE.hostTcp6),
    };
  }

  /** What the link may leave to the driver. */
  #guestTakes(): NetOffloads {
    const { guestOffloads } = this.#state;
    const has = (bit: number) => this.#isRunning && (guestOffloads & (1 << bit)) !== 0;
    return {
      checksum: has(NET_FEATURE.guestChecksum),
      tcp4: has(NET_FEATURE.guestTcp4),
      tcp6: has(NET_FEATURE.guestTcp6),
    };
  }
}

/** The next buffer; without one, the driver is asked to tell about new ones. */
function takeOrWait(queue: Virtqueue): Chain | undefined {
  return queue.take() ?? (queue.awaitNotification() ? queue.take() : undefined);
}

/** One buffer has the whole frame, or the frame is lost. */
function deliver(
  queue: Virtqueue,
  frame: Uint8Array,
  unfinished: UnfinishedFrame | undefined,
  headerBytes: number,
): boolean {
  const chain = takeOrWait(queue);
  if (chain === undefined) return false;
  const fits = chain.writableBytes >= headerBytes + frame.length;
  if (fits) putWhole(queue, chain, frame, unfinished, headerBytes);
  else queue.complete(chain, 0);
  return true;
}

function putWhole(
  queue: Virtqueue,
  chain: Chain,
  frame: Uint8Array,
  unfinished: UnfinishedFrame | undefined,
  headerBytes: number,
): void {
  chain.write(0, encodeHeader(unfinished, 1).subarray(0, headerBytes));
  chain.write(headerBytes, frame);
  queue.complete(chain, headerBytes + frame.length);
}

/** The frame goes over as many buffers as it needs, or over none (5.1.6.4). */
function deliverMerged(queue: Virtqueue, frame: Uint8Array, unfinished: UnfinishedFrame | undefined): boolean {
  const { position } = queue;
  const chains: Chain[] = [];
  let room = 0;
  while (room < NET_HEADER_BYTES + frame.length) {
    const chain = takeOrWait(queue);
    if (chain === undefined) {
      queue.putBack(chains, position);
      return false;
    }
    chains.push(chain);
    room += chain.writableBytes;
  }
  if (chains.length === 1) {
    putWhole(queue, chains[0], frame, unfinished, NET_HEADER_BYTES);
    return true;
  }
  const bytes = new Uint8Array(NET_HEADER_BYTES + frame.length);
  bytes.set(encodeHeader(unfinished, chains.length));
  bytes.set(frame, NET_HEADER_BYTES);
  let at = 0;
  const filled = chains.map((chain) => {
    const written = chain.write(0, bytes.subarray(at));
    at += written;
    return { chain, written };
  });
  queue.completeAll(filled);
  return true;
}

function featuresOf(takes: NetOffloads, pairs: number, hasMtu: boolean): number[] {
  const f = NET_FEATURE;
  return [
    ...[f.guestChecksum, f.controlGuestOffloads, f.mac, f.guestTcp4, f.guestTcp6, f.mergeableBuffers, f.status],
    ...[f.controlQueue, f.controlReceive, f.controlVlan, f.controlReceiveExtra, f.announce, f.controlMac],
    ...(hasMtu ? [f.mtu] : []),
    ...(pairs > 1 ? [f.multiQueue] : []),
    ...(takes.checksum ? [f.checksum] : []),
    ...(takes.checksum && takes.tcp4 ? [f.hostTcp4] : []),
    ...(takes.checksum && takes.tcp6 ? [f.hostTcp6] : []),
  ];
}
