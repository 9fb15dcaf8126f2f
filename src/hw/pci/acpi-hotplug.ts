/**
 * Plugging devices into the root bus by ACPI, as QEMU's pc does it (docs/specs/acpi_pci_hotplug.rst): a general-purpose
 * event says that something changed, registers say which slots, and the guest ejects what it has let go.
 */
import { type StateOf, stateTable, u32 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord } from '../../contract/index.ts';
import { registerWindow } from '../bus/index.ts';

const STATE = stateTable({
  /** Slots with a new device, and slots whose device is to be let go; a bit a slot, until the guest has read them. */
  up: u32(),
  down: u32(),
});

export interface AcpiHotplugOptions {
  readonly name: string;
  /** Raises the event. */
  readonly raise: () => void;
  /** The guest is done with what is in a slot. */
  readonly onEject: (slot: number) => void;
}

export class AcpiHotplug implements Device {
  readonly name: string;
  readonly registers: BusDevice;
  readonly #raise: () => void;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor({ name, raise, onEject }: AcpiHotplugOptions) {
    this.name = name;
    this.#raise = raise;
    this.registers = registerWindow(0x10, [
      { name: 'PCI_UP', offset: 0x00, width: 4, read: () => this.#take('up') },
      { name: 'PCI_DOWN', offset: 0x04, width: 4, read: () => this.#take('down') },
      {
        name: 'PCI_EJECT',
        offset: 0x08,
        width: 4,
        write(value) {
          for (let slot = 0; slot < 32; slot += 1) if ((value >>> slot) & 1) onEject(slot);
        },
      },
      { name: 'PCI_REMOVABLE', offset: 0x0c, width: 4, read: () => 0xffff_ffff },
    ]);
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

  /** A device is in a slot now. */
  plugged(slot: number): void {
    this.#state.up = (this.#state.up | (1 << slot)) >>> 0;
    this.#raise();
  }

  /** Asks the guest to let a device go. */
  requestUnplug(slot: number): void {
    this.#state.down = (this.#state.down | (1 << slot)) >>> 0;
    this.#raise();
  }

  #take(which: 'up' | 'down'): number {
    const value = this.#state[which];
    this.#state[which] = 0;
    return value;
  }
}
