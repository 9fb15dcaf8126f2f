/** The split virtqueue: VIRTIO 1.2, section 2.7. */
import type { GuestMemory } from '../../contract/index.ts';
import { Chain, ChainBuilder } from './chain.ts';
import type { QueueState, Ring, RingAreas, RingFeatures } from './ring.ts';
import { addLinked, Fence, indirectTable, ringAreas } from './ring.ts';

const AVAILABLE = { flags: 0, index: 2, ring: 4 };
const NO_INTERRUPT = 1;
const USED = { flags: 0, index: 2, ring: 4 };
const NO_NOTIFY = 1;
const USED_ELEMENT_BYTES = 8;

/** Finds the ring in guest memory; returns what is wrong with it otherwise. */
export function splitRing(memory: GuestMemory, state: QueueState, features: RingFeatures): Ring | string {
  const { size } = state;
  if (size === 0 || (size & (size - 1)) !== 0) return `a split queue of ${size} entries, not a power of two`;
  const areas = ringAreas(memory, state, { driver: 6 + 2 * size, device: 6 + USED_ELEMENT_BYTES * size });
  return typeof areas === 'string' ? areas : new SplitRing(memory, state, features, areas);
}

class SplitRing implements Ring {
  readonly #memory: GuestMemory;
  readonly #state: QueueState;
  readonly #features: RingFeatures;
  readonly #areas: RingAreas;
  readonly #fence = new Fence();

  constructor(memory: GuestMemory, state: QueueState, features: RingFeatures, areas: RingAreas) {
    this.#memory = memory;
    this.#state = state;
    this.#features = features;
    this.#areas = areas;
  }

  take(): Chain | string | undefined {
    const { driver, descriptors } = this.#areas;
    const { size, nextAvailable } = this.#state;
    const waiting = (driver.u16(AVAILABLE.index) - nextAvailable) & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > size) return `an available index that jumped by ${waiting} in a queue of ${size}`;
    const head = driver.u16(AVAILABLE.ring + 2 * (nextAvailable & (size - 1)));
    const builder = new ChainBuilder(this.#memory);
    const indirect = this.#features.indirect
      ? (at: number) => {
          const table = indirectTable(this.#memory, descriptors, at);
          return typeof table === 'string' ? table : addLinked(builder, table, 0);
        }
      : undefined;
    const complaint = addLinked(builder, descriptors, head, indirect);
    if (complaint !== undefined) return complaint;
    this.#state.nextAvailable = (nextAvailable + 1) & 0xffff;
    return new Chain(builder, head, 1);
  }

  give(chain: Chain, written: number): void {
    const { device } = this.#areas;
    const { size, nextUsed } = this.#state;
    const at = USED.ring + USED_ELEMENT_BYTES * (nextUsed & (size - 1));
    device.view.setUint32(at, chain.id, true);
    device.view.setUint32(at + 4, written, true);
    device.written(at, USED_ELEMENT_BYTES);
    this.#state.nextUsed = (nextUsed + 1) & 0xffff;
    device.view.setUint16(USED.index, this.#state.nextUsed, true);
    device.written(USED.index, 2);
  }

  enableNotifications(): boolean {
    const { driver } = this.#areas;
    const { size, nextAvailable } = this.#state;
    if (this.#features.eventIndex) this.#put(USED.ring + USED_ELEMENT_BYTES * size, nextAvailable);
    else this.#put(USED.flags, 0);
    this.#fence.pass();
    return driver.u16(AVAILABLE.index) !== nextAvailable;
  }

  disableNotifications(): void {
    // With event indexes there is no need: an index that was passed asks for nothing.
    if (!this.#features.eventIndex) this.#put(USED.flags, NO_NOTIFY);
  }

  wantsInterrupt(): boolean {
    const { driver } = this.#areas;
    const { size, nextUsed, signalledUsed } = this.#state;
    if (nextUsed === signalledUsed) return false;
    this.#state.signalledUsed = nextUsed;
    this.#fence.pass();
    if (!this.#features.eventIndex) return (driver.u16(AVAILABLE.flags) & NO_INTERRUPT) === 0;
    const event = driver.u16(AVAILABLE.ring + 2 * size);
    return ((nextUsed - event - 1) & 0xffff) < ((nextUsed - signalledUsed) & 0xffff); // 2.7.7.2
  }

  #put(offset: number, value: number): void {
    const { device } = this.#areas;
    if (device.u16(offset) === value) return;
    device.view.setUint16(offset, value, true);
    device.written(offset, 2);
  }
}
