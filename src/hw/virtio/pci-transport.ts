/** Virtio over PCI: VIRTIO 1.2, section 4.1. Drivers reach a device by the interface of virtio 1.0, the older one, or either. */

import { stateTable, u8 } from '../../base/index.ts';
import type { AccessSize, Bus, BusDevice, Device, DeviceRecord, IrqLine, MsiSink } from '../../contract/index.ts';
import { registerWindow } from '../bus/index.ts';
import type { VirtioPciMode } from '../names.ts';
import { Msix, type PciCapability, PciFunction } from '../pci/index.ts';
import { ISR } from './constants.ts';
import type { VirtioCore } from './core.ts';
import { legacyBarBytes, legacyRegisters } from './legacy-registers.ts';
import { commonRows } from './pci-common.ts';

const VENDOR = 0x1af4;
/** As QEMU's devices say who built them. */
const SUBSYSTEM_ID = 0x1100;
const DEVICE_ID_BASE = 0x1040; // 4.1.2.1
/** PCI device ids of transitional devices by virtio's device id (4.1.2.1); the others came after the legacy interface. */
const TRANSITIONAL_IDS: Readonly<Record<number, number>> = {
  1: 0x1000,
  2: 0x1001,
  5: 0x1002,
  3: 0x1003,
  8: 0x1004,
  4: 0x1005,
  9: 0x1009,
};
const VENDOR_CAPABILITY = 0x09;

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const REGISTER_BAR = 4;
/** The structures inside the register BAR (4.1.4), a page each; the device's own is as long as its configuration. */
const PAGE = 0x1000;
const STRUCTURE = {
  common: { type: 1, offset: 0x0000, length: 0x3c },
  isr: { type: 3, offset: 0x1000, length: 1 },
  notify: { type: 2, offset: 0x3000, length: PAGE },
  device: { type: 4, offset: 0x2000, length: 0 },
} as const;
const REGISTER_BAR_BYTES = 0x4000;
const NOTIFY_MULTIPLIER = 4;
const PCI_CONFIG_TYPE = 5;

export interface VirtioPciOptions {
  readonly core: VirtioCore;
  /** Default `modern`. */
  readonly mode?: VirtioPciMode;
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly msi: MsiSink;
  readonly intx?: IrqLine;
  /** Do the bridges above let it reach memory? Default: there are none. */
  readonly mayMaster?: () => boolean;
}

/** A virtio device as a PCI function. */
export interface VirtioPci {
  readonly pciFunction: PciFunction;
  /** What has state beside the function, in the order of restoring. */
  readonly parts: readonly Device[];
}

const ISR_STATE = stateTable({ isr: u8() });

export function virtioPci(options: VirtioPciOptions): VirtioPci {
  const { core } = options;
  const { device } = core;
  const transitionalId = TRANSITIONAL_IDS[device.id];
  const mode = transitionalId === undefined ? 'modern' : (options.mode ?? 'modern');
  const msix = new Msix({
    name: `${device.name}.msix`,
    vectors: core.queues.length + 1,
    barIndex: MSIX_BAR,
    sink: options.msi,
  });
  const isr = new Isr(`${device.name}.isr`, (level) => pciFunction.setInterrupt(level));
  const registers = registerBar(core, isr);
  const structures = mode === 'legacy' ? [] : [...structureCapabilities(device.config().length), pciConfigCapability()];
  const capabilities = [...structures, msix.capability];
  const windowAt = () => pciFunction.capabilityOffset(capabilities.length - 2);
  const legacy = {
    index: LEGACY_BAR,
    size: legacyBarBytes(core),
    kind: 'io',
    device: legacyRegisters(core, { isMsixEnabled: () => msix.enabled, takeIsr: () => isr.take() }),
  } as const;
  const modern = {
    index: REGISTER_BAR,
    size: REGISTER_BAR_BYTES,
    kind: 'memory64',
    prefetchable: true,
    device: registers,
  } as const;
  const pciFunction: PciFunction = new PciFunction({
    name: `${device.name}.pci`,
    identity: {
      ...(mode === 'modern'
        ? { deviceId: DEVICE_ID_BASE + device.id, revision: 1, subsystemId: SUBSYSTEM_ID }
        : { deviceId: transitionalId, revision: 0, subsystemId: device.id }), // 4.1.2.2, 4.1.2.3
      vendorId: VENDOR,
      classCode: device.pciClass,
      subsystemVendorId: VENDOR,
      interruptPin: 1,
    },
    bars: [
      ...(mode === 'modern' ? [] : [legacy]),
      { index: MSIX_BAR, size: msix.barSize, kind: 'memory32', device: padded(msix.device, msix.barSize) },
      ...(mode === 'legacy' ? [] : [modern]),
    ],
    capabilities,
    mmio: options.mmio,
    ports: options.ports,
    intx: options.intx,
    mayMaster: options.mayMaster,
    intercept: mode === 'legacy' ? undefined : configWindow(() => pciFunction.config, windowAt, registers),
    onConfigChange() {
      const at = pciFunction.capabilityOffset(capabilities.length - 1) + 2;
      msix.setControl(pciFunction.config[at] | (pciFunction.config[at + 1] << 8));
    },
  });
  core.connect({
    interrupt(queue) {
      if (!msix.enabled) isr.raise(queue ? ISR.queue : ISR.config);
      else msix.notify((queue?.state ?? { vector: core.state.configVector }).vector);
    },
    mayAccessMemory: () => pciFunction.busMaster,
    reset: () => isr.reset(),
  });
  return { pciFunction, parts: [msix, isr, core, device] };
}

/** The ISR status: says why, and reading it lowers the pin (4.1.4.5). */
class Isr implements Device {
  readonly name: string;
  readonly #drive: (level: boolean) => void;
  #state = ISR_STATE.initial();

  constructor(name: string, drive: (level: boolean) => void) {
    this.name = name;
    this.#drive = drive;
  }

  raise(bits: number): void {
    this.#state.isr |= bits;
    this.#update();
  }

  take(): number {
    const { isr } = this.#state;
    this.#state.isr = 0;
    this.#update();
    return isr;
  }

  reset(): void {
    this.#state = ISR_STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return ISR_STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = ISR_STATE.load(record);
    this.#update();
  }

  #update(): void {
    this.#drive(this.#state.isr !== 0);
  }
}

/** Reads as zeros past the registers. */
function padded(device: BusDevice, size: number): BusDevice {
  return { read: (offset, width) => (offset + width <= size ? device.read(offset, width) : 0), write: device.write };
}

function structureCapabilities(configBytes: number): PciCapability[] {
  const { device, ...fixed } = STRUCTURE;
  const structures = [...Object.values(fixed), ...(configBytes > 0 ? [{ ...device, length: configBytes }] : [])];
  return structures.map(({ type, offset, length }) => {
    const isNotify = type === STRUCTURE.notify.type;
    const body = new DataView(new ArrayBuffer(isNotify ? 18 : 14));
    body.setUint8(0, body.byteLength + 2);
    body.setUint8(1, type);
    body.setUint8(2, REGISTER_BAR);
    body.setUint32(6, offset, true);
    body.setUint32(10, length, true);
    if (isNotify) body.setUint32(14, NOTIFY_MULTIPLIER, true);
    return { id: VENDOR_CAPABILITY, body: new Uint8Array(body.buffer) };
  });
}

/** 4.1.4.9: a window of 4 bytes on any BAR, for code that reaches only the configuration space. */
const WINDOW = { bar: 4, offset: 8, length: 12, data: 16 };

function pciConfigCapability(): PciCapability {
  const body = new Uint8Array(18);
  body[0] = body.length + 2;
  body[1] = PCI_CONFIG_TYPE;
  const writable = new Uint8Array(18);
  writable[WINDOW.bar - 2] = 0xff;
  writable.fill(0xff, WINDOW.offset - 2);
  return { id: VENDOR_CAPABILITY, body, writable };
}

function configWindow(config: () => Uint8Array, at: () => number, registers: BusDevice) {
  const target = (offset: number): { offset: number; size: AccessSize } | undefined => {
    if (offset !== at() + WINDOW.data) return undefined;
    const view = new DataView(config().buffer, config().byteOffset + at());
    const size = view.getUint32(WINDOW.length, true);
    const where = view.getUint32(WINDOW.offset, true);
    if (view.getUint8(WINDOW.bar) !== REGISTER_BAR || (size !== 1 && size !== 2 && size !== 4)) return undefined;
    return where % size === 0 && where + size <= REGISTER_BAR_BYTES ? { offset: where, size } : undefined;
  };
  return {
    read(offset: number): number | undefined {
      const found = target(offset);
      return found && registers.read(found.offset, found.size);
    },
    write(offset: number, _size: AccessSize, value: number): boolean {
      const found = target(offset);
      if (found) registers.write(found.offset, found.size, value);
      return found !== undefined;
    },
  };
}

function registerBar(core: VirtioCore, isr: Isr): BusDevice {
  const common = registerWindow(PAGE, commonRows(core));
  const pages: readonly BusDevice[] = [
    common,
    {
      read: (offset) => (offset === 0 ? isr.take() : 0),
      write() {},
    },
    {
      read: (offset, size) => core.readConfig(offset, size),
      write: (offset, size, value) => core.writeConfig(offset, size, value),
    },
    {
      read: () => 0,
      write: (offset, _size, value) => {
        // 4.1.5.2: the queue is told by the address; with notification data its number is in the value too.
        if ((value & 0xffff) === offset / NOTIFY_MULTIPLIER) core.notify(value & 0xffff);
      },
    },
  ];
  return {
    doorbells: core.queues.map(({ index }) => ({
      offset: STRUCTURE.notify.offset + index * NOTIFY_MULTIPLIER,
      ring: () => core.notify(index),
    })),
    read(offset, size) {
      const within = offset % PAGE;
      return within + size <= PAGE ? pages[Math.floor(offset / PAGE)].read(within, size) : 0;
    },
    write(offset, size, value) {
      const within = offset % PAGE;
      if (within + size <= PAGE) pages[Math.floor(offset / PAGE)].write(within, size, value);
    },
  };
}
