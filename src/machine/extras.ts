/** Devices beyond those that every machine has a use for: a machine's `extras`, and what its firmware tells. */
import { UserError } from '../base/index.ts';
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
  type SmbiosOptions,
  Vmcoreinfo,
} from '../hw/index.ts';
import type { GuestRequest } from './parts.ts';
import type { PciPlace } from './pci-options.ts';
import type { PciSpot, PlacedParts } from './pci-places.ts';

/** What a machine can have beyond its disks, networks and so on. */
export type ExtraDevice =
  /** `pvpanic`: the guest says by a port that it panicked; `pc-testdev`: ports for tests; `vmcoreinfo`: for dumps. */
  { readonly kind: 'pvpanic' | 'pc-testdev' | 'vmcoreinfo' } | { readonly kind: PciExtraKind; readonly slot?: number };
export type PciExtraKind = 'pvpanic-pci' | 'i6300esb' | 'edu' | 'pci-testdev';

const PCI_KINDS: readonly string[] = ['pvpanic-pci', 'i6300esb', 'edu', 'pci-testdev'] satisfies PciExtraKind[];
const EXTRAS_MAX = 16;

/** What the firmware would tell the guest. */
export interface FirmwareOptions {
  /** Without it there are no SMBIOS tables. */
  readonly smbios?: SmbiosOptions & { readonly product: string };
  /** Files of fw_cfg. */
  readonly files?: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  /** ACPI tables of a person's own, each whole. */
  readonly acpiTables?: readonly Uint8Array[];
}

export type PciExtra = Extract<ExtraDevice, { kind: PciExtraKind }>;

export function isPciExtra(extra: ExtraDevice): extra is PciExtra {
  return PCI_KINDS.includes(extra.kind);
}

/** @throws UserError that names what is wrong */
export function checkExtras(extras: readonly ExtraDevice[], { files = [], acpiTables = [] }: FirmwareOptions): void {
  if (extras.length > EXTRAS_MAX) throw new UserError(`there can be ${EXTRAS_MAX} extra devices, not ${extras.length}`);
  for (const kind of ['pvpanic', 'pc-testdev', 'vmcoreinfo'] as const) {
    if (extras.filter((extra) => extra.kind === kind).length > 1) throw new UserError(`there can be only one ${kind}`);
  }
  for (const [index, { name }] of files.entries()) {
    if (!/^[\x21-\x7e]{1,55}$/.test(name)) {
      throw new UserError(`the fw_cfg file name "${name}" is not 55 characters of ASCII or fewer`);
    }
    if (files.findIndex((file) => file.name === name) < index)
      throw new UserError(`two fw_cfg files are called ${name}`);
  }
  for (const table of acpiTables) ownAcpiTable(table, true);
}

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

/** Puts them on the board. */
export function addExtras(extras: readonly ExtraDevice[], firmware: FirmwareOptions, context: ExtrasContext) {
  const { board } = context;
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
