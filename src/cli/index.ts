/**
 * Vireo in Node: machines on this computer. This is the package's main module.
 *
 * ```ts
 * import { createMachine, defaultGuest } from 'vireo';
 *
 * const { kernel, initramfs, commandLine } = await defaultGuest();
 * const machine = await createMachine({
 *   memoryBytes: 512 * 1024 ** 2,
 *   boot: { kernel, initrd: initramfs, commandLine },
 * });
 * await machine.start();
 * ```
 */
export { UserError } from '../base/index.ts';
export { type DefaultGuest, type DefaultGuestOptions, defaultGuest } from '../host/node/index.ts';
export type {
  BootOptions,
  DiskOptions,
  Machine,
  MachineExit,
  MachineExitReason,
  MachineOptions,
  NetworkOptions,
  RestoreOptions,
  SerialConsole,
  ShareOptions,
  VsockOptions,
} from '../machine/index.ts';
export { MEMORY_MAX_BYTES, MEMORY_MIN_BYTES, saveMachine } from '../machine/index.ts';
export { createMachine, restoreMachine } from './create-machine.ts';
export { type ExecOptions, type ExecResult, exec } from './exec.ts';
