/** Puts a machine's `extras` on its board, and what its firmware tells. */
import type { Clock, GuestMemory } from '../contract/index.ts';
import {
  edu,
  i6300esb,
  ownAcpiTable,
  type PcBoard,
  PcTestdev,
  type PlacedDevice,
  PORTS,
  pciTestdev,
  pvpanic,
  pvpanicPci,
  Vmcoreinfo,
} from '../hw/index.ts';
import { type ExtraDevice, type FirmwareOptions, isPciExtra, type PciExtra } from './extra-options.ts';
import type { GuestRequest } from './parts.ts';
import type { PciPlace } from './pci-options.ts';
import type { PciSpot, PlacedParts } from './pci-places.ts';

export interface ExtrasContext {
  readonly board: PcBoard;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  /** Asks the run loop to do something about it. */
  ask(request: GuestRequest): void;
  /** The guest's panic device says that another kernel takes care of it. */
  crashLoaded(): void;
  put: (place: PciPlace, make: (at: PciSpot) => PlacedParts) => PlacedDevice;
}

/** @throws UserError for an ACPI table that is none */
export function addExtras(extras: readonly ExtraDevice[], firmware: FirmwareOptions, context: ExtrasContext) {
  const { board } = context;
  for (const table of firmware.acpiTables ?? []) ownAcpiTable(table, true);
  for (const { name, bytes } of firmware.files ?? []) board.fwCfg.addFile(name, bytes);
  let vmcoreinfo: Vmcoreinfo | undefined;
  for (const [index, extra] of extras.entries()) {
    if (isPciExtra(extra)) addPci(extra, `${extra.kind}${index}`, context);
    else if (extra.kind === 'vmcoreinfo') {
      vmcoreinfo = new Vmcoreinfo(board.fwCfg);
      board.addDevice(vmcoreinfo);
    } else if (extra.kind === 'pvpanic') {
      board.ports.map(PORTS.panic.base, PORTS.panic.size, pvpanic(onPanic(context)), 'pvpanic');
    } else {
      const device = new PcTestdev((line) => (line < 16 ? board.isaInterrupt(line) : { set() {} }));
      for (const { base, size, space, device: window } of device.windows) {
        board[space].map(base, size, window, device.name);
      }
      board.addDevice(device);
    }
  }
  return { vmcoreinfo };
}

function onPanic({ ask, crashLoaded }: ExtrasContext) {
  return (event: 'panicked' | 'crash-loaded') => (event === 'panicked' ? ask({ kind: 'panicked' }) : crashLoaded());
}

function addPci(extra: PciExtra, name: string, context: ExtrasContext): PlacedDevice {
  const { clock, memory, ask, put } = context;
  return put(extra, ({ slot, bus }) => {
    const { mmio, ports, mayMaster } = bus;
    switch (extra.kind) {
      case 'pvpanic-pci':
        return { pciFunction: pvpanicPci({ name, mmio, ports, onEvent: onPanic(context) }), parts: [] };
      case 'i6300esb': {
        const { pciFunction, timer } = i6300esb({
          name,
          clock,
          mmio,
          ports,
          onExpire: () => ask({ kind: 'watchdog' }),
        });
        return { pciFunction, parts: [timer] };
      }
      case 'edu': {
        const { pciFunction, core } = edu({
          name,
          clock,
          memory,
          mmio,
          ports,
          mayMaster,
          intx: bus.interrupt(slot, 0),
        });
        return { pciFunction, parts: [core] };
      }
      case 'pci-testdev':
        return pciTestdev({ name, mmio, ports });
    }
  });
}
