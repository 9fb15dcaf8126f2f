/**
 * The 8254 programmable interval timer: Intel 82C54 datasheet. Counters are
 * not stepped: a counter remembers when it started and works out its count
 * and its OUT pin from the clock when somebody looks.
 */

import { array, stateTable } from '../../base/index.ts';
import type { Clock, Device, DeviceRecord, IrqLine, Timer } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';
import type { Counter } from './pit-counter.ts';
import {
  COUNTER,
  counterOutput,
  freshCounter,
  latchCount,
  latchStatus,
  nextRise,
  readCounter,
  setGate,
  setMode,
  writeCounter,
} from './pit-counter.ts';

const FREQUENCY_HZ = 1_193_182;
const READ_BACK = 3;
const CONTROL_OFFSET = 3;

export const PIT_STATE = stateTable({ counters: array(3, COUNTER) });

export class Pit8254 implements Device, ByteRegisters {
  readonly name: string;
  readonly #irq: IrqLine;
  readonly #clock: Clock;
  readonly #timer: Timer;
  #counters: Counter[] = freshCounters();

  /** @param options.irq OUT of counter 0 */
  constructor(options: { name: string; irq: IrqLine; clock: Clock }) {
    this.name = options.name;
    this.#irq = options.irq;
    this.#clock = options.clock;
    this.#timer = options.clock.createTimer(() => this.#rise());
  }

  reset(): void {
    this.#counters = freshCounters();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return PIT_STATE.save({ counters: this.#counters });
  }

  restore(record: DeviceRecord): void {
    this.#counters = PIT_STATE.load(record).counters;
    this.#update();
  }

  /** GATE of counter 2 (port 61h bit 0); the gates of 0 and 1 are tied high. */
  setGate2(level: boolean): void {
    setGate(this.#counters[2], level, this.#ticks());
  }

  /** OUT of counter 2 (port 61h bit 5). */
  output2(): boolean {
    return counterOutput(this.#counters[2], this.#ticks());
  }

  readByte(offset: number): number {
    return offset === CONTROL_OFFSET ? 0xff : readCounter(this.#counters[offset], this.#ticks());
  }

  writeByte(offset: number, value: number): void {
    this.#catchUp();
    if (offset === CONTROL_OFFSET) this.#writeControl(value);
    else writeCounter(this.#counters[offset], value, this.#ticks());
    this.#update();
  }

  #writeControl(value: number): void {
    const now = this.#ticks();
    const select = value >> 6;
    if (select !== READ_BACK) {
      if (value & 0x30) setMode(this.#counters[select], value);
      else latchCount(this.#counters[select], now);
      return;
    }
    for (const [i, counter] of this.#counters.entries()) {
      if (!(value & (2 << i))) continue;
      if (!(value & 0x20)) latchCount(counter, now);
      if (!(value & 0x10)) latchStatus(counter, now);
    }
  }

  /** An edge that is due but whose timer has not fired yet comes before what changes the counter. */
  #catchUp(): void {
    const due = this.#timer.deadlineNanos;
    if (due !== undefined && due <= this.#clock.nowNanos()) this.#rise();
  }

  /** However many edges have passed, the interrupt controller sees one. */
  #rise(): void {
    this.#irq.set(false);
    this.#irq.set(true);
    this.#update();
  }

  #update(): void {
    const counter = this.#counters[0];
    const now = this.#ticks();
    this.#irq.set(counterOutput(counter, now));
    const rise = nextRise(counter, now);
    if (rise === undefined) this.#timer.cancel();
    else this.#timer.arm(Math.ceil((rise * 1e9) / FREQUENCY_HZ));
  }

  /** Whole input clocks since the machine started. */
  #ticks(): number {
    return pitClocks(this.#clock.nowNanos());
  }
}

/** Whole input clocks in a time. */
export function pitClocks(nanos: number): number {
  return Math.floor((nanos * FREQUENCY_HZ) / 1e9);
}

export function pitNanos(clocks: number): number {
  return (clocks * 1e9) / FREQUENCY_HZ;
}

function freshCounters(): Counter[] {
  return [freshCounter(true), freshCounter(true), freshCounter(false)];
}
