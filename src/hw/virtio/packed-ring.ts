/** The packed virtqueue: VIRTIO 1.2, section 2.8. */
import type { GuestMemory } from '../../contract/index.ts';
import { Chain, ChainBuilder } from './chain.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES } from './constants.ts';
import type { GuestArea, QueueState, Ring, RingAreas, RingFeatures } from './ring.ts';
import { Fence, indirectTable, ringAreas } from './ring.ts';

/** Offsets inside a descriptor: buffer id and flags lie where the split ring has flags and next. */
const ID = 12;
const FLAGS = 14;
/** An event suppression structure: offset and wrap counter, then flags (2.8.10). */
const EVENT_BYTES = 4;
const EVENT = { enable: 0, disable: 1, descriptor: 2 };

/** Finds the ring in guest memory; returns what is wrong with it otherwise. */
export function packedRing(memory: GuestMemory, state: QueueState, features: RingFeatures): Ring | string {
  const { size } = state;
  if (size === 0) return 'a packed queue of 0 entries';
  const areas = ringAreas(memory, state, { driver: EVENT_BYTES, device: EVENT_BYTES });
  if (typeof areas === 'string') return areas;
  // A record restored from a larger ring, or made up, may point past this one.
  if (state.nextAvailable >= size || state.nextUsed >= size) return `a position past the ${size} entries`;
  return new PackedRing(memory, state, features, areas);
}

class PackedRing implements Ring {
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
    if (!this.#available()) return undefined;
    const { descriptors } = this.#areas;
    const { size } = this.#state;
    const builder = new ChainBuilder(this.#memory);
    let slot = this.#state.nextAvailable;
    let wrap = this.#state.availableWrap;
    for (let slots = 1; slots <= size; slots++) {
      const at = slot * DESCRIPTOR_BYTES;
      const flags = descriptors.u16(at + FLAGS);
      const complaint = this.#add(builder, at, flags, slots);
      if (complaint !== undefined) return complaint;
      slot++;
      if (slot === size) {
        slot = 0;
        wrap = !wrap;
      }
      if (flags & DESCRIPTOR.next) continue;
      this.#state.nextAvailable = slot;
      this.#state.availableWrap = wrap;
      return new Chain(builder, descriptors.u16(at + ID), slots); // the last descriptor has the id (2.8.8)
    }
    return 'a chain that is longer than its ring';
  }

  #add(builder: ChainBuilder, at: number, flags: number, slots: number): string | undefined {
    const { descriptors } = this.#areas;
    if (!(flags & DESCRIPTOR.indirect)) {
      return builder.add(descriptors.u64(at), descriptors.u32(at + 8), (flags & DESCRIPTOR.write) !== 0);
    }
    if (!this.#features.indirect) return 'an indirect descriptor where there may be none';
    if (flags & DESCRIPTOR.next || slots > 1) return 'an indirect descriptor in a chain'; // 2.8.7
    const table = indirectTable(this.#memory, descriptors, at);
    return typeof table === 'string' ? table : addInOrder(builder, table);
  }

  #available(): boolean {
    const { nextAvailable, availableWrap } = this.#state;
    const flags = this.#areas.descriptors.u16(nextAvailable * DESCRIPTOR_BYTES + FLAGS);
    return (
      ((flags & DESCRIPTOR.available) !== 0) === availableWrap && ((flags & DESCRIPTOR.used) !== 0) !== availableWrap
    );
  }

  give(chain: Chain, written: number): void {
    const { descriptors } = this.#areas;
    const s = this.#state;
    const at = s.nextUsed * DESCRIPTOR_BYTES;
    descriptors.view.setUint32(at + 8, written, true);
    descriptors.view.setUint16(at + ID, chain.id, true);
    const wrap = s.usedWrap ? DESCRIPTOR.available | DESCRIPTOR.used : 0;
    descriptors.view.setUint16(at + FLAGS, wrap | (written > 0 ? DESCRIPTOR.write : 0), true);
    descriptors.written(at + 8, 8);
    const next = s.nextUsed + chain.slots;
    s.nextUsed = next < s.size ? next : next - s.size;
    if (next >= s.size) s.usedWrap = !s.usedWrap;
  }

  enableNotifications(): boolean {
    const { nextAvailable, availableWrap } = this.#state;
    if (this.#features.eventIndex) this.#suppress(EVENT.descriptor, nextAvailable | (availableWrap ? 0x8000 : 0));
    else this.#suppress(EVENT.enable, 0);
    this.#fence.pass();
    return this.#available();
  }

  disableNotifications(): void {
    this.#suppress(EVENT.disable, 0);
  }

  #suppress(flags: number, position: number): void {
    const { device } = this.#areas;
    if (device.u16(0) === position && device.u16(2) === flags) return;
    device.view.setUint16(0, position, true);
    device.view.setUint16(2, flags, true);
    device.written(0, EVENT_BYTES);
  }

  wantsInterrupt(): boolean {
    const { driver } = this.#areas;
    const { size, nextUsed, usedWrap, signalledUsed, signalledWrap } = this.#state;
    if (nextUsed === signalledUsed && usedWrap === signalledWrap) return false;
    this.#state.signalledUsed = nextUsed;
    this.#fence.pass();
    this.#state.signalledWrap = usedWrap;
    const flags = driver.u16(2) & 3;
    if (flags !== EVENT.descriptor || !this.#features.eventIndex) return flags !== EVENT.disable;
    // Positions on a line: `given` slots ago the driver was last told; the event lies `ago` slots back.
    const event = driver.u16(0);
    const slotsSince = (slot: number, wrap: boolean) => nextUsed - slot + (wrap === usedWrap ? 0 : size);
    const given = slotsSince(signalledUsed, signalledWrap);
    const ago = slotsSince(event & 0x7fff, (event & 0x8000) !== 0);
    return ago > 0 && ago <= given;
  }
}

/** An indirect table of a packed ring: its descriptors follow one another (2.8.7). */
function addInOrder(builder: ChainBuilder, table: GuestArea): string | undefined {
  for (let at = 0; at < table.length; at += DESCRIPTOR_BYTES) {
    const writable = (table.u16(at + FLAGS) & DESCRIPTOR.write) !== 0;
    const complaint = builder.add(table.u64(at), table.u32(at + 8), writable);
    if (complaint !== undefined) return complaint;
  }
  return undefined;
}
