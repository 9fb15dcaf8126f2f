/** Virtio over a window of registers in memory: VIRTIO 1.2, section 4.2, device version 2. */

import { mergeBits, stateTable, u8 } from '../../base/index.ts';
import type { BusDevice, Device, DeviceRecord, IrqLine } from '../../contract/index.ts';
import { type RegisterSpec, registerWindow } from '../bus/index.ts';
import { ISR } from './constants.ts';
import type { VirtioCore } from './core.ts';
import type { QueueState } from './ring.ts';

const MAGIC = 0x7472_6976;
const VERSION = 2;
const VENDOR = 0x4f45_5256;
const CONFIG = 0x100;
/** Of the window: the registers, and as much configuration space. */
export const VIRTIO_MMIO_BYTES = 0x200;

const STATE = stateTable({ interruptStatus: u8() });

/** The transport's own state is its interrupt status; its registers are `window`. */
export class VirtioMmio implements Device {
  readonly name: string;
  readonly window: BusDevice;
  readonly #irq: IrqLine;
  #state = STATE.initial();

  constructor({ core, irq }: { readonly core: VirtioCore; readonly irq: IrqLine }) {
    this.name = `${core.device.name}.mmio`;
    this.#irq = irq;
    core.connect({
      interrupt: (queue) => this.#raise(queue ? ISR.queue : ISR.config),
      mayAccessMemory: () => true,
      reset: () => this.reset(),
    });
    const registers = registerWindow(CONFIG, this.#rows(core));
    this.window = {
      read: (offset, size) =>
        offset >= CONFIG
          ? core.readConfig(offset - CONFIG, size)
          : within(offset, size)
            ? registers.read(offset, size)
            : 0,
      write: (offset, size, value) => {
        if (offset >= CONFIG) core.writeConfig(offset - CONFIG, size, value);
        else if (within(offset, size)) registers.write(offset, size, value);
      },
    };
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

  #raise(bits: number): void {
    this.#state.interruptStatus |= bits;
    this.#update();
  }

  #update(): void {
    this.#irq.set(this.#state.interruptStatus !== 0);
  }

  /** 4.2.2, table 4.1. */
  #rows(core: VirtioCore): RegisterSpec[] {
    const s = () => core.state;
    return [
      constant('MagicValue', 0x000, MAGIC),
      constant('Version', 0x004, VERSION),
      constant('DeviceID', 0x008, core.device.id),
      constant('VendorID', 0x00c, VENDOR),
      { name: 'DeviceFeatures', offset: 0x010, width: 4, read: () => core.deviceFeatures() },
      { name: 'DeviceFeaturesSel', offset: 0x014, width: 4, write: (value) => (s().deviceFeatureSelect = value) },
      { name: 'DriverFeatures', offset: 0x020, width: 4, write: (value) => core.writeDriverFeatures(value) },
      { name: 'DriverFeaturesSel', offset: 0x024, width: 4, write: (value) => (s().driverFeatureSelect = value) },
      { name: 'QueueSel', offset: 0x030, width: 4, write: (value) => (s().queueSelect = Math.min(value, 0xffff)) },
      {
        name: 'QueueNumMax',
        offset: 0x034,
        width: 4,
        read: () => (core.selected ? core.device.queues[core.selected.index].maxSize : 0),
      },
      queueRow(core, 'size', 0x038, 0xffff),
      {
        name: 'QueueReady',
        offset: 0x044,
        width: 4,
        read: () => (core.selected?.state.enabled ? 1 : 0),
        write: (value) => {
          if (!core.selected) return;
          if (value === 1) core.enableQueue(core.selected);
          else if (value === 0) core.resetQueue(core.selected);
        },
      },
      { name: 'QueueNotify', offset: 0x050, width: 4, write: (value) => core.notify(value & 0xffff) },
      { name: 'InterruptStatus', offset: 0x060, width: 4, read: () => this.#state.interruptStatus },
      {
        name: 'InterruptACK',
        offset: 0x064,
        width: 4,
        write: (value) => {
          this.#state.interruptStatus &= ~value;
          this.#update();
        },
      },
      {
        name: 'Status',
        offset: 0x070,
        width: 4,
        read: () => s().status,
        write: (value) => core.writeStatus(value & 0xff),
      },
      queueRow(core, 'descriptorLow', 0x080),
      queueRow(core, 'descriptorHigh', 0x084),
      queueRow(core, 'driverLow', 0x090),
      queueRow(core, 'driverHigh', 0x094),
      queueRow(core, 'deviceLow', 0x0a0),
      queueRow(core, 'deviceHigh', 0x0a4),
      // There is no shared memory: its length reads as all ones (4.2.2.1).
      constant('SHMLenLow', 0x0b0, 0xffff_ffff),
      constant('SHMLenHigh', 0x0b4, 0xffff_ffff),
      {
        name: 'QueueReset',
        offset: 0x0c0,
        width: 4,
        write: (value) => {
          if (value === 1 && core.selected) core.resetQueue(core.selected);
        },
      },
      { name: 'ConfigGeneration', offset: 0x0fc, width: 4, read: () => s().configGeneration },
    ];
  }
}

/** Registers are read and written whole (4.2.2.2). */
function within(offset: number, size: number): boolean {
  return size === 4 && offset % 4 === 0;
}

function constant(name: string, offset: number, value: number): RegisterSpec {
  return { name, offset, width: 4, read: () => value };
}

type AddressField = Extract<keyof QueueState, `${string}Low` | `${string}High`>;

/** A write-only register of the selected queue, fixed once the queue is in use. */
function queueRow(core: VirtioCore, field: AddressField | 'size', offset: number, bits = 0xffff_ffff): RegisterSpec {
  return {
    name: `queue ${field}`,
    offset,
    width: 4,
    write: (value) => {
      const queue = core.selected;
      if (queue && !queue.state.enabled) queue.state[field] = mergeBits(0, bits, value);
    },
  };
}
