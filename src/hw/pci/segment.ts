/** One PCI bus: the functions on it, and what their accesses, messages and interrupt pins go through. */
import { InternalError } from '../../base/index.ts';
import type { Bus, IrqLine } from '../../contract/index.ts';
import type { PciFunction } from './function.ts';

/** A bus behind a bridge, for finding functions by bus number. */
export interface SecondaryBus {
  /** The bus right behind the bridge, and the highest behind it; 0 before the guest has numbered them. */
  readonly secondary: number;
  readonly subordinate: number;
  readonly segment: PciSegment;
}

export interface PciSegmentPorts {
  readonly mmio: Bus;
  readonly ports: Bus;
  /** May functions on this bus reach memory? */
  readonly mayMaster: () => boolean;
  /** A driver of a device's interrupt pin, 0 for INTA#. */
  readonly interrupt: (device: number, pin: number) => IrqLine;
  /** Device numbers that exist on this bus; 32 unless it is a link to one device. */
  readonly devices?: number;
}

export class PciSegment {
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly mayMaster: () => boolean;
  readonly interrupt: (device: number, pin: number) => IrqLine;
  readonly deviceCount: number;
  /** By device number × 8 + function number. */
  readonly #functions = new Map<number, PciFunction>();
  readonly #bridges = new Map<PciFunction, SecondaryBus>();

  constructor({ mmio, ports, mayMaster, interrupt, devices = 32 }: PciSegmentPorts) {
    this.mmio = mmio;
    this.ports = ports;
    this.mayMaster = mayMaster;
    this.interrupt = interrupt;
    this.deviceCount = devices;
  }

  get functions(): Iterable<PciFunction> {
    return this.#functions.values();
  }

  /** @param behind the bus that the function is a bridge to */
  add(device: number, functionNumber: number, pciFunction: PciFunction, behind?: SecondaryBus): void {
    const slot = device * 8 + functionNumber;
    const other = this.#functions.get(slot);
    if (other) throw new InternalError(`PCI ${device}.${functionNumber}: ${pciFunction.name} meets ${other.name}`);
    this.#functions.set(slot, pciFunction);
    if (behind !== undefined) this.#bridges.set(pciFunction, behind);
  }

  /** Takes a function off the bus; what the guest wrote to its BARs is unmapped. */
  remove(pciFunction: PciFunction): void {
    for (const [slot, one] of this.#functions) if (one === pciFunction) this.#functions.delete(slot);
    pciFunction.reset();
  }

  /**
   * @param busNumber as the guest counts them
   * @param own the number of this bus
   * @param slot device number × 8 + function number
   */
  find(busNumber: number, own: number, slot: number): PciFunction | undefined {
    if (busNumber === own) return this.#functions.get(slot);
    for (const { secondary, subordinate, segment } of this.#bridges.values()) {
      if (secondary > own && busNumber >= secondary && busNumber <= subordinate) {
        return segment.find(busNumber, secondary, slot); // each step down has a higher number, so this ends
      }
    }
    return undefined;
  }
}
