/** The device by which a guest says that it panicked (QEMU, docs/specs/pvpanic.rst). It has no state. */
import type { Bus, BusDevice } from '../../contract/index.ts';
import { PciFunction } from '../pci/index.ts';

const EVENT = { panicked: 1 << 0, crashLoaded: 1 << 1 } as const;
const SUPPORTED = EVENT.panicked | EVENT.crashLoaded;
/** A BAR is 16 bytes at least; the register is its first. */
const BAR_BYTES = 16;
const IDENTITY = { vendorId: 0x1b36, deviceId: 0x0011, revision: 1, classCode: 0x08_80_00 } as const;

/** `crash-loaded`: another kernel will write down what happened. */
export type PanicEvent = 'panicked' | 'crash-loaded';

/** One byte-wide register: a port, or the first byte of a window. */
export function pvpanic(onEvent: (event: PanicEvent) => void): BusDevice {
  return {
    read: (offset) => (offset === 0 ? SUPPORTED : 0),
    write(offset, _size, value) {
      if (offset !== 0) return;
      if (value & EVENT.panicked) onEvent('panicked');
      else if (value & EVENT.crashLoaded) onEvent('crash-loaded');
    },
  };
}

export interface PvpanicPciOptions {
  readonly name: string;
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly onEvent: (event: PanicEvent) => void;
}

export function pvpanicPci({ name, mmio, ports, onEvent }: PvpanicPciOptions): PciFunction {
  const bar = { index: 0, size: BAR_BYTES, kind: 'memory32', device: pvpanic(onEvent) } as const;
  return new PciFunction({ name, identity: IDENTITY, bars: [bar], mmio, ports });
}
