/** What may be asked of a machine while it lives, and what it tells by itself. */
import type { DeviceRecord } from '../contract/index.ts';
import type { InputEvent } from '../hw/index.ts';
import type { PlugRequest } from './hotplug.ts';
import type { BlockAnswer } from './parts.ts';

/** As QEMU's run states are called, those that there are. */
export type RunState =
  | StandingState
  | 'running'
  | 'shutdown'
  | 'internal-error'
  | 'debug'
  | 'guest-panicked'
  | 'watchdog';

/** Those in which it stands still because somebody outside wants it to. */
export type StandingState =
  | 'prelaunch'
  | 'paused'
  | 'inmigrate' // its state is still to come
  | 'finish-migrate' // the rest of its state goes
  | 'postmigrate' // it went on elsewhere
  | 'save-vm'
  | 'restore-vm';

/** What the machine does when its guest does something to it as a whole. */
export interface MachineActions {
  /** `pause`: stands still in state `shutdown`, to be looked at, reset or stopped. */
  readonly powerOff: 'end' | 'pause';
  readonly reboot: 'reset' | 'power-off';
  /** A triple fault; `reset` is what a PC does. */
  readonly tripleFault: 'end' | 'reset';
  /** What looks like the end on the console, or is a halt that nothing ends: `end` says so and ends; `ignore` goes on. */
  readonly deadGuest: 'end' | 'ignore';
  /** When the guest reports a panic by its panic device: `fail` ends with exit status 1. */
  readonly panic: 'pause' | 'end' | 'fail' | 'none';
  /** When a watchdog expires: `shutdown` presses the power button. */
  readonly watchdog: 'reset' | 'shutdown' | 'power-off' | 'pause' | 'debug' | 'none' | 'nmi';
}

export const DEFAULT_ACTIONS: MachineActions = {
  powerOff: 'end',
  reboot: 'reset',
  tripleFault: 'end',
  deadGuest: 'end',
  panic: 'end',
  watchdog: 'reset',
};

export type MachineEvent =
  | { readonly kind: 'state'; readonly state: RunState }
  | { readonly kind: 'reset'; readonly byGuest: boolean }
  /** The guest powered itself off, or reset and that ends the machine. */
  | { readonly kind: 'shutdown'; readonly cause: 'guest-shutdown' | 'guest-reset' | 'guest-panic' }
  | { readonly kind: 'power-button' }
  /** By its panic device; `action` is what is done about it. */
  | { readonly kind: 'panicked'; readonly action: MachineActions['panic'] }
  /** Its panic device says that another kernel takes care of the panic. */
  | { readonly kind: 'crash-loaded' }
  | { readonly kind: 'watchdog'; readonly action: MachineActions['watchdog'] }
  /** A device that was plugged in by name is out. */
  | { readonly kind: 'unplugged'; readonly id: string }
  /** Something of QMP's about block nodes, by its name there. */
  | { readonly kind: 'block'; readonly name: string; readonly data: Readonly<Record<string, unknown>> };

/** Requests that one block device has served. Times are host nanoseconds. */
export interface BlockCounters {
  readonly read: BlockCounter;
  readonly write: BlockCounter;
  readonly flush: BlockCounter;
  readonly discard: BlockCounter;
  /** End of the highest write. */
  readonly highestOffset: number;
}
export interface BlockCounter {
  readonly operations: number;
  readonly bytes: number;
  readonly failed: number;
  readonly nanos: number;
}

export interface DiskState {
  /** What the device is called, where it stands on a node. */
  readonly device?: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly counters: BlockCounters;
}

export interface BalloonState {
  /** What the guest has left of its memory. */
  readonly actualBytes: number;
  /** What it has reported as free by itself since its driver started; the same page may count again. */
  readonly reportedBytes: number;
  /** As the guest counts them, by VIRTIO's names (5.5.6.4). */
  readonly statistics: Readonly<Record<string, number>>;
}

/** What is to be done with a snapshot of the machine in its disks. */
export interface VmSnapshotOrder {
  readonly name: string;
  /** The node that has the machine's state, and those that are part of it; default: the first, and all. */
  readonly scope: { readonly vmstate?: string; readonly devices?: readonly string[] };
  /** Saving: one of that name goes away first. */
  readonly replaces: boolean;
  /** The id of the job that it is to be. */
  readonly job?: string;
}

export interface VmSnapshotRow {
  readonly id: string;
  readonly name: string;
  readonly vmStateBytes: number;
  readonly dateSeconds: number;
  readonly vmClockNanos: number;
  readonly instructionCount?: number;
}

/** Argument and result of each command. */
export interface MachineCommands {
  pause: [undefined, undefined];
  /** Stands still from now on, and says that it is for this. */
  stand: [StandingState, undefined];
  /** Lets a paused guest go on. */
  resume: [undefined, undefined];
  reset: [undefined, undefined];
  'press-power-button': [undefined, undefined];
  nmi: [undefined, undefined];
  'set-actions': [Partial<MachineActions>, undefined];
  /** The state of everything but RAM, once nothing is in flight; the machine must stand still. */
  'save-state': [undefined, DeviceRecord];
  /** Into a machine that was made for it and has not run, or whose RAM was replaced (`restore-vm`). */
  'load-state': [DeviceRecord, undefined];
  /** Notes from now on which pages of RAM are written; rejects when the accelerator cannot. */
  'start-dirty-log': [undefined, undefined];
  /** Takes what was noted since, as DirtyLog.take sets it. */
  'take-dirty': [undefined, Uint8Array];
  'stop-dirty-log': [undefined, undefined];
  /** Lets guest code run this many percent of the time less, 0 to 99. */
  throttle: [{ readonly percent: number }, undefined];
  /** Disks are closed, after a flush: another process may open them. The machine must stand still. */
  'release-disks': [undefined, undefined];
  /** Opens them again; rejects, with none open, when one cannot be, e.g. because another process has it. */
  'take-disks': [undefined, undefined];
  /** The CPU's registers as text. */
  'describe-cpu': [undefined, string];
  /** What the accelerator has counted (of the software CPU: TcgStatistics); nothing when it does not count. */
  'accelerator-statistics': [undefined, Readonly<Record<string, number>>];
  /** The first CPU's state, as its architecture's record has it (X86_CPU). */
  'read-cpu': [undefined, DeviceRecord];
  'write-cpu': [DeviceRecord, undefined];
  /** Linear addresses where an INT3 is the debugger's; rejects when the accelerator cannot be debugged. */
  'set-breakpoints': [readonly bigint[], undefined];
  /** Executes one instruction, then stands still in state `debug`. */
  'debug-step': [undefined, undefined];
  /** Guest physical memory; rejects where there is none. */
  'read-memory': [{ readonly address: number; readonly length: number }, Uint8Array];
  'write-memory': [{ readonly address: number; readonly bytes: Uint8Array }, undefined];
  /** In the order of the configuration. */
  disks: [undefined, readonly DiskState[]];
  /**
   * Saves the machine into its disks, or makes it what it was, and lets it go on if it ran; with a job, as one of the
   * node graph's, and the answer comes at once.
   */
  'save-vm': [VmSnapshotOrder, undefined];
  'load-vm': [VmSnapshotOrder, undefined];
  'delete-vm': [VmSnapshotOrder, undefined];
  'list-vms': [undefined, readonly VmSnapshotRow[]];
  /** A QMP command on block nodes; rejects when the disks do not stand on nodes. */
  block: [{ readonly name: string; readonly args: unknown }, BlockAnswer];
  /** Rejects when there is no balloon. */
  balloon: [undefined, BalloonState];
  /** How much memory the guest shall have. */
  'set-balloon': [{ readonly bytes: number }, undefined];
  'refresh-balloon-statistics': [undefined, undefined];
  /**
   * Events that happened together, of one of the configuration's input devices; false: the guest has no room for them
   * now, or no driver, and none was sent.
   */
  'send-input': [{ readonly device: number; readonly events: readonly InputEvent[] }, boolean];
  /** Plugs a device into a PCI bus while the guest may run. Rejects when it cannot be. */
  plug: [PlugRequest, undefined];
  /** Asks the guest to let a device go, by the id of its place; `unplugged` is told when it is out. */
  unplug: [{ readonly id: string }, undefined];
  /** Plugs and unplugs the cable of a network card. */
  'set-link': [{ readonly network: number; readonly up: boolean }, undefined];
}
export type MachineCommandName = keyof MachineCommands;

/** As many breakpoints as a debugger may set. */
export const BREAKPOINTS_MAX = 1024;

/** As many bytes as one read or write of memory moves at most. */
export const MEMORY_TRANSFER_MAX_BYTES = 1024 * 1024;
