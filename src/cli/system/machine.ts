/** From the emulator's configuration to a machine. */
import { resolve } from 'node:path';
import { UserError } from '../../base/index.ts';
import type { AcceleratorName, Machine, MachineOptions } from '../../machine/index.ts';
import { blockOptions, diskOptions, type SystemConfig } from '../../monitor/index.ts';
import { whyNotKvm } from '../create-accelerator.ts';
import { createIncomingMachine, createMachine } from '../create-machine.ts';
import { readUserFile } from '../files.ts';
import type { Reporter } from './report.ts';

/** The first accelerator that works. @throws UserError when none does */
export function chooseAccelerator({ accelerators }: SystemConfig, report: Reporter): AcceleratorName {
  for (const name of accelerators) {
    if (name === 'tcg') {
      if (accelerators[0] !== 'tcg') report.warning('falling back to tcg');
      return name;
    }
    // Where there is a choice, KVM must be able to run whole guests.
    const complaint = whyNotKvm(accelerators.length > 1 ? 'auto' : 'kvm');
    if (complaint === undefined) return 'kvm';
    report.error(`-accel ${name}: failed to initialize ${name}: ${complaint}`);
  }
  throw new UserError(`no accelerator found: say -accel tcg`);
}

/** Undefined with -machine none. */
export async function createSystemMachine(
  config: SystemConfig,
  accelerator: AcceleratorName,
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
    networks: config.nics.map(({ device, netdev, mac }) => ({
      ...config.netdevs.find(({ id }) => id === netdev)!,
      mac,
      slot: device.slot,
    })),
    shares: config.shares.map(({ folder, tag, security, readOnly, device }) => ({
      ...{ folder: resolve(folder), tag, security, readOnly },
      slot: device.slot,
    })),
    rng: rng === undefined ? false : { slot: rng.slot },
    balloon: balloon && { slot: balloon.slot },
    actions: config.actions,
  };
  return config.incoming === undefined ? createMachine(options) : createIncomingMachine(options);
}
