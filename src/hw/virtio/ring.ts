/** What the two ring formats have in common: where a ring lies, and what a queue asks of it. */

import type { StateOf } from '../../base/index.ts';
import { bool, stateTable, u16, u32 } from '../../base/index.ts';
import type { GuestMemory } from '../../contract/index.ts';
import type { Chain, ChainBuilder } from './chain.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES } from './constants.ts';

/** No MSI-X vector (4.1.4.3). */
export const NO_VECTOR = 0xffff;

/** One queue, as the driver has set it up and as far as the device has come. */
export const QUEUE_STATE = stateTable({
  size: u16(),
  enabled: bool(),
  vector: u16(NO_VECTOR),
  /** Guest physical addresses: descriptor table or ring, driver area, device area. */
  descriptorLow: u32(),
  descriptorHigh: u32(),
  driverLow: u32(),
  driverHigh: u32(),
  deviceLow: u32(),
  deviceHigh: u32(),
  /** The next available entry to take: a free-running count (split), a slot (packed). */
  nextAvailable: u16(),
  /** The next used entry to write, alike. */
  nextUsed: u16(),
  /** The packed ring's wrap counters (2.8.1). */
  availableWrap: bool(true),
  usedWrap: bool(true),
  /** Where `nextUsed` and its wrap counter were when the driver was last told. */
  signalledUsed: u16(),
  signalledWrap: bool(true),
});
export type QueueState = StateOf<typeof QUEUE_STATE>;

/**
 * Keeps what was written before it ahead of what is read after it, as the driver on another processor sees it
 * (2.7.7.1, 2.7.13.4.1): the device says what it has done, then looks at what the driver has done meanwhile.
 */
export class Fence {
  readonly #word = new Int32Array(new SharedArrayBuffer(4));

  pass(): void {
    Atomics.add(this.#word, 0, 1);
  }
}

export interface RingFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** A ring in guest memory. Methods that meet a mistake of the driver's return it as text. */
export interface Ring {
  /** Takes the next available chain, or undefined when there is none. */
  take(): Chain | string | undefined;
  /** Gives a chain back with `written` bytes filled in its writable part. */
  give(chain: Chain, written: number): void;
  /** Asks the driver to notify from now on; true when something became available meanwhile. */
  enableNotifications(): boolean;
  /** Asks the driver not to notify. */
  disableNotifications(): void;
  /** Does the driver want an interrupt for what was given back since this was last asked? */
  wantsInterrupt(): boolean;
}

/** A structure in guest memory. */
export class GuestArea {
  readonly view: DataView;
  readonly #memory: GuestMemory;
  readonly #base: number;

  /** @param bytes what `memory.view(base, …)` gave */
  constructor(memory: GuestMemory, base: number, bytes: Uint8Array) {
    this.#memory = memory;
    this.#base = base;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get length(): number {
    return this.view.byteLength;
  }

  u16(offset: number): number {
    return this.view.getUint16(offset, true);
  }

  u32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  /** A 64-bit value as a number; above 2^53 it is no address of RAM anyway. */
  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * 2 ** 32;
  }

  /** Says that `length` bytes at `offset` were changed through `view`. */
  written(offset: number, length: number): void {
    this.#memory.written(this.#base + offset, length);
  }
}

/** Maps a structure; undefined when any of it is not RAM. */
export function guestArea(memory: GuestMemory, base: number, length: number): GuestArea | undefined {
  const bytes = memory.view(base, length);
  return bytes && new GuestArea(memory, base, bytes);
}

export interface RingAreas {
  readonly descriptors: GuestArea;
  readonly driver: GuestArea;
  readonly device: GuestArea;
}

/** Maps the three areas of a queue, of the lengths that its format has; a text says which one is not RAM. */
export function ringAreas(
  memory: GuestMemory,
  state: QueueState,
  bytes: { readonly driver: number; readonly device: number },
): RingAreas | string {
  const map = (low: number, high: number, length: number) => guestArea(memory, low + high * 2 ** 32, length);
  const descriptors = map(state.descriptorLow, state.descriptorHigh, state.size * DESCRIPTOR_BYTES);
  if (!descriptors) return 'the descriptor area is not in RAM';
  const driver = map(state.driverLow, state.driverHigh, bytes.driver);
  if (!driver) return 'the driver area is not in RAM';
  const device = map(state.deviceLow, state.deviceHigh, bytes.device);
  if (!device) return 'the device area is not in RAM';
  return { descriptors, driver, device };
}

/**
 * Adds a descriptor table's chain to `builder`, from `first` on.
 * @param table descriptors linked by their `next` fields, the ring's own or an indirect table (2.7.5.3)
 * @param indirect what to do with an indirect descriptor; without it there may be none
 * @returns a complaint about the driver
 */
export function addLinked(
  builder: ChainBuilder,
  table: GuestArea,
  first: number,
  indirect?: (descriptor: number) => string | undefined,
): string | undefined {
  const size = Math.floor(table.length / DESCRIPTOR_BYTES);
  let index = first;
  for (let count = 0; count < size; count++) {
    if (index >= size) return `descriptor ${index} of a table of ${size}`;
    const at = index * DESCRIPTOR_BYTES;
    const flags = table.u16(at + 12);
    if (flags & DESCRIPTOR.indirect) {
      if (indirect === undefined) return 'an indirect descriptor where there may be none';
      return flags & DESCRIPTOR.next ? 'an indirect descriptor that goes on' : indirect(at);
    }
    const complaint = builder.add(table.u64(at), table.u32(at + 8), (flags & DESCRIPTOR.write) !== 0);
    if (complaint !== undefined) return complaint;
    if (!(flags & DESCRIPTOR.next)) return undefined;
    index = table.u16(at + 14);
  }
  return 'a chain that runs in a circle';
}

/** The indirect table that a descriptor of 16 bytes at `at` names. */
export function indirectTable(memory: GuestMemory, area: GuestArea, at: number): GuestArea | string {
  const length = area.u32(at + 8);
  if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return `an indirect table of ${length} bytes`;
  return guestArea(memory, area.u64(at), length) ?? 'an indirect table outside RAM';
}
