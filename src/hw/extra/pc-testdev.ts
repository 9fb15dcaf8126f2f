/** Ports and memory for tests of a PC's CPU (QEMU's pc-testdev): what is written is read back; lines of interrupts. */
import { bytes, type StateOf, stateTable, u32 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, IrqLine } from '../../contract/index.ts';

const IRQS = 24;
const MEMORY_BYTES = 0x1_0000;

const STATE = stateTable({ port: u32(), memory: bytes(MEMORY_BYTES), lines: u32() });

export interface PcTestdevWindows {
  readonly base: number;
  readonly size: number;
  readonly space: 'ports' | 'mmio';
  readonly device: BusDevice;
}

export class PcTestdev implements Device {
  readonly name = 'pc-testdev';
  readonly windows: readonly PcTestdevWindows[];
  readonly #irq: (line: number) => IrqLine;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(irq: (line: number) => IrqLine) {
    this.#irq = irq;
    const port: BusDevice = {
      read: (offset, size) => (this.#state.port >>> (offset * 8)) & (size === 4 ? -1 : (1 << (size * 8)) - 1),
      write: (offset, size, value) => {
        const mask = size === 4 ? 0xffff_ffff : ((1 << (size * 8)) - 1) << (offset * 8);
        this.#state.port = ((this.#state.port & ~mask) | ((value << (offset * 8)) & mask)) >>> 0;
      },
    };
    const lines: BusDevice = {
      read: () => 0,
      write: (offset, _size, value) => this.#setLine(offset, value !== 0),
    };
    const memory: BusDevice = {
      read: (offset, size) => {
        let value = 0;
        for (let i = 0; i < size; i += 1) value |= (this.#state.memory[offset + i] ?? 0) << (i * 8);
        return value >>> 0;
      },
      write: (offset, size, value) => {
        for (let i = 0; i < size && offset + i < MEMORY_BYTES; i += 1) {
          this.#state.memory[offset + i] = (value >>> (i * 8)) & 0xff;
        }
      },
    };
    this.windows = [
      { base: 0xe0, size: 4, space: 'ports', device: port },
      { base: 0x2000, size: IRQS, space: 'ports', device: lines },
      { base: 0xff00_0000, size: MEMORY_BYTES, space: 'mmio', device: memory },
    ];
  }

  reset(): void {
    this.#state = STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  #setLine(line: number, level: boolean): void {
    const bit = 1 << line;
    this.#state.lines = (level ? this.#state.lines | bit : this.#state.lines & ~bit) >>> 0;
    this.#irq(line).set(level);
  }

  #update(): void {
    for (let line = 0; line < IRQS; line += 1) this.#irq(line).set(((this.#state.lines >>> line) & 1) === 1);
  }
}
