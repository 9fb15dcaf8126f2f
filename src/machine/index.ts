/** A machine from one typed configuration: assembly and life. */
export type {
  BalloonState,
  BlockCounter,
  BlockCounters,
  DiskState,
  MachineActions,
  MachineCommandName,
  MachineCommands,
  MachineEvent,
  RunState,
  StandingState,
  VmSnapshotOrder,
  VmSnapshotRow,
} from './commands.ts';
export { BREAKPOINTS_MAX, MEMORY_TRANSFER_MAX_BYTES } from './commands.ts';
export type {
  AcceleratorChoice,
  AcceleratorName,
  BlockServiceOptions,
  BootOptions,
  DiskNode,
  DiskOptions,
  MachineOptions,
  NetworkOptions,
  RamOptions,
  ShareOptions,
  VsockOptions,
} from './config.ts';
export {
  ACCELERATOR_CHOICES,
  CPUS_MAX,
  KVM_MEMORY_MAX_BYTES,
  MEMORY_MAX_BYTES,
  MEMORY_MIN_BYTES,
  parseMac,
} from './config.ts';
export type { MachineExit, MachineExitReason } from './exit.ts';
export type { ExtraDevice, FirmwareOptions } from './extra-options.ts';
export type { PlugRequest } from './hotplug.ts';
export type { Machine } from './machine.ts';
export { createIncomingMachineOn, createMachineOn } from './machine.ts';
export { IncomingMachine, migratedMachine, type SentMachine } from './migrate.ts';
export type {
  Accelerator,
  BlockAnswer,
  BlockService,
  CreateAccelerator,
  MachineBackends,
  Network,
  OpenDiskHow,
} from './parts.ts';
export type {
  BalloonOptions,
  BridgeOptions,
  ConsoleOptions,
  ConsolePortOptions,
  InputOptions,
  PciPlace,
} from './pci-options.ts';
export type { SerialConsole } from './serial-streams.ts';
export { serveMachine } from './serve.ts';
export { type RestoreOptions, restoreMachineOn, type SnapshotSource, saveMachine } from './snapshot.ts';
