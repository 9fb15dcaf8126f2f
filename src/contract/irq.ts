import type { AcceleratedChips, AcceleratedLocalApics } from './chips.ts';
import type { LocalApic } from './vcpu.ts';

/** The interrupt joint: one level-triggered wire. */
export interface IrqLine {
  /** Drives the wire. Setting the level it already has does nothing. */
  set(level: boolean): void;
}

/** Where a message-signalled interrupt goes (MSI, IOAPIC, another local APIC). */
export interface MsiSink {
  /**
   * @param address 32-bit message address, 0xFEExxxxx (Intel SDM vol. 3, 11.11.1)
   * @param data message data: vector, delivery mode, trigger mode (11.11.2)
   */
  send(address: number, data: number): void;
}

/** The 8259 pair as the CPU sees it: the INTR pin and its acknowledge cycle. */
export interface ExternalInterrupts {
  /** True while the INTR pin is high. */
  pending(): boolean;
  /** Runs the acknowledge cycle; returns the vector, 0 to 255. */
  acknowledge(): number;
}

/** Interrupt controllers that the accelerator brings: all of them, or the local APICs alone. */
export type InterruptControllers = WholeInterruptControllers | SplitInterruptControllers;

/** Local APICs of the accelerator; the 8259s, the I/O APIC and the timer chip are the board's. */
export interface SplitInterruptControllers {
  readonly kind: 'split';
  readonly msi: MsiSink;
  /** INTR of the board's 8259s. */
  readonly external: IrqLine;
  readonly localApics: AcceleratedLocalApics;
  /** Stands in where a board names its CPU's local APIC. */
  readonly apic: LocalApic;
  /**
   * Once, before CPUs run.
   * @param external the 8259s, for the first CPU's acknowledge cycles
   * @param onEoi told of the ends of level-triggered interrupts that an I/O APIC's pin may have sent
   */
  connect(external: ExternalInterrupts, onEoi: (vector: number) => void): void;
  /** What the I/O APIC's pins send, by number; undefined for one that sends nothing. */
  setIoApicMessages(messages: readonly ({ readonly address: number; readonly data: number } | undefined)[]): void;
}

/** The board wires its lines to these instead of its own. */
export interface WholeInterruptControllers {
  readonly kind: 'whole';
  /** An input of the 8259 pair, 0 to 15. */
  pic(irq: number): IrqLine;
  /** A pin of the I/O APIC, 0 to 23. */
  ioApic(pin: number): IrqLine;
  readonly msi: MsiSink;
  /** Their state, and that of the timer chip that comes with them (8254, ports 40h to 43h and 61h). */
  readonly chips: AcceleratedChips;
  /** Stands in where a board names its CPU's local APIC. */
  readonly apic: LocalApic;
}

/** Counts a guest's writes to some addresses without the CPU that writes having to wait. */
export interface Doorbells {
  /**
   * @param address guest physical address of the doorbell
   * @param onRing called in the machine's thread, once or more for any number of writes
   * @returns how to take it away again; undefined when there are no more, and writes go over the bus as others do
   */
  bind(address: number, onRing: () => void): (() => void) | undefined;
}
