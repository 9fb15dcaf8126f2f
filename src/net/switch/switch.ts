/** An Ethernet switch between machines of one process: learns addresses (IEEE 802.1D), keeps VLANs apart (802.1Q). */
import { UserError } from '../../base/index.ts';
import type { NetLink } from '../../contract/index.ts';
import { FrameQueue, NO_OFFLOADS } from '../link/frame-queue.ts';
import { SECOND_NANOS, type Timers } from '../timers.ts';
import { copyOf, get16, latin1Text, put16 } from '../wire/bytes.ts';
import { ETHER_TYPE, ETHERNET_HEADER_BYTES } from '../wire/ethernet.ts';
import { isGroupMac } from '../wire/mac.ts';

/** What a port does with VLANs. */
export type PortVlan =
  /** Untagged frames of one VLAN. */
  | { readonly kind: 'access'; readonly id: number }
  /** Tagged frames of all or some; untagged ones belong to `native`, or are dropped without it. */
  | { readonly kind: 'trunk'; readonly native?: number; readonly allowed?: readonly number[] };

export interface SwitchPort {
  /** Where a card is plugged in. */
  readonly link: NetLink;
  remove(): void;
}

export interface Switch {
  /** Throws UserError for a VLAN that cannot be. Default: access to VLAN 1. */
  addPort(vlan?: PortVlan): SwitchPort;
  /** How many addresses it has learned. */
  readonly addressCount: number;
}

interface Port {
  readonly vlan: PortVlan;
  readonly frames: FrameQueue;
}

const TAG_BYTES = 4;
const VLAN_MAX = 4094;
const AGE_NANOS = 300 * SECOND_NANOS;
const ADDRESSES_MAX = 4096;
const PORTS_MAX = 1024;

export function createSwitch(timers: Timers): Switch {
  return new LearningSwitch(timers);
}

class LearningSwitch implements Switch {
  readonly #timers: Timers;
  readonly #ports = new Set<Port>();
  /** By VLAN and address; the one heard of longest ago first. */
  readonly #addresses = new Map<string, { readonly port: Port; readonly heardNanos: number }>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get addressCount(): number {
    return this.#addresses.size;
  }

  addPort(vlan: PortVlan = { kind: 'access', id: 1 }): SwitchPort {
    checkVlan(vlan);
    if (this.#ports.size >= PORTS_MAX) throw new UserError(`a switch has no more than ${PORTS_MAX} ports`);
    const port: Port = { vlan, frames: new FrameQueue() };
    this.#ports.add(port);
    const link: NetLink = {
      takes: NO_OFFLOADS,
      send: (frame) => {
        if (this.#ports.has(port)) this.#forward(port, frame);
      },
      connect: (receiver) => port.frames.connect(receiver),
      resume: () => port.frames.resume(),
    };
    return { link, remove: () => this.#remove(port) };
  }

  #remove(port: Port): void {
    this.#ports.delete(port);
    for (const [key, address] of this.#addresses) if (address.port === port) this.#addresses.delete(key);
  }

  #forward(from: Port, frame: Uint8Array): void {
    if (frame.length < ETHERNET_HEADER_BYTES || isGroupMac(frame.subarray(6, 12))) return;
    const { id, untagged } = admit(from.vlan, frame);
    if (id === undefined) return;
    this.#learn(`${id} ${latin1Text(frame.subarray(6, 12))}`, from);
    const known = this.#find(`${id} ${latin1Text(frame.subarray(0, 6))}`);
    if (known !== undefined) {
      if (known !== from) emit(known, id, untagged);
      return;
    }
    for (const port of this.#ports) if (port !== from && carries(port.vlan, id)) emit(port, id, untagged);
  }

  #learn(key: string, port: Port): void {
    this.#addresses.delete(key);
    this.#addresses.set(key, { port, heardNanos: this.#timers.nowNanos() });
    if (this.#addresses.size > ADDRESSES_MAX) this.#addresses.delete(this.#addresses.keys().next().value!);
  }

  #find(key: string): Port | undefined {
    const address = this.#addresses.get(key);
    return address !== undefined && this.#timers.nowNanos() - address.heardNanos < AGE_NANOS ? address.port : undefined;
  }
}

/** The VLAN a frame belongs to where it comes in, if any, and the frame without its tag. */
function admit(vlan: PortVlan, frame: Uint8Array): { readonly id: number | undefined; readonly untagged: Uint8Array } {
  const isTagged = get16(frame, 12) === ETHER_TYPE.vlan && frame.length >= ETHERNET_HEADER_BYTES + TAG_BYTES;
  const tagId = isTagged ? get16(frame, 14) & 0xfff : 0;
  const untagged = isTagged ? withoutTag(frame) : frame;
  // A tag of VLAN 0 only gives a priority.
  const own = vlan.kind === 'access' ? vlan.id : vlan.native;
  if (tagId === 0) return { id: own, untagged };
  const mayTag = vlan.kind === 'trunk' && carries(vlan, tagId);
  return { id: mayTag ? tagId : undefined, untagged };
}

function carries(vlan: PortVlan, id: number): boolean {
  if (vlan.kind === 'access') return vlan.id === id;
  return id <= VLAN_MAX && (id === vlan.native || vlan.allowed === undefined || vlan.allowed.includes(id));
}

function emit({ vlan, frames }: Port, id: number, untagged: Uint8Array): void {
  const isOwn = vlan.kind === 'access' || vlan.native === id;
  frames.send(isOwn ? copyOf(untagged) : withTag(untagged, id));
}

function withTag(frame: Uint8Array, id: number): Uint8Array {
  const tagged = new Uint8Array(frame.length + TAG_BYTES);
  tagged.set(frame.subarray(0, 12));
  put16(tagged, 12, ETHER_TYPE.vlan);
  put16(tagged, 14, id);
  tagged.set(frame.subarray(12), 16);
  return tagged;
}

function withoutTag(frame: Uint8Array): Uint8Array {
  const untagged = new Uint8Array(frame.length - TAG_BYTES);
  untagged.set(frame.subarray(0, 12));
  untagged.set(frame.subarray(16), 12);
  return untagged;
}

function checkVlan(vlan: PortVlan): void {
  const ids =
    vlan.kind === 'access' ? [vlan.id] : [...(vlan.allowed ?? []), ...(vlan.native === undefined ? [] : [vlan.native])];
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 1 || id > VLAN_MAX) {
      throw new UserError(`network: VLAN ${id} must be a whole number from 1 to ${VLAN_MAX}`);
    }
  }
}
