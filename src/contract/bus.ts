/**
 * The bus joint: how a CPU reaches a device, and how a device is placed.
 *
 * Values are unsigned 32-bit numbers. An 8-byte access is split by the bus
 * into two 4-byte ones, low half first.
 */

/** Width of one bus access, in bytes. */
export type AccessSize = 1 | 2 | 4;

/** A device as a bus sees it: offsets are relative to where it is mapped. */
export interface BusDevice {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
  /**
   * Registers whose writes only say that something is to be done, whatever is written. Where an accelerator can watch
   * them, `ring` is called some time after one or more writes, and `write` is not.
   */
  readonly doorbells?: readonly Doorbell[];
}

export interface Doorbell {
  readonly offset: number;
  ring(): void;
}

/** One address space (port I/O or physical MMIO): devices placed at ranges. */
export interface Bus {
  /** Maps `device` at [base, base + size). Throws if the range overlaps another one. */
  map(base: number, size: number, device: BusDevice, name: string): Mapping;
  /** An unmapped address reads as all ones. */
  read(address: number, size: AccessSize): number;
  /** A write to an unmapped address is dropped. */
  write(address: number, size: AccessSize, value: number): void;
}

/** A device's place on a bus; PCI BARs move by unmapping and mapping again. */
export interface Mapping {
  readonly base: number;
  readonly size: number;
  unmap(): void;
}
