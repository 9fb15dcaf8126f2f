/**
 * A PC's interrupt controllers and timer chip as plain state, where an accelerator has them: what a board whose chips
 * are its own keeps too, so that a snapshot taken with the one goes on with the other.
 */

/** One 8259A; sets are a bit an input. */
export interface Pic8259State {
  readonly lines: number;
  /** Edges seen and not yet acknowledged. */
  readonly edges: number;
  readonly levelTriggered: number;
  readonly mask: number;
  readonly inService: number;
  readonly vectorBase: number;
  /** The command word that the next write to the odd port is. */
  readonly expects: 'ocw1' | 'icw2' | 'icw3' | 'icw4';
  readonly needsIcw4: boolean;
  readonly autoEoi: boolean;
  readonly rotateOnAutoEoi: boolean;
  readonly specialMask: boolean;
  readonly specialFullyNested: boolean;
  readonly poll: boolean;
  readonly readInService: boolean;
  /** The input with the highest priority now. */
  readonly highestPriority: number;
}

export interface IoApicState {
  readonly id: number;
  readonly select: number;
  /** Lower halves of the redirection entries, a pin each. */
  readonly entries: readonly number[];
  /** Upper halves. */
  readonly destinations: readonly number[];
  /** Pin levels, one bit a pin. */
  readonly lines: number;
}

/** Registers as the SDM names them (vol. 3, table 11-1); sets of vectors are eight words. */
export interface LocalApicState {
  /** IA32_APIC_BASE, low half. */
  readonly base: number;
  readonly taskPriority: number;
  readonly logicalDestination: number;
  readonly destinationFormat: number;
  readonly spurious: number;
  readonly inService: readonly number[];
  readonly triggerMode: readonly number[];
  readonly requested: readonly number[];
  readonly shownErrors: number;
  readonly commandLow: number;
  readonly commandHigh: number;
  /** Timer, thermal, performance, LINT0, LINT1, error. */
  readonly lvt: readonly number[];
  readonly timer: LocalApicTimerState;
}

/** Its input clock has a period of a nanosecond. */
export interface LocalApicTimerState {
  readonly initialCount: number;
  readonly currentCount: number;
  /** The divide configuration register. */
  readonly divide: number;
  /** IA32_TSC_DEADLINE. */
  readonly tscLow: number;
  readonly tscHigh: number;
  /** Until that deadline, while there is one. */
  readonly nanosToDeadline: number | undefined;
}

/** One counter of the 8254. */
export interface PitCounterState {
  readonly mode: number;
  readonly bcd: boolean;
  /** RW1 and RW0 of the control word: 1 low byte, 2 high byte, 3 low then high. */
  readonly access: number;
  readonly gate: boolean;
  /** Clocks, 1 to 65536; undefined from the control word to the first count. */
  readonly count: number | undefined;
  /** Since the count began. */
  readonly elapsedNanos: number;
  /** The low byte of a count whose high byte is to come. */
  readonly writtenLow: number | undefined;
  readonly readHighNext: boolean;
  readonly latchedStatus: number | undefined;
  /** Bytes still to be read. */
  readonly latchedCount: readonly number[];
}

export interface PitState {
  readonly counters: readonly PitCounterState[];
  /** Port 61h, bit 1. */
  readonly speaker: boolean;
}

/** An accelerator's local APICs, while its CPUs stand still. */
export interface AcceleratedLocalApics {
  /** How many there are. */
  readonly cpus: number;
  localApic(cpu: number): LocalApicState;
  /** Takes effect when the state of the CPUs is restored. */
  setLocalApic(cpu: number, state: LocalApicState): void;
}

/** All the chips of an accelerator, likewise. */
export interface AcceleratedChips extends AcceleratedLocalApics {
  /** Power-up state of all but the local APICs, which go with their CPUs. */
  reset(): void;
  /** Master and slave. */
  pics(): readonly Pic8259State[];
  setPics(states: readonly Pic8259State[]): void;
  ioApic(): IoApicState;
  setIoApic(state: IoApicState): void;
  pit(): PitState;
  /** A running counter begins its count again where the accelerator cannot begin in the middle. */
  setPit(state: PitState): void;
}
