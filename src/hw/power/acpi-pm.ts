/**
 * ACPI fixed hardware as the ICH9 has it: PM1 event and control blocks, PM
 * timer, GPE0, and the SMI command port that turns ACPI mode on. ICH9
 * datasheet, 13.8.3; ACPI specification 6.5, 4.8.
 */

import type { StateOf } from '../../base/index.ts';
import { int, mergeBits, optional, stateTable, u8, u16, u32 } from '../../base/index.ts';
import type { BusDevice, Clock, Device, DeviceRecord, IrqLine, Timer } from '../../contract/index.ts';
import { byteWide, registerWindow } from '../bus/index.ts';

const TIMER_HZ = 3_579_545;
const TIMER_BITS = 24;
/** TMR_STS rises whenever the timer's top bit changes. */
const HALF_TIMER_TICKS = 2 ** (TIMER_BITS - 1);

const STATUS = { timer: 0x0001, globalLock: 0x0020, powerButton: 0x0100, rtc: 0x0400, wake: 0x8000 };
const STATUS_BITS = STATUS.timer | STATUS.globalLock | STATUS.powerButton | STATUS.rtc | STATUS.wake;
const ENABLE_BITS = STATUS.timer | STATUS.globalLock | STATUS.powerButton | STATUS.rtc;
const CONTROL = { sciEnable: 0x0001, sleepEnable: 0x2000 };
const CONTROL_BITS = 0x1c03;

const STATE = stateTable({
  status: u16(),
  enable: u16(),
  control: u16(),
  gpeStatus: u32(),
  gpeEnable: u32(),
  smiEnable: u32(),
  smiStatusPort: u8(),
  /** The half-period of the timer that was last looked at. */
  seenHalf: optional(int(0, Number.MAX_SAFE_INTEGER, 0)),
});

export interface AcpiPmOptions {
  readonly name: string;
  /** The system control interrupt, level triggered. */
  readonly sci: IrqLine;
  readonly clock: Clock;
  /** SLP_TYP that means soft off. */
  readonly sleepTypeS5: number;
  readonly enableValue: number;
  readonly disableValue: number;
  readonly powerOff: () => void;
}

export class AcpiPm implements Device {
  readonly name: string;
  /** 128 ports at PMBASE. */
  readonly registers: BusDevice;
  /** Ports B2h and B3h. */
  readonly smiPorts: BusDevice;
  readonly #options: AcpiPmOptions;
  readonly #timer: Timer;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(options: AcpiPmOptions) {
    this.name = options.name;
    this.#options = options;
    this.#timer = options.clock.createTimer(() => this.#update());
    this.registers = this.#rows();
    this.smiPorts = byteWide({
      readByte: (offset) => (offset === 1 ? this.#state.smiStatusPort : 0),
      writeByte: (offset, value) => this.#writeSmiPort(offset, value),
    });
  }

  reset(): void {
    this.#state = STATE.initial();
    this.#options.sci.set(false);
    this.#timer.cancel();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  /** Asks the guest to shut down. */
  pressPowerButton(): void {
    this.#state.status |= STATUS.powerButton;
    this.#update();
  }

  /** Raises general-purpose event 0 to 31. */
  raiseEvent(index: number): void {
    this.#state.gpeStatus = (this.#state.gpeStatus | (1 << index)) >>> 0;
    this.#update();
  }

  #rows(): BusDevice {
    const state = () => this.#state;
    const changed =
      <T>(change: (value: number, mask: number) => T) =>
      (value: number, mask: number) => {
        change(value, mask);
        this.#update();
      };
    return registerWindow(0x80, [
      {
        name: 'PM1_STS',
        offset: 0x00,
        width: 2,
        read: () => this.#readStatus(),
        write: changed((value) => (state().status = this.#readStatus() & ~value & STATUS_BITS)),
      },
      {
        name: 'PM1_EN',
        offset: 0x02,
        width: 2,
        read: () => state().enable,
        write: changed((value, mask) => (state().enable = mergeBits(state().enable, mask & ENABLE_BITS, value))),
      },
      {
        name: 'PM1_CNT',
        offset: 0x04,
        width: 4,
        read: () => state().control,
        write: changed((value, mask) => this.#writeControl(value, mask)),
      },
      { name: 'PM1_TMR', offset: 0x08, width: 4, read: () => this.#ticks() % 2 ** TIMER_BITS },
      {
        name: 'GPE0_STS',
        offset: 0x20,
        width: 4,
        read: () => state().gpeStatus,
        write: changed((value) => (state().gpeStatus = (state().gpeStatus & ~value) >>> 0)),
      },
      {
        name: 'GPE0_EN',
        offset: 0x28,
        width: 4,
        read: () => state().gpeEnable,
        write: changed((value, mask) => (state().gpeEnable = mergeBits(state().gpeEnable, mask, value))),
      },
      {
        name: 'SMI_EN',
        offset: 0x30,
        width: 4,
        read: () => state().smiEnable,
        write: (value, mask) => (state().smiEnable = mergeBits(state().smiEnable, mask, value)),
      },
    ]);
  }

  #writeControl(value: number, mask: number): void {
    this.#state.control = mergeBits(this.#state.control, mask & CONTROL_BITS, value);
    const sleepType = (this.#state.control >> 10) & 7;
    if (value & CONTROL.sleepEnable && sleepType === this.#options.sleepTypeS5) this.#options.powerOff();
  }

  /** There is no SMI handler: the chip itself does what one would do with these two commands. */
  #writeSmiPort(offset: number, value: number): void {
    if (offset === 1) this.#state.smiStatusPort = value;
    else if (value === this.#options.enableValue) this.#state.control |= CONTROL.sciEnable;
    else if (value === this.#options.disableValue) this.#state.control &= ~CONTROL.sciEnable;
    this.#update();
  }

  #readStatus(): number {
    const half = Math.floor(this.#ticks() / HALF_TIMER_TICKS);
    if (half !== (this.#state.seenHalf ?? half)) this.#state.status |= STATUS.timer;
    this.#state.seenHalf = half;
    return this.#state.status;
  }

  #update(): void {
    const s = this.#state;
    const requests = (this.#readStatus() & s.enable & ENABLE_BITS) | (s.gpeStatus & s.gpeEnable);
    this.#options.sci.set((s.control & CONTROL.sciEnable) !== 0 && requests !== 0);
    const half = Math.floor(this.#ticks() / HALF_TIMER_TICKS);
    if (!(s.enable & STATUS.timer) || s.status & STATUS.timer) this.#timer.cancel();
    else this.#timer.arm(Math.ceil(((half + 1) * HALF_TIMER_TICKS * 1e9) / TIMER_HZ));
  }

  #ticks(): number {
    return Math.floor((this.#options.clock.nowNanos() * TIMER_HZ) / 1e9);
  }
}
