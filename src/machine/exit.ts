/** Why a machine ended. */

export type MachineExitReason =
  | 'poweroff' // the guest powered itself off
  | 'reset' // the guest reset itself, and noReboot was asked for
  | 'shutdown' // triple fault
  | 'halted' // HLT that nothing can end
  | 'panic' // the guest's Linux kernel panicked
  | 'debug-exit' // a write to the debug-exit port; `code` has the exit status
  | 'stopped' // `stop` was called
  | 'error'; // our own failure

export interface MachineExit {
  readonly reason: MachineExitReason;
  /** With 'debug-exit': the exit status, as QEMU makes it: (value written × 2 + 1) modulo 256. */
  readonly code?: number;
  /** For people, one line. */
  readonly message: string;
  /** With 'shutdown' and 'halted' the CPU's registers, with 'error' the stack; for those who look for the cause. */
  readonly details?: string;
  /** What the accelerator has counted, as `accelerator-statistics` tells it of a running machine. */
  readonly statistics?: Readonly<Record<string, number>>;
}
