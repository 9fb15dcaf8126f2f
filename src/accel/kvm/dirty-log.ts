/** The pages of RAM that were written: KVM's log of a VM's slots, and what devices wrote. */
import type { DirtyLog } from '../../contract/index.ts';
import type { KvmVm, MemorySlot } from './vm.ts';

const PAGE = 4096;

export class SlotDirtyLog implements DirtyLog {
  readonly #vm: KvmVm;
  readonly #slots: readonly (MemorySlot & { readonly firstPage: number })[];
  readonly #pages: number;
  /** What devices wrote; undefined while nothing is noted. */
  #byDevices: Uint8Array | undefined;

  /** @param slots all of RAM, in the order of their pages */
  constructor(vm: KvmVm, slots: readonly MemorySlot[]) {
    this.#vm = vm;
    let firstPage = 0;
    this.#slots = slots.map((slot) => {
      const placed = { ...slot, firstPage };
      firstPage += slot.size / PAGE;
      return placed;
    });
    this.#pages = firstPage;
  }

  start(): void {
    this.#byDevices = new Uint8Array(Math.ceil(this.#pages / 8));
    for (const slot of this.#slots) this.#vm.setSlot({ ...slot, logDirtyPages: true });
  }

  take(bitmap: Uint8Array): number {
    const devices = this.#byDevices;
    if (devices === undefined) return 0;
    const written = devices.slice();
    devices.fill(0);
    for (const { slot, size, firstPage } of this.#slots) {
      addBits(written, firstPage, this.#vm.dirtyBitmap(slot, size));
    }
    let count = 0;
    for (const [at, byte] of written.entries()) {
      if (byte === 0) continue;
      bitmap[at] |= byte;
      count += bitCount(byte);
    }
    return count;
  }

  stop(): void {
    this.#byDevices = undefined;
    for (const slot of this.#slots) this.#vm.setSlot(slot);
  }

  /** A device or a loader wrote guest physical [base, base + length). */
  written(base: number, length: number): void {
    const devices = this.#byDevices;
    if (devices === undefined || length <= 0) return;
    for (const slot of this.#slots) {
      const from = Math.max(base, slot.base);
      const to = Math.min(base + length, slot.base + slot.size);
      if (from >= to) continue;
      const first = slot.firstPage + Math.floor((from - slot.base) / PAGE);
      const last = slot.firstPage + Math.floor((to - 1 - slot.base) / PAGE);
      for (let page = first; page <= last; page++) devices[page >> 3] |= 1 << (page & 7);
    }
  }
}

/** Bit 0 of `source` goes to bit `at` of `target`. */
function addBits(target: Uint8Array, at: number, source: Uint8Array): void {
  const shift = at & 7;
  for (const [index, byte] of source.entries()) {
    if (byte === 0) continue;
    const to = (at >> 3) + index;
    target[to] |= byte << shift;
    if (shift > 0 && byte >> (8 - shift) !== 0) target[to + 1] |= byte >> (8 - shift);
  }
}

function bitCount(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}
