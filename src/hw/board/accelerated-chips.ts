/**
 * An accelerator's interrupt controllers and timer chip as the devices that a
 * board without them has: the same names, the same records.
 */
import type {
  AcceleratedChips,
  AcceleratedLocalApics,
  Clock,
  Device,
  DeviceRecord,
  LocalApicState,
} from '../../contract/index.ts';
import {
  IO_APIC_STATE,
  LAPIC_STATE,
  type LapicState,
  PIC_STATE,
  Pic8259Pair,
  TIMER_MODE,
  timerDivisor,
} from '../interrupt/index.ts';
import { counterOf, counterOutput, stateOfCounter } from '../timer/pit-counter.ts';
import { PIT_STATE, pitClocks, pitNanos } from '../timer/pit8254.ts';
import { SPEAKER_ON, SYSTEM_CONTROL_B_STATE } from '../timer/system-control-b.ts';
import { ELCR_INITIAL } from './memory-map.ts';

/** The timer's output in the 8259s' and the I/O APIC's inputs. */
const TIMER = { pic: 1, ioApic: 1 << 2 } as const;

/** In the order of restoring. */
export function acceleratedDevices(chips: AcceleratedChips, clock: Clock): Device[] {
  return [
    pic(chips, clock),
    ...localApicDevices(chips, clock, () => picOutput(picRecord(chips, clock))),
    ioApic(chips, clock),
    pit(chips, clock),
    systemControlB(chips),
  ];
}

/** The first of them resets them all. */
function pic(chips: AcceleratedChips, clock: Clock): Device {
  return {
    name: 'pic',
    reset: () => chips.reset(),
    snapshot: () => picRecord(chips, clock),
    restore(record) {
      chips.setPics(PIC_STATE.load(record).chips);
    },
  };
}

/** An accelerator's timer interrupts by edges of its own: here its output is the line. */
function picRecord(chips: AcceleratedChips, clock: Clock): DeviceRecord {
  const [master, slave] = chips.pics();
  const lines = timerIsHigh(chips, clock) ? master.lines | TIMER.pic : master.lines & ~TIMER.pic;
  return PIC_STATE.save({ chips: [{ ...master, lines }, slave].map((chip) => ({ ...chip, single: false })) });
}

function timerIsHigh(chips: AcceleratedChips, clock: Clock): boolean {
  const now = pitClocks(clock.nowNanos());
  const [first] = chips.pit().counters;
  return counterOutput(counterOf(first, pitClocks(first.elapsedNanos), now), now);
}

function ioApic(chips: AcceleratedChips, clock: Clock): Device {
  return {
    name: 'ioapic',
    reset() {},
    snapshot() {
      const { entries, destinations, ...state } = chips.ioApic();
      const lines = (timerIsHigh(chips, clock) ? state.lines | TIMER.ioApic : state.lines & ~TIMER.ioApic) >>> 0;
      return IO_APIC_STATE.save({ ...state, lines, entries: [...entries], destinations: [...destinations] });
    },
    restore(record) {
      chips.setIoApic(IO_APIC_STATE.load(record));
    },
  };
}

/** @param intr of the 8259s: a pin of the first */
export function localApicDevices(apics: AcceleratedLocalApics, clock: Clock, intr: () => boolean): Device[] {
  return Array.from({ length: apics.cpus }, (_, cpu) => localApic(apics, cpu, clock, intr));
}

function localApic(chips: AcceleratedLocalApics, cpu: number, clock: Clock, intr: () => boolean): Device {
  return {
    name: `lapic${cpu}`,
    reset() {}, // with its CPU
    snapshot() {
      const lint0Level = cpu === 0 && intr();
      return LAPIC_STATE.save({ ...localApicState(chips.localApic(cpu), clock.nowNanos()), lint0Level });
    },
    restore(record) {
      chips.setLocalApic(cpu, stateOfLocalApic(LAPIC_STATE.load(record), clock.nowNanos()));
    },
  };
}

/** INTR of the 8259s. */
function picOutput(record: DeviceRecord): boolean {
  let output = false;
  const intr = {
    set(level: boolean) {
      output = level;
    },
  };
  new Pic8259Pair({ name: 'pic', intr, initialElcr: ELCR_INITIAL }).restore(record);
  return output;
}

function localApicState(state: LocalApicState, now: number): LapicState {
  const { inService, triggerMode, requested, lvt, timer, ...registers } = state;
  const { initialCount, currentCount, divide, tscLow, tscHigh, nanosToDeadline } = timer;
  const mode = (lvt[0] >>> 17) & 3;
  const divisor = timerDivisor(divide);
  const counts = mode !== TIMER_MODE.tscDeadline && currentCount > 0;
  const toNext = counts ? currentCount * divisor : mode === TIMER_MODE.tscDeadline ? nanosToDeadline : undefined;
  return {
    ...registers,
    inService: [...inService],
    triggerMode: [...triggerMode],
    requested: [...requested],
    lvt: [...lvt],
    errors: 0,
    timer: {
      ...{ mode, initialCount, divide, tscLow, tscHigh },
      startNanos: now - (initialCount - currentCount) * divisor,
      deadlineNanos: toNext === undefined ? undefined : now + toNext,
    },
    lint0Level: false,
    lint1Level: false,
  };
}

function stateOfLocalApic(state: LapicState, now: number): LocalApicState {
  const { timer, errors: _errors, lint0Level: _lint0, lint1Level: _lint1, ...registers } = state;
  const { mode, initialCount, divide, deadlineNanos, tscLow, tscHigh } = timer;
  const left = deadlineNanos === undefined ? undefined : Math.max(0, deadlineNanos - now);
  const currentCount = mode === TIMER_MODE.tscDeadline ? 0 : Math.ceil((left ?? 0) / timerDivisor(divide));
  return {
    ...registers,
    timer: {
      ...{ initialCount, divide, tscLow, tscHigh },
      currentCount: Math.min(currentCount, initialCount),
      nanosToDeadline: mode === TIMER_MODE.tscDeadline ? left : undefined,
    },
  };
}

function pit(chips: AcceleratedChips, clock: Clock): Device {
  return {
    name: 'pit',
    reset() {},
    snapshot() {
      const now = pitClocks(clock.nowNanos());
      const { counters } = chips.pit();
      return PIT_STATE.save({ counters: counters.map((one) => counterOf(one, pitClocks(one.elapsedNanos), now)) });
    },
    restore(record) {
      const now = pitClocks(clock.nowNanos());
      const { counters } = PIT_STATE.load(record);
      const { speaker } = chips.pit();
      chips.setPit({ counters: counters.map((one) => stateOfCounter(one, now, pitNanos)), speaker });
    },
  };
}

function systemControlB(chips: AcceleratedChips): Device {
  return {
    name: 'system-control-b',
    reset() {},
    snapshot() {
      const { counters, speaker } = chips.pit();
      return SYSTEM_CONTROL_B_STATE.save({ control: (counters[2].gate ? 1 : 0) | (speaker ? SPEAKER_ON : 0) });
    },
    // The gate is the timer's.
    restore(record) {
      const { control } = SYSTEM_CONTROL_B_STATE.load(record);
      chips.setPit({ ...chips.pit(), speaker: (control & SPEAKER_ON) !== 0 });
    },
  };
}
