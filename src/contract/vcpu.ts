/**
 * The vCPU joint: what an accelerator gives the board, and what it needs from it.
 * One vCPU and its devices live in one thread; nothing here crosses threads.
 */
import type { Bus } from './bus.ts';
import type { Clock } from './clock.ts';
import type { DeviceRecord } from './device.ts';
import type { GuestMemory } from './memory.ts';

/** The local APIC as its CPU sees it (MMIO reaches it over the bus like any device). */
export interface LocalApic {
  /** Vector that would be delivered now (above TPR and in-service priority, PIC's ExtINT included), or -1. */
  pendingVector(): number;
  /** Takes `pendingVector()`: moves it to in service (or runs the 8259 acknowledge cycle); returns the vector. */
  acknowledge(): number;
  /** IA32_APIC_BASE as two 32-bit halves. */
  readBase(): { low: number; high: number };
  /** Returns false when the value is not allowed (the CPU raises #GP). */
  writeBase(low: number, high: number): boolean;
  /** CR8 (task priority class, 0 to 15). */
  readTpr(): number;
  writeTpr(priorityClass: number): void;
  /** x2APIC MSR 0x800 + index; undefined or false: #GP. */
  readX2apic(index: number): { low: number; high: number } | undefined;
  writeX2apic(index: number, low: number, high: number): boolean;
  /** IA32_TSC_DEADLINE, a 64-bit TSC value as two halves. */
  readTscDeadline(): { low: number; high: number };
  writeTscDeadline(low: number, high: number): void;
  /** INIT or RESET of this CPU: APIC state to its power-up values. */
  reset(): void;
}

/** What the board tells a vCPU. */
export interface CpuSignals {
  /** `pendingVector()` may have become non-negative: stop at the next instruction boundary and look. */
  interruptRequest(): void;
  nmi(): void;
  init(): void;
  /** Startup IPI: starts a waiting CPU at `vector << 12`. */
  startup(vector: number): void;
  /** The A20 gate: false masks physical address bit 20. */
  setA20(enabled: boolean): void;
}

/** Why `run` came back. */
export type RunExit =
  | { readonly kind: 'slice' } // the time slice is over: run timers and the event loop, then come again
  | { readonly kind: 'halt' } // HLT with nothing pending: wait for a timer or an interrupt
  | { readonly kind: 'shutdown'; readonly reason: string } // triple fault; `reason` is one line for people
  | { readonly kind: 'debug' }; // a debugger's breakpoint was reached, or its step is done

/** One guest CPU. */
export interface Vcpu extends CpuSignals {
  /** Runs guest code for about `sliceNanos` of host time, or until it halts or dies. */
  run(sliceNanos: number): RunExit;
  /** During `run`: ends the slice at the next taken branch, because a device wants something of the machine's own loop. */
  stop(): void;
  /** RESET: the architecture's power-up state, at the reset vector. */
  reset(): void;
  /** True when HLT was executed with interrupts off and no NMI can come: nothing will ever wake it but INIT. */
  readonly haltedForever: boolean;
  /** It waits for a startup IPI. */
  readonly isWaitingForStartup: boolean;
  /** Loads the state that a boot protocol asks for. */
  setEntry(entry: BootEntry): void;
  /** When the TSC has the 64-bit value high:low, in the clock's nanoseconds; the guest's own offset is not in it. */
  nanosFromTsc(low: number, high: number): number;
  /** Registers as text, for error messages and the monitor. */
  describe(): string;
  /** What the accelerator has done so far, by names of its own; absent: it does not count. */
  statistics?(): Readonly<Record<string, number>>;
  /** The architecture's state as a record that every accelerator of the architecture takes; between two calls of `run`. */
  snapshot(): DeviceRecord;
  /** Throws a `StateError` naming the field when the record does not fit this CPU. */
  restore(record: DeviceRecord): void;
  /** For debuggers; absent: this accelerator cannot be debugged. */
  readonly debug?: VcpuDebug;
}

/** What a debugger may do with a CPU, between two calls of `run`. */
export interface VcpuDebug {
  /** INT3 at a linear address for which this says true comes back from `run` as `debug`, before it was executed. */
  isBreakpoint: (low: number, high: number) => boolean;
  /** The same addresses, for an accelerator that can also watch some of them without an INT3; set after `isBreakpoint`. */
  watch?(addresses: readonly bigint[]): void;
  /** The next `run` executes one instruction, takes no interrupt before it, and comes back as `debug`. */
  step(): void;
}

/** CPU state at a kernel's entry point, as its boot protocol defines it; interrupts are off in all of them. */
export interface BootEntry {
  /**
   * `long64`: paging on, page tables at `cr3`, flat 64-bit CS (Linux 64-bit boot protocol);
   * `protected32`: paging off, flat 32-bit segments (PVH, multiboot);
   * `real16`: CS base `rip & ~0xFFFF` (BIOS).
   */
  readonly mode: 'long64' | 'protected32' | 'real16';
  readonly rip: number;
  /** General registers by name, e.g. `{ rsi: 0x90000 }`; the others are 0. */
  readonly registers: Readonly<Record<string, number>>;
  readonly cr3?: number;
  /** Guest physical address and limit of a GDT that the loader put in RAM. */
  readonly gdt?: { readonly base: number; readonly limit: number };
  /** Selectors to load when there is a GDT: code, data, and a task register (its base and limit are 0 and 0x67). */
  readonly selectors?: { readonly code: number; readonly data: number; readonly task?: number };
}

/** What an accelerator is given to make vCPUs. */
export interface VcpuEnvironment {
  readonly memory: GuestMemory;
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly clock: Clock;
  readonly apic: LocalApic;
  /** Number of the vCPU, which is its APIC id, and how many there are; default 0 of 1. */
  readonly index?: number;
  readonly count?: number;
}
