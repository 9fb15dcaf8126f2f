/**
 * The real-time clock and CMOS memory: Motorola MC146818A datasheet, and the
 * century register where PCs have it (32h). The time is the host's wall clock
 * plus what the guest has changed. Nothing ticks: what has happened since the
 * last access is worked out, and a timer is armed only for an enabled interrupt.
 */

import type { StateOf } from '../../base/index.ts';
import { bool, bytes, int, optional, stateTable, u8 } from '../../base/index.ts';
import type { Clock, Device, DeviceRecord, IrqLine, Timer, WallClock } from '../../contract/index.ts';
import type { ByteRegisters } from '../bus/index.ts';
import type { TimeFormat } from './rtc-time.ts';
import { decodeHour, decodeNumber, decodeTime, encodeTime, TIME_REGISTER, TIME_REGISTERS } from './rtc-time.ts';

export const CMOS_BYTES = 128;
const REGISTER = { secondAlarm: 1, minuteAlarm: 3, hourAlarm: 5, a: 10, b: 11, c: 12, d: 13 };
const A_UPDATE_IN_PROGRESS = 0x80;
const B = { set: 0x80, binary: 0x04, hours24: 0x02 };
/** Interrupt enables in B and flags in C have the same places. */
const PERIODIC = 0x40;
const ALARM = 0x20;
const UPDATE = 0x10;
const INTERRUPTS = PERIODIC | ALARM | UPDATE;
const C_REQUEST = 0x80;
const D_VALID = 0x80;
const ALARM_ANY = 0xc0;
/** UIP goes high 244 microseconds before the update, which takes 1,948 (table 4). */
const UPDATE_MILLIS = 2.192;
const DAY_SECONDS = 86_400;
const MAX_OFFSET_MILLIS = 1e15;

const STATE = stateTable({
  index: int(0, CMOS_BYTES - 1, 0),
  nmiMasked: bool(),
  /** The battery-backed memory; the time registers in it hold only while `B.set` does. */
  cmos: bytes(CMOS_BYTES),
  a: int(0, 0x7f, 0x26),
  b: u8(B.hours24),
  c: int(0, INTERRUPTS, 0),
  /** The guest's clock less the wall clock. */
  offsetMillis: int(-MAX_OFFSET_MILLIS, MAX_OFFSET_MILLIS, 0),
  /** What has been looked at: the last second and the last periodic interval; none before the first access. */
  seenSecond: optional(int(-MAX_OFFSET_MILLIS, MAX_OFFSET_MILLIS, 0)),
  seenPeriod: optional(int(0, Number.MAX_SAFE_INTEGER, 0)),
});

export class Rtc146818 implements Device, ByteRegisters {
  readonly name: string;
  readonly #irq: IrqLine;
  readonly #clock: Clock;
  readonly #wallClock: WallClock;
  readonly #timer: Timer;
  #state: StateOf<typeof STATE>;

  /** @param options.cmos initial CMOS bytes by address, 0Eh to 7Fh */
  constructor(options: {
    name: string;
    irq: IrqLine;
    clock: Clock;
    wallClock: WallClock;
    cmos: ReadonlyMap<number, number>;
  }) {
    this.name = options.name;
    this.#irq = options.irq;
    this.#clock = options.clock;
    this.#wallClock = options.wallClock;
    this.#timer = options.clock.createTimer(() => this.#sync());
    this.#state = STATE.initial();
    for (const [address, value] of options.cmos) this.#state.cmos[address] = value;
  }

  /** The battery keeps time and memory; the RESET pin ends interrupts (datasheet, "RESET"). */
  reset(): void {
    const s = this.#state;
    s.index = 0;
    s.nmiMasked = false;
    s.b &= ~(INTERRUPTS | 0x08);
    s.c = 0;
    s.seenSecond = undefined;
    s.seenPeriod = undefined;
    this.#update();
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    this.#update();
  }

  /** Port 70h bit 7. */
  get nmiMasked(): boolean {
    return this.#state.nmiMasked;
  }

  readByte(offset: number): number {
    return offset === 0 ? 0xff : this.#readRegister(this.#state.index);
  }

  writeByte(offset: number, value: number): void {
    if (offset === 0) {
      this.#state.index = value & 0x7f;
      this.#state.nmiMasked = (value & 0x80) !== 0;
    } else this.#writeRegister(this.#state.index, value);
  }

  #readRegister(register: number): number {
    const s = this.#state;
    if (TIME_REGISTERS.includes(register) && !(s.b & B.set)) {
      return encodeTime(this.#millis(), this.#format()).get(register) ?? 0;
    }
    switch (register) {
      case REGISTER.a:
        return s.a | (this.#updating() ? A_UPDATE_IN_PROGRESS : 0);
      case REGISTER.b:
        return s.b;
      case REGISTER.c:
        return this.#readFlags();
      case REGISTER.d:
        return D_VALID;
      default:
        return s.cmos[register];
    }
  }

  #readFlags(): number {
    this.#sync();
    const s = this.#state;
    const flags = s.c | (s.c & s.b & INTERRUPTS ? C_REQUEST : 0);
    s.c = 0;
    this.#update();
    return flags;
  }

  #writeRegister(register: number, value: number): void {
    this.#sync();
    const s = this.#state;
    if (register === REGISTER.a) s.a = value & 0x7f;
    else if (register === REGISTER.b) this.#writeB(value);
    else if (TIME_REGISTERS.includes(register)) this.#writeTime(register, value);
    else if (register !== REGISTER.c && register !== REGISTER.d) s.cmos[register] = value;
    this.#update();
  }

  /** Setting SET freezes the time registers; clearing it starts the clock from what they then say. */
  #writeB(value: number): void {
    const s = this.#state;
    const wasSet = (s.b & B.set) !== 0;
    if (!wasSet && value & B.set) {
      for (const [register, byte] of encodeTime(this.#millis(), this.#format())) s.cmos[register] = byte;
    }
    s.b = value & B.set ? value & ~UPDATE : value;
    if (!wasSet || value & B.set) return;
    const held = new Map(TIME_REGISTERS.map((register) => [register, s.cmos[register]]));
    this.#setMillis(decodeTime(held, this.#format()) + 500); // the first update comes half a second later
  }

  #writeTime(register: number, value: number): void {
    const s = this.#state;
    if (s.b & B.set) {
      s.cmos[register] = value;
      return;
    }
    const now = this.#millis();
    const time = encodeTime(now, this.#format()).set(register, value);
    if (register !== TIME_REGISTER.dayOfWeek) this.#setMillis(decodeTime(time, this.#format()) + (now % 1000));
  }

  /** Raises the flags of what has happened since the last look. */
  #sync(): void {
    const s = this.#state;
    const second = Math.floor(this.#millis() / 1000);
    if (s.seenSecond !== undefined && second > s.seenSecond && !(s.b & B.set)) {
      s.c |= UPDATE;
      if (this.#nextAlarm(s.seenSecond) <= second) s.c |= ALARM;
    }
    s.seenSecond = second;
    const period = this.#periodNanos();
    const interval = period === undefined ? undefined : Math.floor(this.#clock.nowNanos() / period);
    if (interval !== undefined && s.seenPeriod !== undefined && interval > s.seenPeriod) s.c |= PERIODIC;
    s.seenPeriod = interval;
    this.#update();
  }

  /** The interrupt pin, and a timer for the next interrupt when none is waiting to be read. */
  #update(): void {
    const s = this.#state;
    const request = (s.c & s.b & INTERRUPTS) !== 0;
    this.#irq.set(request);
    const delay = request ? Number.POSITIVE_INFINITY : this.#nanosToNextInterrupt();
    if (delay === Number.POSITIVE_INFINITY) this.#timer.cancel();
    else this.#timer.arm(Math.ceil(this.#clock.nowNanos() + delay));
  }

  #nanosToNextInterrupt(): number {
    const s = this.#state;
    const millis = this.#millis();
    const second = Math.floor(millis / 1000);
    const until = (target: number) => (target * 1000 - millis) * 1e6;
    let delay = Number.POSITIVE_INFINITY;
    const period = this.#periodNanos();
    if (s.b & PERIODIC && period !== undefined) delay = period - (this.#clock.nowNanos() % period);
    if (s.b & B.set) return delay;
    if (s.b & UPDATE) delay = Math.min(delay, until(second + 1));
    if (s.b & ALARM) delay = Math.min(delay, until(this.#nextAlarm(second)));
    return delay;
  }

  /** The first second after `after` that the alarm registers match, or infinity. */
  #nextAlarm(after: number): number {
    const { cmos } = this.#state;
    const format = this.#format();
    const matches = (register: number, value: number, decode: typeof decodeNumber) =>
      (cmos[register] & ALARM_ANY) === ALARM_ANY || decode(cmos[register], format) === value;
    const end = after + DAY_SECONDS;
    let second = after + 1;
    while (second <= end) {
      const ofDay = ((second % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
      const minute = Math.floor(ofDay / 60);
      const inMinute =
        matches(REGISTER.hourAlarm, Math.floor(minute / 60), decodeHour) &&
        matches(REGISTER.minuteAlarm, minute % 60, decodeNumber);
      if (!inMinute) second += 60 - (ofDay % 60);
      else if (matches(REGISTER.secondAlarm, ofDay % 60, decodeNumber)) return second;
      else second++;
    }
    return Number.POSITIVE_INFINITY;
  }

  #updating(): boolean {
    return !(this.#state.b & B.set) && 1000 - (this.#millis() % 1000) <= UPDATE_MILLIS;
  }

  /** Table 5 with the 32,768 Hz time base. */
  #periodNanos(): number | undefined {
    const rate = this.#state.a & 0x0f;
    if (rate === 0) return undefined;
    return (1e9 * 2 ** ((rate < 3 ? rate + 7 : rate) - 1)) / 32_768;
  }

  #format(): TimeFormat {
    return { binary: (this.#state.b & B.binary) !== 0, hours24: (this.#state.b & B.hours24) !== 0 };
  }

  #millis(): number {
    return this.#wallClock.nowMillis() + this.#state.offsetMillis;
  }

  #setMillis(millis: number): void {
    this.#state.offsetMillis = Math.round(millis - this.#wallClock.nowMillis());
    this.#state.seenSecond = Math.floor(millis / 1000);
  }
}
