/** Machines in Node: threads are workers, guests run on KVM or on the software CPU. */
import { nodeThreads } from '../host/node/index.ts';
import {
  createIncomingMachineOn,
  createMachineOn,
  type Machine,
  type MachineOptions,
  type RestoreOptions,
  restoreMachineOn,
  type SnapshotSource,
} from '../machine/index.ts';

/** What a machine's thread runs; beside this file, in the sources and when built. */
const THREAD_MODULE = import.meta.url.endsWith('.ts') ? './machine-thread.ts' : './machine-thread.js';

/**
 * Makes a machine in a thread of its own: assembled, its kernel in RAM, not yet running.
 * @throws UserError when an option, the kernel or the initrd is wrong
 */
export function createMachine(options: MachineOptions): Promise<Machine> {
  return createMachineOn(nodeThreads, new URL(THREAD_MODULE, import.meta.url).href, options);
}

/**
 * A machine of that hardware whose RAM and state come from elsewhere: in state `inmigrate`, without its disks.
 * @throws UserError as `createMachine`
 */
export function createIncomingMachine(options: MachineOptions): Promise<Machine> {
  return createIncomingMachineOn(nodeThreads, new URL(THREAD_MODULE, import.meta.url).href, options);
}

/**
 * A machine as it was when a snapshot was taken (`saveMachine`), in a thread of its own; it stands still until `start`.
 * @throws UserError when the snapshot is damaged, or the options do not give what its devices need
 */
export function restoreMachine(source: SnapshotSource, options: RestoreOptions = {}): Promise<Machine> {
  return restoreMachineOn(nodeThreads, new URL(THREAD_MODULE, import.meta.url).href, source, options);
}
