/** The messages between a machine's thread and the thread that made it. */
import type { GuestMemory } from '../contract/index.ts';
import type { MachineCommandName, MachineEvent } from './commands.ts';
import type { AcceleratorName, MachineConfig } from './config.ts';
import type { MachineExit } from './exit.ts';

/** The guest's RAM, which both sides share. */
export type MachineMemory = Pick<GuestMemory, 'buffer' | 'ranges' | 'memory'>;

export type ToMachine =
  | { readonly kind: 'create'; readonly config: MachineConfig }
  | { readonly kind: 'start' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'command'; readonly id: number; readonly name: MachineCommandName; readonly argument: unknown }
  | { readonly kind: 'serial-input'; readonly port: number; readonly bytes: Uint8Array }
  /** `count` bytes of output were read or dropped: the machine may send as many more. */
  | { readonly kind: 'serial-output-taken'; readonly port: number; readonly count: number };

export type FromMachine =
  | {
      readonly kind: 'created';
      readonly memory: MachineMemory;
      readonly name?: AcceleratorName;
      readonly note?: string;
    }
  /** `forUser`: the message is a UserError's. */
  | { readonly kind: 'failed'; readonly forUser: boolean; readonly message: string }
  | { readonly kind: 'serial-output'; readonly port: number; readonly bytes: Uint8Array }
  /** The device took `count` bytes of input. */
  | { readonly kind: 'serial-input-taken'; readonly port: number; readonly count: number }
  | { readonly kind: 'event'; readonly event: MachineEvent }
  /** The answer to the command of that id: a result, or what was wrong with it. */
  | { readonly kind: 'answer'; readonly id: number; readonly result?: unknown; readonly failure?: string }
  | { readonly kind: 'exited'; readonly exit: MachineExit };

export const SERIAL_PORTS = 4;
/** A machine whose output is not taken stops running the guest at this many bytes a port. */
export const OUTPUT_LIMIT_BYTES = 256 * 1024;
/** Input that no device has taken yet, at most, a port. */
export const INPUT_LIMIT_BYTES = 64 * 1024;
