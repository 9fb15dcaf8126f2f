/** Port 61h, NMI status and control: ICH9 datasheet, 13.7.1. The PC speaker itself is silent. */

import { int, stateTable } from '../../base/index.ts';
import type { Clock, Device, DeviceRecord } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';

const GATE2 = 0x01;
export const SPEAKER_ON = 0x02;
const REFRESH_TOGGLE = 0x10;
const OUTPUT2 = 0x20;
const WRITABLE = 0x0f;
/** DRAM refresh: bit 4 changes about every 15 microseconds, and old software waits by it. */
const REFRESH_NANOS = 15_085;

export const SYSTEM_CONTROL_B_STATE = stateTable({ control: int(0, WRITABLE, 0) });

/** The two pins of the timer that the port reaches. */
export interface SpeakerTimer {
  setGate2(level: boolean): void;
  output2(): boolean;
}

export class SystemControlB implements Device, ByteRegisters {
  readonly name = 'system-control-b';
  readonly #timer: SpeakerTimer;
  readonly #clock: Clock;
  #state = SYSTEM_CONTROL_B_STATE.initial();

  constructor(options: { timer: SpeakerTimer; clock: Clock }) {
    this.#timer = options.timer;
    this.#clock = options.clock;
  }

  reset(): void {
    this.#state = SYSTEM_CONTROL_B_STATE.initial();
    this.#update();
  }

  snapshot(): DeviceRecord {
    return SYSTEM_CONTROL_B_STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = SYSTEM_CONTROL_B_STATE.load(record);
    this.#update();
  }

  readByte(): number {
    const refresh = Math.floor(this.#clock.nowNanos() / REFRESH_NANOS) & 1 ? REFRESH_TOGGLE : 0;
    return this.#state.control | refresh | (this.#timer.output2() ? OUTPUT2 : 0);
  }

  writeByte(_offset: number, value: number): void {
    this.#state.control = value & WRITABLE;
    this.#update();
  }

  #update(): void {
    this.#timer.setGate2((this.#state.control & GATE2) !== 0);
  }
}
