/**
 * One counter of the 8254: Intel 82C54 datasheet, "Mode Definitions". `now` is
 * always the number of input clocks since the machine started.
 */

import type { StateOf } from '../../base/index.ts';
import { bool, int, list, optional, stateTable, u8 } from '../../base/index.ts';
import type { PitCounterState } from '../../contract/index.ts';

const MAX_COUNT = 0x1_0000;
const MAX_TICKS = Number.MAX_SAFE_INTEGER;
/** Periods shorter than this (20 microseconds) are told as every so many edges, to keep the host alive. */
const MIN_PERIOD_TICKS = 24;

export const COUNTER = stateTable({
  mode: int(0, 5, 0),
  bcd: bool(),
  /** RW1 and RW0 of the control word: 1 low byte, 2 high byte, 3 low then high. */
  access: int(1, 3, 3),
  gate: bool(),
  /** What was last written, in clocks; takes effect as the mode says. */
  reload: int(1, MAX_COUNT, MAX_COUNT),
  /** The count that runs now, in clocks. */
  count: int(1, MAX_COUNT, MAX_COUNT),
  /** False from the control word to the first count. */
  loaded: bool(),
  /** Counting since `startTick`; otherwise stopped after `elapsed` clocks. */
  running: bool(),
  startTick: int(-MAX_TICKS, MAX_TICKS, 0),
  elapsed: int(0, MAX_TICKS, 0),
  /** The low byte of a count whose high byte is to come. */
  writtenLow: optional(u8()),
  readHighNext: bool(),
  latchedStatus: optional(u8()),
  latchedCount: list(2, u8()),
});
export type Counter = StateOf<typeof COUNTER>;

const TRIGGERED_MODES: readonly number[] = [1, 5];

/** A counter as it is told outside, to and from one that starts at a tick. @param now in input clocks */
export function counterOf(state: PitCounterState, elapsedClocks: number, now: number): Counter {
  const { count, mode, gate } = state;
  const loaded = count !== undefined;
  const running = loaded && (gate || TRIGGERED_MODES.includes(mode));
  return {
    mode,
    bcd: state.bcd,
    access: state.access,
    gate,
    reload: count ?? MAX_COUNT,
    count: count ?? MAX_COUNT,
    loaded,
    running,
    startTick: running ? now - elapsedClocks : 0,
    elapsed: running ? 0 : elapsedClocks,
    writtenLow: state.writtenLow,
    readHighNext: state.readHighNext,
    latchedStatus: state.latchedStatus,
    latchedCount: [...state.latchedCount],
  };
}

/** @param nanosOf of a number of input clocks */
export function stateOfCounter(counter: Counter, now: number, nanosOf: (clocks: number) => number): PitCounterState {
  const { count, passed } = runningPeriod(counter, now);
  const { mode, bcd, access, gate, loaded, writtenLow, readHighNext, latchedStatus, latchedCount } = counter;
  return {
    ...{ mode, bcd, access, gate },
    count: loaded ? count : undefined,
    elapsedNanos: loaded ? nanosOf(passed) : 0,
    ...{ writtenLow, readHighNext, latchedStatus, latchedCount },
  };
}

export function freshCounter(gate: boolean): Counter {
  return { ...COUNTER.initial(), gate };
}

/** Writes a control word that is not a latch command. */
export function setMode(counter: Counter, control: number): void {
  const mode = (control >> 1) & 7;
  Object.assign(counter, freshCounter(counter.gate), {
    mode: mode > 5 ? mode - 4 : mode,
    bcd: (control & 1) !== 0,
    access: (control >> 4) & 3,
  });
}

export function writeCounter(counter: Counter, value: number, now: number): void {
  if (counter.access === 3 && counter.writtenLow === undefined) {
    counter.writtenLow = value;
    if (counter.mode === 0) counter.loaded = false; // the first byte stops counting
    return;
  }
  const low = counter.access === 2 ? 0 : (counter.writtenLow ?? value);
  const high = counter.access === 1 ? 0 : value;
  counter.writtenLow = undefined;
  settle(counter, now);
  counter.reload = toClocks((high << 8) | low, counter.bcd);
  const triggered = counter.mode === 1 || counter.mode === 5;
  const keepsPeriod = counter.loaded && counter.mode >= 1 && counter.mode !== 4;
  counter.loaded = true;
  if (keepsPeriod) return;
  counter.count = counter.reload;
  start(counter, now, counter.gate && !triggered);
}

export function readCounter(counter: Counter, now: number): number {
  if (counter.latchedStatus !== undefined) {
    const status = counter.latchedStatus;
    counter.latchedStatus = undefined;
    return status;
  }
  const latched = counter.latchedCount.shift();
  if (latched !== undefined) return latched;
  const count = visibleCount(counter, now);
  if (counter.access === 1) return count & 0xff;
  if (counter.access === 2) return count >> 8;
  counter.readHighNext = !counter.readHighNext;
  return counter.readHighNext ? count & 0xff : count >> 8;
}

/** A second latch before the first is read does nothing. */
export function latchCount(counter: Counter, now: number): void {
  if (counter.latchedCount.length > 0) return;
  const count = visibleCount(counter, now);
  const both = [count & 0xff, count >> 8];
  counter.latchedCount = counter.access === 3 ? both : [both[counter.access - 1]];
}

export function latchStatus(counter: Counter, now: number): void {
  if (counter.latchedStatus !== undefined) return;
  const nullCount = !counter.loaded || counter.reload !== runningPeriod(counter, now).count;
  counter.latchedStatus =
    (counterOutput(counter, now) ? 0x80 : 0) |
    (nullCount ? 0x40 : 0) |
    (counter.access << 4) |
    (counter.mode << 1) |
    (counter.bcd ? 1 : 0);
}

export function setGate(counter: Counter, level: boolean, now: number): void {
  if (counter.gate === level) return;
  settle(counter, now);
  counter.gate = level;
  if (!counter.loaded) return;
  const { mode } = counter;
  if (mode === 0 || mode === 4) {
    counter.elapsed = elapsed(counter, now);
    counter.running = level;
    counter.startTick = now - counter.elapsed;
  } else if (level) {
    counter.count = counter.reload;
    start(counter, now, true);
  } else if (mode === 2 || mode === 3) {
    counter.elapsed = elapsed(counter, now) % counter.count;
    counter.running = false;
  }
}

/** The OUT pin. */
export function counterOutput(counter: Counter, now: number): boolean {
  if (!counter.loaded) return counter.mode !== 0;
  const { mode, running } = counter;
  const { count, passed } = runningPeriod(counter, now);
  if (mode === 0) return passed >= count;
  if (mode === 4) return passed !== count;
  if (!running) return true;
  if (mode === 1) return passed >= count;
  if (mode === 5) return passed !== count;
  const phase = passed % count;
  return mode === 2 ? phase !== count - 1 : phase < highHalf(count);
}

/** The clock at which OUT next goes high by counting alone. */
export function nextRise(counter: Counter, now: number): number | undefined {
  if (!counter.loaded || !counter.running) return undefined;
  const { mode } = counter;
  const { count, passed } = runningPeriod(counter, now);
  if (mode === 2 || mode === 3) {
    const step = count * Math.ceil(MIN_PERIOD_TICKS / count);
    return now - passed + (Math.floor(passed / step) + 1) * step;
  }
  const rise = mode < 2 ? count : count + 1;
  return passed < rise ? now - passed + rise : undefined;
}

/** Periodic modes take a new count at the end of a period: the count that runs now, and the clocks since its start. */
function runningPeriod(counter: Counter, now: number): { count: number; passed: number } {
  const { mode, count, reload, running } = counter;
  const passed = elapsed(counter, now);
  const over = (mode === 2 || mode === 3) && running && reload !== count && passed >= count;
  return over ? { count: reload, passed: passed - count } : { count, passed };
}

/** Writes down what `runningPeriod` works out, before something else changes. */
function settle(counter: Counter, now: number): void {
  const { count, passed } = runningPeriod(counter, now);
  counter.count = count;
  if (counter.running) counter.startTick = now - passed;
}

function start(counter: Counter, now: number, running: boolean): void {
  counter.running = running;
  counter.startTick = now;
  counter.elapsed = 0;
}

function elapsed(counter: Counter, now: number): number {
  return counter.running ? now - counter.startTick : counter.elapsed;
}

function highHalf(count: number): number {
  return (count + 1) >> 1;
}

/** The counting element as the guest reads it, 16 bits. */
function visibleCount(counter: Counter, now: number): number {
  const { mode } = counter;
  const { count, passed } = runningPeriod(counter, now);
  let left = count - passed;
  if (mode === 2) left = count - (passed % count);
  if (mode === 3) left = count - ((2 * passed) % count);
  return fromClocks(left, counter.bcd);
}

function toClocks(written: number, bcd: boolean): number {
  if (!bcd) return written === 0 ? 0x1_0000 : written;
  const digits = [12, 8, 4, 0].map((shift) => (written >> shift) & 0xf);
  const value = digits.reduce((sum, digit) => sum * 10 + digit, 0);
  return value === 0 ? 10_000 : value;
}

function fromClocks(clocks: number, bcd: boolean): number {
  const modulus = bcd ? 10_000 : 0x1_0000;
  const wrapped = ((clocks % modulus) + modulus) % modulus;
  if (!bcd) return wrapped;
  const digit = (unit: number) => Math.floor(wrapped / unit) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}
