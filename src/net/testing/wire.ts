/** A wire between a guest and a network on a fake clock: late, lossy, out of order, twice, as the seed says. */
import type { NetReceiver } from '../../contract/index.ts';
import { ETHER_TYPE, PROTOCOL, parseEthernet, parseIp4Packet, parseIp6Packet, parseTcp, Timers } from '../index.ts';
import type { World } from './fake-host.ts';
import type { Random } from './random.ts';
import { TinyTcp, type TinyTcpOptions } from './tiny-tcp.ts';

export interface WireOptions {
  readonly lossRatio?: number;
  readonly duplicateRatio?: number;
  /** Part of the frames that comes late, behind others. */
  readonly reorderRatio?: number;
  readonly delayNanos?: number;
}

/** Guests' TCPs over one wire, told apart by their port. */
export class TestWire {
  readonly timers: Timers;
  readonly peers = new Map<number, TinyTcp>();
  readonly #world: World;
  readonly #options: WireOptions;
  readonly #random: Random;

  constructor(world: World, random: Random, options: WireOptions = {}) {
    this.#world = world;
    this.#random = random;
    this.#options = options;
    this.timers = new Timers(world.clock);
    const receiver: NetReceiver = {
      get takes() {
        return world.guest.takes;
      },
      receive: (frame) => {
        this.#carry(frame.slice(), (bytes) => this.#arrive(bytes));
        return true;
      },
    };
    world.net.link.connect(receiver);
  }

  peer(to: string, options: Omit<TinyTcpOptions, 'timers' | 'send'>): TinyTcp {
    const { guest } = this.#world;
    const peer = new TinyTcp({
      ...options,
      timers: this.timers,
      send: (segment) => {
        const kept = { ...segment, payload: segment.payload.slice() };
        this.#carry(kept, (sent) => guest.sendTcp(to, sent));
      },
    });
    this.peers.set(options.localPort, peer);
    return peer;
  }

  /** Moves time until `isDone`; false when it takes longer than `limitNanos`. */
  run(isDone: () => boolean, limitNanos = 600e9): boolean {
    const { clock } = this.#world;
    const end = clock.nowNanos() + limitNanos;
    while (!isDone()) {
      const next = clock.nextNanos;
      if (next === undefined || next > end) return false;
      clock.advance(Math.max(0, next - clock.nowNanos()));
    }
    return true;
  }

  #carry<Item>(item: Item, arrive: (item: Item) => void): void {
    const { lossRatio = 0, duplicateRatio = 0, reorderRatio = 0, delayNanos = 1e6 } = this.#options;
    const copies = this.#random.ratio() < duplicateRatio ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.#random.ratio() < lossRatio) continue;
      const late = this.#random.ratio() < reorderRatio ? delayNanos * 3 * this.#random.ratio() : 0;
      this.timers.create(() => arrive(item)).start(delayNanos + late);
    }
  }

  #arrive(bytes: Uint8Array): void {
    const frame = parseEthernet(bytes);
    if (frame === undefined || frame.type === ETHER_TYPE.arp) return;
    const packet = frame.type === ETHER_TYPE.ipv6 ? parseIp6Packet(frame.payload) : parseIp4Packet(frame.payload);
    if (packet?.protocol !== PROTOCOL.tcp) return;
    const segment = parseTcp(packet.payload, packet);
    if (segment !== undefined) this.peers.get(segment.destinationPort)?.receive(segment);
  }
}
