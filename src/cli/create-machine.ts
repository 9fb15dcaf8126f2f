/** Machines in Node: threads are workers, guests run on KVM or on the software CPU. */
import type { ThreadHost } from '../contract/index.ts';
import { nodeThreads } from '../host/node/machine.ts';
import {
  createIncomingMachineOn,
  createMachineOn,
  type Machine,
  type MachineOptions,
  type RestoreOptions,
  restoreMachineOn,
  type SnapshotSource,
} from '../machine/index.ts';
import { MACHINE_THREAD } from './machine-threads.ts';

/**
 * Makes a machine in a thread of its own: assembled, its kernel in RAM, not yet running.
 * @param threads default: this computer's
 * @throws UserError when an option, the kernel or the initrd is wrong
 */
export function createMachine(options: MachineOptions, threads: ThreadHost = nodeThreads): Promise<Machine> {
  return createMachineOn(threads, MACHINE_THREAD, options);
}

/**
 * A machine of that hardware whose RAM and state come from elsewhere: in state `inmigrate`, without its disks.
 * @throws UserError as `createMachine`
 */
export function createIncomingMachine(options: MachineOptions, threads: ThreadHost = nodeThreads): Promise<Machine> {
  return createIncomingMachineOn(threads, MACHINE_THREAD, options);
}

/**
 * A machine as it was when a snapshot was taken (`saveMachine`), in a thread of its own; it stands still until `start`.
 * @throws UserError when the snapshot is damaged, or the options do not give what its devices need
 */
export function restoreMachine(
  source: SnapshotSource,
  options: RestoreOptions = {},
  threads: ThreadHost = nodeThreads,
): Promise<Machine> {
  return restoreMachineOn(threads, MACHINE_THREAD, source, options);
}
