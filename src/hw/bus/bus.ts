/** The two address spaces of a PC: 65,536 I/O ports in a table, and physical MMIO as sorted ranges. */

import { allOnes, InternalError } from '../../base/index.ts';
import type { AccessSize, Bus, BusDevice, Doorbells, Mapping } from '../../contract/index.ts';

const PORT_COUNT = 0x1_0000;
/** Physical addresses have at most 52 bits (AMD64 APM vol. 2, 5.3). */
const MMIO_LIMIT = 2 ** 52;

class Range implements Mapping {
  readonly base: number;
  readonly size: number;
  readonly end: number;
  readonly device: BusDevice;
  readonly name: string;
  readonly #remove: (range: Range) => void;

  constructor(base: number, size: number, device: BusDevice, name: string, remove: (range: Range) => void) {
    this.base = base;
    this.size = size;
    this.end = base + size;
    this.device = device;
    this.name = name;
    this.#remove = remove;
  }

  unmap(): void {
    this.#remove(this);
  }
}

/** The I/O ports. An access that runs over a device's end, or past port 0xFFFF, is split into bytes. */
export class PortBus implements Bus {
  /** For each port the index into `#ranges`, 0 when nothing is there. */
  readonly #slots = new Uint16Array(PORT_COUNT);
  readonly #ranges: (Range | undefined)[] = [undefined];

  map(base: number, size: number, device: BusDevice, name: string): Mapping {
    checkRange(base, size, PORT_COUNT, name);
    for (let port = base; port < base + size; port++) {
      const other = this.#ranges[this.#slots[port]];
      if (other) throw overlap(name, base, size, other);
    }
    const range = new Range(base, size, device, name, (r) => this.#unmap(r));
    const free = this.#ranges.indexOf(undefined, 1);
    const slot = free < 0 ? this.#ranges.length : free;
    this.#ranges[slot] = range;
    this.#slots.fill(slot, base, base + size);
    return range;
  }

  #unmap(range: Range): void {
    const slot = this.#ranges.indexOf(range);
    if (slot < 0) return;
    this.#ranges[slot] = undefined;
    this.#slots.fill(0, range.base, range.end);
  }

  read(address: number, size: AccessSize): number {
    const range = this.#ranges[this.#slots[address]];
    if (range && address + size <= range.end) return range.device.read(address - range.base, size) >>> 0;
    return size === 1 ? 0xff : readBytes(this, address, size, PORT_COUNT);
  }

  write(address: number, size: AccessSize, value: number): void {
    const range = this.#ranges[this.#slots[address]];
    if (range && address + size <= range.end) range.device.write(address - range.base, size, value);
    else if (size !== 1) writeBytes(this, address, size, value, PORT_COUNT);
  }
}

/** Physical memory outside RAM. */
export class MmioBus implements Bus {
  /** Sorted by base, not overlapping. */
  readonly #ranges: Range[] = [];
  readonly #doorbells: Doorbells | undefined;
  #last: Range | undefined;

  /** @param doorbells who watches the doorbells of devices that are mapped here */
  constructor(doorbells?: Doorbells) {
    this.#doorbells = doorbells;
  }

  map(base: number, size: number, device: BusDevice, name: string): Mapping {
    checkRange(base, size, MMIO_LIMIT, name);
    const at = this.#firstEndingAfter(base);
    const next = this.#ranges[at];
    if (next && next.base < base + size) throw overlap(name, base, size, next);
    const unbind = (device.doorbells ?? []).map(({ offset, ring }) => this.#doorbells?.bind(base + offset, ring));
    const range = new Range(base, size, device, name, (r) => {
      for (const release of unbind.splice(0)) release?.();
      this.#unmap(r);
    });
    this.#ranges.splice(at, 0, range);
    return range;
  }

  #unmap(range: Range): void {
    const at = this.#ranges.indexOf(range);
    if (at >= 0) this.#ranges.splice(at, 1);
    if (this.#last === range) this.#last = undefined;
  }

  read(address: number, size: AccessSize): number {
    const range = this.#find(address);
    if (range && address + size <= range.end) return range.device.read(address - range.base, size) >>> 0;
    return size === 1 ? 0xff : readBytes(this, address, size, MMIO_LIMIT);
  }

  write(address: number, size: AccessSize, value: number): void {
    const range = this.#find(address);
    if (range && address + size <= range.end) range.device.write(address - range.base, size, value);
    else if (size !== 1) writeBytes(this, address, size, value, MMIO_LIMIT);
  }

  #find(address: number): Range | undefined {
    const last = this.#last;
    if (last && address >= last.base && address < last.end) return last;
    const range = this.#ranges[this.#firstEndingAfter(address)];
    if (!range || address < range.base) return undefined;
    this.#last = range;
    return range;
  }

  /** Index of the first range whose end lies above `address`. */
  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ranges[middle].end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function readBytes(bus: Bus, address: number, size: AccessSize, limit: number): number {
  let value = allOnes(size);
  for (let i = 0; i < size && address + i < limit; i++) {
    const shift = i * 8;
    value = (value & ~(0xff << shift)) | (bus.read(address + i, 1) << shift);
  }
  return value >>> 0;
}

function writeBytes(bus: Bus, address: number, size: AccessSize, value: number, limit: number): void {
  for (let i = 0; i < size && address + i < limit; i++) bus.write(address + i, 1, (value >>> (i * 8)) & 0xff);
}

function checkRange(base: number, size: number, limit: number, name: string): void {
  if (Number.isSafeInteger(base) && Number.isSafeInteger(size) && base >= 0 && size > 0 && base + size <= limit) return;
  throw new InternalError(`bus: ${name} at ${hexRange(base, size)} lies outside the address space`);
}

function overlap(name: string, base: number, size: number, other: Range): InternalError {
  return new InternalError(
    `bus: ${name} at ${hexRange(base, size)} overlaps ${other.name} at ${hexRange(other.base, other.size)}`,
  );
}

function hexRange(base: number, size: number): string {
  return `0x${base.toString(16)}+0x${size.toString(16)}`;
}
