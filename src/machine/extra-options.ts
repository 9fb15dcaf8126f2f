/** Devices beyond those that every machine has a use for, as a machine's options say them. */
import { UserError } from '../base/index.ts';
import type { SmbiosOptions } from '../hw/index.ts';

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
export function checkExtras(extras: readonly ExtraDevice[], { files = [] }: FirmwareOptions): void {
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
}
