/** Intel's 6300ESB watchdog timer: 6300ESB I/O Controller Hub datasheet, chapter 16. Its first stage does nothing but pass. */
import { bool, int, type StateOf, stateTable, u8, u32 } from '../../base/index.ts';
import type { AccessSize, Bus, BusDevice, Clock, Device, DeviceRecord, Timer } from '../../contract/index.ts';
import { PciFunction } from '../pci/index.ts';

const IDENTITY = { vendorId: 0x8086, deviceId: 0x25ab, revision: 0, classCode: 0x08_80_00 } as const;
/** In the configuration space. */
const CONFIG_AT = 0x60;
const LOCK_AT = 0x68;
const CONFIG = { interruptType: 0x0003, fastClock: 0x0004, rebootOff: 0x0020 } as const;
const LOCK = { locked: 0x01, enabled: 0x02, freeRunning: 0x04 } as const;
/** In the window. */
const TIMER1 = 0x00;
const TIMER2 = 0x04;
const RELOAD = 0x0c;
const RELOAD_BITS = { reload: 0x0100, timeout: 0x0200, rebooted: 0x1000 } as const;
const PRELOAD_MASK = 0xf_ffff;
/** What must be written to the reload register, one after the other, before each write that counts. */
const UNLOCK = [0x80, 0x86] as const;
const PCI_HZ = 33_000_000;

const STATE = stateTable({
  interruptType: u8(),
  isFast: bool(),
  reboots: bool(true),
  isLocked: bool(),
  isEnabled: bool(),
  isFreeRunning: bool(),
  preload1: u32(PRELOAD_MASK),
  preload2: u32(PRELOAD_MASK),
  /** How many of the two unlocking writes have come. */
  unlocked: int(0, 2, 0),
  stage: int(1, 2, 1),
  /** The timer expired before the last reset. */
  hasRebooted: bool(),
  deadlineNanos: int(0, Number.MAX_SAFE_INTEGER, 0),
});

export interface I6300esbOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly mmio: Bus;
  readonly ports: Bus;
  /** Both stages have passed. */
  readonly onExpire: () => void;
}

export interface I6300esb {
  readonly pciFunction: PciFunction;
  /** What has state beside the function. */
  readonly timer: Device;
}

export function i6300esb(options: I6300esbOptions): I6300esb {
  const timer = new WatchdogTimer(`${options.name}.timer`, options.clock, options.onExpire);
  const { mmio, ports } = options;
  const pciFunction = new PciFunction({
    name: options.name,
    identity: IDENTITY,
    bars: [{ index: 0, size: 16, kind: 'memory32', device: timer.registers }],
    mmio,
    ports,
    intercept: timer.configRegisters,
  });
  return { pciFunction, timer };
}

class WatchdogTimer implements Device {
  readonly name: string;
  readonly registers: BusDevice;
  readonly configRegisters: {
    read(offset: number, size: AccessSize): number | undefined;
    write(offset: number, size: AccessSize, value: number): boolean;
  };
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #onExpire: () => void;
  #state: StateOf<typeof STATE> = STATE.initial();

  constructor(name: string, clock: Clock, onExpire: () => void) {
    this.name = name;
    this.#clock = clock;
    this.#onExpire = onExpire;
    this.#timer = clock.createTimer(() => this.#expired());
    this.registers = {
      read: (offset) => (offset === RELOAD ? this.#takeRebooted() : 0),
      write: (offset, _size, value) => this.#write(offset, value),
    };
    this.configRegisters = {
      read: (offset) => (offset === CONFIG_AT ? this.#config() : offset === LOCK_AT ? this.#lock() : undefined),
      write: (offset, _size, value) => {
        if (offset === CONFIG_AT) this.#writeConfig(value);
        else if (offset === LOCK_AT) this.#writeLock(value);
        else return false;
        return true;
      },
    };
  }

  /** Whether it was the watchdog that made the machine start again is what survives. */
  reset(): void {
    const { hasRebooted } = this.#state;
    this.#timer.cancel();
    this.#state = { ...STATE.initial(), hasRebooted };
  }

  snapshot(): DeviceRecord {
    return STATE.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#state = STATE.load(record);
    if (this.#state.isEnabled) this.#timer.arm(this.#state.deadlineNanos);
    else this.#timer.cancel();
  }

  #takeRebooted(): number {
    const value = this.#state.hasRebooted ? RELOAD_BITS.rebooted : 0;
    this.#state.hasRebooted = false;
    return value;
  }

  #config(): number {
    const { interruptType, isFast, reboots } = this.#state;
    return interruptType | (isFast ? CONFIG.fastClock : 0) | (reboots ? 0 : CONFIG.rebootOff);
  }

  #writeConfig(value: number): void {
    this.#state.interruptType = value & CONFIG.interruptType;
    this.#state.isFast = (value & CONFIG.fastClock) !== 0;
    this.#state.reboots = (value & CONFIG.rebootOff) === 0;
  }

  #lock(): number {
    const { isLocked, isEnabled, isFreeRunning } = this.#state;
    return (isLocked ? LOCK.locked : 0) | (isEnabled ? LOCK.enabled : 0) | (isFreeRunning ? LOCK.freeRunning : 0);
  }

  #writeLock(value: number): void {
    const s = this.#state;
    if (s.isLocked) return;
    const wasEnabled = s.isEnabled;
    s.isLocked = (value & LOCK.locked) !== 0;
    s.isEnabled = (value & LOCK.enabled) !== 0;
    s.isFreeRunning = (value & LOCK.freeRunning) !== 0;
    if (!s.isEnabled) this.#timer.cancel();
    else if (!wasEnabled) this.#begin(1);
  }

  #write(offset: number, value: number): void {
    const s = this.#state;
    if (s.unlocked < 2) {
      s.unlocked = offset === RELOAD && (value & 0xff) === UNLOCK[s.unlocked] ? s.unlocked + 1 : 0;
      return;
    }
    s.unlocked = 0;
    if (offset === TIMER1) s.preload1 = value & PRELOAD_MASK;
    else if (offset === TIMER2) s.preload2 = value & PRELOAD_MASK;
    else if (offset === RELOAD) {
      if (value & (RELOAD_BITS.timeout | RELOAD_BITS.rebooted)) s.hasRebooted = false;
      if (value & RELOAD_BITS.reload && s.isEnabled) this.#begin(1);
    }
  }

  /** A preload counts 2^15 PCI clocks, or 2^5 of them. */
  #begin(stage: 1 | 2): void {
    const s = this.#state;
    s.stage = stage;
    const clocks = (stage === 1 ? s.preload1 : s.preload2) * (s.isFast ? 2 ** 5 : 2 ** 15);
    s.deadlineNanos = Math.floor(this.#clock.nowNanos() + (clocks * 1e9) / PCI_HZ);
    this.#timer.arm(s.deadlineNanos);
  }

  #expired(): void {
    const s = this.#state;
    if (!s.isEnabled) return;
    if (s.stage === 1) {
      this.#begin(2);
      return;
    }
    const again = s.isFreeRunning;
    if (s.reboots) {
      s.hasRebooted = true;
      this.#onExpire();
    }
    if (again) this.#begin(1);
    else s.isEnabled = false;
  }
}
