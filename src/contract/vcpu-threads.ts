/**
 * vCPUs that run in threads of their own, beside the machine's thread with the
 * devices: what the machine's loop asks of them.
 */
import type { DeviceRecord } from './device.ts';
import type { BootEntry, VcpuDebug } from './vcpu.ts';

/** What happened that ends a machine, or that its loop must know. */
export type VcpuThreadsEvent =
  | { readonly kind: 'shutdown'; readonly cpu: number; readonly reason: string } // triple fault
  | { readonly kind: 'failure'; readonly cpu: number; readonly message: string } // the accelerator cannot go on
  | { readonly kind: 'debug'; readonly cpu: number }; // a breakpoint or a single step: all are stopped

/** The vCPUs of a machine, as its loop uses them. Everything here is called in the machine's thread. */
export interface VcpuThreads {
  readonly count: number;
  readonly running: boolean;
  /** Lets them run. */
  resume(): void;
  /** Returns when none executes guest code any more; what they asked of devices has been answered. */
  pause(): void;
  /** Answers what vCPUs ask of devices; true when there was something. */
  serve(): boolean;
  /** Takes what happened since the last call. */
  takeEvent(): VcpuThreadsEvent | undefined;
  /** While requests come often: looks for the next one for some microseconds; true when there is one. */
  spin(): boolean;
  /**
   * Blocks this thread until a vCPU asks for something, an event counter is signalled, the thread's event loop has
   * something to do, or `nanos` have passed.
   * @returns true when the event loop must have its turn
   */
  wait(nanos: number): boolean;
  /** The first CPU's local APIC, where it is a device of the machine's, may have an interrupt for it. */
  interruptRequest(): void;
  /** A non-maskable interrupt for the first. */
  nmi(): void;
  // What follows reads or writes the state of CPUs: it pauses them if they run.
  /** Power-up state of all, and the first at a boot protocol's entry. */
  reset(entry: BootEntry): void;
  /** True when all wait for interrupts that they do not let in. */
  readonly haltedForever: boolean;
  /** Registers of one as text. */
  describe(cpu?: number): string;
  /** The architecture's state, one record a CPU. */
  snapshot(): DeviceRecord[];
  /** Throws a `StateError` naming the field when a record does not fit. */
  restore(records: readonly DeviceRecord[]): void;
  /** Breakpoints of all CPUs, steps of the first, after which a `debug` event comes. */
  readonly debug: VcpuDebug;
  /** Ends the threads, whatever they are doing. */
  close(): Promise<void>;
}
