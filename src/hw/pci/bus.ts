/**
 * The root PCI bus and the two ways to the configuration space of it and of the buses behind its bridges: mechanism #1
 * (ports CF8h and CFCh; PCI Local Bus 3.0, 3.2.2.3.2) and the memory window
 * of PCI Express (ECAM; PCI Express Base 3.0, 7.2.2).
 */

import { allOnes, stateTable, u32 } from '../../base/index.ts';
import type { AccessSize, BusDevice, Device, DeviceRecord } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';
import type { PciFunction } from './function.ts';
import type { PciSegment } from './segment.ts';

const ENABLE = 0x8000_0000;
const RESET_CONTROL_OFFSET = 1;
const ADDRESS_WRITABLE = 0x80ff_fffc;

const STATE = stateTable({ address: u32() });

export class PciBus implements Device {
  readonly name = 'pci-bus';
  /** Four ports at CF8h; the reset control register is the byte at CF9h. */
  readonly addressPort: BusDevice;
  /** Four ports at CFCh. */
  readonly dataPort: BusDevice;
  /** 256 MiB: 4 KiB a function. */
  readonly ecam: BusDevice;
  /** Bus 0. */
  readonly root: PciSegment;
  #state = STATE.initial();

  constructor(resetControl: ByteRegisters, root: PciSegment) {
    this.root = root;
    this.addressPort = {
      read: (offset, size) => {
        if (offset === RESET_CONTROL_OFFSET && size === 1) return resetControl.readByte(0);
        return size === 4 ? this.#state.address : allOnes(size);
      },
      write: (offset, size, value) => {
        if (offset === RESET_CONTROL_OFFSET && size === 1) resetControl.writeByte(0, value);
        else if (size === 4) this.#state.address = (value & ADDRESS_WRITABLE) >>> 0;
      },
    };
    this.dataPort = {
      read: (offset, size) => {
        const { address } = this.#state;
        return address & ENABLE ? this.#read(address >>> 8, (address & 0xfc) + offset, size) : allOnes(size);
      },
      write: (offset, size, value) => {
        const { address } = this.#state;
        if (address & ENABLE) this.#write(address >>> 8, (address & 0xfc) + offset, size, value);
      },
    };
    this.ecam = {
      read: (offset, size) => this.#read(offset >>> 12, offset & 0xfff, size),
      write: (offset, size, value) => this.#write(offset >>> 12, offset & 0xfff, size, value),
    };
  }

  reset(): void {
    this.#state = STATE.initial();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
  }

  /** @param requester bus, device and function as 16 bits */
  #read(requester: number, offset: number, size: AccessSize): number {
    return this.#find(requester)?.readConfig(offset, size) ?? allOnes(size);
  }

  #write(requester: number, offset: number, size: AccessSize, value: number): void {
    this.#find(requester)?.writeConfig(offset, size, value);
  }

  #find(requester: number): PciFunction | undefined {
    return this.root.find((requester >> 8) & 0xff, 0, requester & 0xff);
  }
}
