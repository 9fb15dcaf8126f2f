/** Guest RAM of a VM: one piece of shared memory, a slot a range. */
import type { DirtyLog, GuestMemory, RamRange } from '../../contract/index.ts';
import { SlotDirtyLog } from './dirty-log.ts';
import type { GuestRam, KvmHost, RamOptions } from './host.ts';
import type { KvmVm, MemorySlot } from './vm.ts';

const HUGE_PAGE = 2 * 1024 * 1024;

export class KvmMemory implements GuestMemory {
  readonly buffer: SharedArrayBuffer;
  readonly ranges: readonly RamRange[];
  readonly size: number;
  readonly #ram: GuestRam;
  readonly #host: KvmHost;
  readonly #bytes: Uint8Array;
  #log: SlotDirtyLog | undefined;

  /** @param ranges guest physical ranges of RAM, 4-KiB aligned. Throws UserError when the host has not that much. */
  constructor(host: KvmHost, ranges: readonly { readonly base: number; readonly size: number }[], options: RamOptions) {
    let end = 0;
    const places = ranges.map(({ base, size }) => {
      const at = end;
      // Huge pages want guest and host addresses alike.
      end = Math.ceil((at + size) / HUGE_PAGE) * HUGE_PAGE;
      return { base, size, at };
    });
    this.#host = host;
    this.#ram = host.allocateRam(end, options);
    this.buffer = this.#ram.buffer;
    this.ranges = places.map(({ base, size, at }) => ({ base, size, offset: this.#ram.offset + at }));
    this.size = ranges.reduce((sum, { size }) => sum + size, 0);
    this.#bytes = new Uint8Array(this.buffer);
  }

  /** Makes the ranges the VM's memory. */
  connect(vm: KvmVm): void {
    const slots = this.ranges.map(({ base, size, offset }, slot): MemorySlot => {
      return { slot, base, memory: this.#ram, offset: offset - this.#ram.offset, size };
    });
    for (const slot of slots) vm.setSlot(slot);
    this.#log = new SlotDirtyLog(vm, slots);
  }

  get dirtyLog(): DirtyLog | undefined {
    return this.#log;
  }

  view(base: number, length: number): Uint8Array | undefined {
    const range = this.#rangeOf(base, length);
    if (!range || length < 0) return undefined;
    const start = range.offset + (base - range.base);
    return this.#bytes.subarray(start, start + length);
  }

  /** The processor keeps its own caches true, and KVM knows of its own writes alone. */
  written(base: number, length: number): void {
    this.#log?.written(base, length);
  }

  /** The host may use these pages for something else. */
  giveBack(base: number, length: number): void {
    const range = this.#rangeOf(base, length);
    if (range) this.#host.giveBack(this.#ram, range.offset - this.#ram.offset + (base - range.base), length);
  }

  #rangeOf(base: number, length: number): RamRange | undefined {
    return this.ranges.find((range) => base >= range.base && base + length <= range.base + range.size);
  }
}
