/** What a bridge passes downstream: an address space of which some ranges can be seen through it. */
import { InternalError } from '../../base/index.ts';
import type { AccessSize, Bus, BusDevice, Mapping } from '../../contract/index.ts';

/** From `base` to below `end`. */
export interface OpenRange {
  readonly base: number;
  readonly end: number;
}

interface Entry {
  readonly base: number;
  readonly size: number;
  readonly device: BusDevice;
  readonly name: string;
  mapping: Mapping | undefined;
}

/** Devices are on the upstream bus while they lie in an open range, and while nothing else is there. */
export class BridgeWindow implements Bus {
  readonly #upstream: Bus;
  readonly #entries = new Set<Entry>();
  #open: readonly OpenRange[] = [];

  constructor(upstream: Bus) {
    this.#upstream = upstream;
  }

  map(base: number, size: number, device: BusDevice, name: string): Mapping {
    const entry: Entry = { base, size, device, name, mapping: undefined };
    this.#entries.add(entry);
    this.#apply(entry);
    return {
      base,
      size,
      unmap: () => {
        this.#entries.delete(entry);
        entry.mapping?.unmap();
      },
    };
  }

  /** The ranges are others from now on. */
  open(ranges: readonly OpenRange[]): void {
    this.#open = ranges;
    for (const entry of this.#entries) this.#apply(entry);
  }

  read(address: number, size: AccessSize): number {
    return this.#upstream.read(address, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    this.#upstream.write(address, size, value);
  }

  #apply(entry: Entry): void {
    const { base, size, device, name } = entry;
    const isOpen = this.#open.some((range) => base >= range.base && base + size <= range.end);
    if (isOpen && entry.mapping === undefined) {
      try {
        entry.mapping = this.#upstream.map(base, size, device, name);
      } catch (error) {
        if (!(error instanceof InternalError)) throw error;
      }
    } else if (!isOpen) {
      entry.mapping?.unmap();
      entry.mapping = undefined;
    }
  }
}
