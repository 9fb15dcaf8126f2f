/** From the emulator's configuration to a machine. */
import { resolve } from 'node:path';
import { UserError } from '../../base/index.ts';
import type { ThreadHost } from '../../contract/index.ts';
import { ownAcpiTable } from '../../hw/index.ts';
import type { AcceleratorName, FirmwareOptions, Machine, MachineOptions } from '../../machine/index.ts';
import {
  blockOptions,
  diskOptions,
  networkOptions,
  otherDevices,
  placeOf,
  type SystemConfig,
} from '../../monitor/index.ts';
import { whyNotKvm } from '../create-accelerator.ts';
import { createIncomingMachine, createMachine } from '../create-machine.ts';
import { readUserFile } from '../files.ts';
import type { Reporter } from './report.ts';

/** The first accelerator that works. @throws UserError when none does */
export async function chooseAccelerator({ accelerators }: SystemConfig, report: Reporter): Promise<AcceleratorName> {
  for (const name of accelerators) {
    if (name === 'tcg') {
      if (accelerators[0] !== 'tcg') report.warning('falling back to tcg');
      return name;
    }
    // Where there is a choice, KVM must be able to run whole guests.
    const complaint = await whyNotKvm(accelerators.length > 1 ? 'auto' : 'kvm');
    if (complaint === undefined) return 'kvm';
    report.error(`-accel ${name}: failed to initialize ${name}: ${complaint}`);
  }
  throw new UserError(`no accelerator found: say -accel tcg`);
}

/** Undefined with -machine none. */
export async function createSystemMachine(
  config: SystemConfig,
  accelerator: AcceleratorName,
  threads?: ThreadHost,
): Promise<Machine | undefined> {
  if (config.machine === 'none') return undefined;
  const { memoryBytes, kernel, initrd, append, balloon, rng } = config;
  const options: MachineOptions = {
    memoryBytes,
    cpu: config.cpu,
    cpus: config.smp.cpus,
    accel: [accelerator],
    kernelIrqchip: config.kernelIrqchip,
    ram: config.ram,
    boot: {
      kernel: await readUserFile('kernel', kernel!, memoryBytes),
      initrd: initrd === undefined ? undefined : await readUserFile('initrd', initrd, memoryBytes),
      commandLine: append,
    },
    noReboot: config.noReboot,
    disks: config.disks.map((disk) => diskOptions(config, disk)),
    block: blockOptions(config),
    networks: config.nics.map((nic) => networkOptions(config, nic)),
    shares: config.shares.map(({ folder, tag, security, readOnly, device }) => ({
      ...{ folder: resolve(folder), tag, security, readOnly },
      ...placeOf(device),
    })),
    rng: rng === undefined ? false : placeOf(rng),
    balloon: balloon && placeOf(balloon),
    ...otherDevices(config),
    firmware: await firmwareOptions(config),
    pciHotplug: config.machine.startsWith('pc-i440fx'),
    actions: config.actions,
  };
  return config.incoming === undefined ? createMachine(options, threads) : createIncomingMachine(options, threads);
}

const FIRMWARE_FILE_MAX_BYTES = 64 * 2 ** 20;

/** What -fw_cfg, -smbios and -acpitable name, read. */
async function firmwareOptions({ fwCfg, smbios, acpiTables, uuid, machine }: SystemConfig): Promise<FirmwareOptions> {
  const read = (what: string, path: string) => readUserFile(what, path, FIRMWARE_FILE_MAX_BYTES);
  const files: { name: string; bytes: Uint8Array }[] = [];
  for (const { name, content } of fwCfg) {
    const bytes = 'file' in content ? await read('fw_cfg file', content.file) : new TextEncoder().encode(content.text);
    files.push({ name, bytes });
  }
  const raw = await Promise.all(smbios.files.map((path) => read('SMBIOS file', path)));
  const tables: Uint8Array[] = [];
  for (const { files: paths, isWhole, text } of acpiTables) {
    const parts = await Promise.all(paths.map((path) => read('ACPI table', path)));
    tables.push(ownAcpiTable(new Uint8Array(Buffer.concat(parts)), isWhole, text));
  }
  const { fields, oemStrings } = smbios;
  const product = machine.startsWith('pc-q35') ? 'Standard PC (Q35 + ICH9, 2009)' : 'Standard PC (i440FX + PIIX, 1996)';
  return { files, acpiTables: tables, smbios: { fields, oemStrings, raw, uuid, product } };
}
