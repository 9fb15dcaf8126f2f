/**
 * The local APIC, in xAPIC and x2APIC mode: Intel SDM vol. 3, chapter 11.
 * Registers are rows; MMIO (offset = index × 16) and MSRs (800h + index) go
 * through the same rows.
 *
 * Left out: moving the register window, SMI, and level-triggered local
 * interrupts with their remote IRR (no PC wires one).
 */
import type {
  BusDevice,
  Clock,
  CpuSignals,
  Device,
  DeviceRecord,
  ExternalInterrupts,
  IrqLine,
  LocalApic,
} from '../../contract/index.ts';
import { dwordWide } from '../bus/index.ts';
import type { InterruptFabric, MessageTarget } from './fabric.ts';
import type { LapicRegisters, LapicState } from './lapic-registers.ts';
import { APIC_BASE, ESR, LAPIC_STATE, LVT, REGISTERS, SVR_ENABLED, VERSION } from './lapic-registers.ts';
import { LapicTimer } from './lapic-timer.ts';
import type { InterruptMessage } from './message.ts';
import { BROADCAST, DELIVERY } from './message.ts';
import { addVector, hasVector, highestVector, removeVector } from './vectors.ts';

/** What `pendingVector` says when the 8259s ask: only their acknowledge cycle knows the vector. */
const EXTERNAL_PENDING = 0;
const LVT_MASKED = 0x1_0000;
const LOWEST_LEGAL_VECTOR = 16;

export interface LapicOptions {
  readonly name: string;
  readonly id: number;
  /** The processor that starts; its LINT0 is set to ExtINT, as firmware leaves it. */
  readonly bootstrap: boolean;
  readonly cpu: CpuSignals;
  readonly fabric: InterruptFabric;
  readonly external: ExternalInterrupts;
  readonly clock: Clock;
  readonly nanosFromTsc: (low: number, high: number) => number;
}

export class Lapic implements LocalApic, Device, MessageTarget, LapicRegisters {
  readonly name: string;
  readonly id: number;
  /** The 4 KiB window at FEE00000h. */
  readonly mmio: BusDevice;
  /** INTR of the 8259s, and NMI. */
  readonly lint0: IrqLine;
  readonly lint1: IrqLine;
  readonly timer: LapicTimer;
  state: LapicState;
  readonly #options: LapicOptions;
  #pending = -1;

  constructor(options: LapicOptions) {
    this.name = options.name;
    this.id = options.id;
    this.#options = options;
    this.state = this.#initialState();
    this.timer = new LapicTimer({
      clock: options.clock,
      nanosFromTsc: options.nanosFromTsc,
      onExpire: () => this.#deliverLocal(LVT.timer),
    });
    this.timer.state = this.state.timer;
    this.lint0 = this.#localLine(LVT.lint0);
    this.lint1 = this.#localLine(LVT.lint1);
    this.mmio = dwordWide({
      readDword: (offset) => this.#readMmio(offset),
      writeDword: (offset, value) => this.#writeMmio(offset, value),
    });
    options.fabric.addApic(this);
  }

  reset(): void {
    const { lint0Level, lint1Level } = this.state; // pins, driven from outside
    this.state = { ...this.#initialState(), lint0Level, lint1Level };
    this.timer.state = this.state.timer;
    this.timer.update();
    this.update();
  }

  snapshot(): DeviceRecord {
    return LAPIC_STATE.save(this.state);
  }

  restore(record: DeviceRecord): void {
    this.state = LAPIC_STATE.load(record);
    this.timer.state = this.state.timer;
    this.timer.update();
    this.update();
  }

  // As its CPU sees it.

  pendingVector(): number {
    return this.#externalPending() ? EXTERNAL_PENDING : this.#pending;
  }

  acknowledge(): number {
    if (this.#externalPending()) {
      const vector = this.#options.external.acknowledge();
      this.update();
      return vector;
    }
    const vector = this.#pending;
    if (vector < 0) return this.state.spurious & 0xff;
    removeVector(this.state.requested, vector);
    addVector(this.state.inService, vector);
    this.update();
    return vector;
  }

  readBase(): { low: number; high: number } {
    return { low: this.state.base, high: 0 };
  }

  /** The window stays at FEE00000h; x2APIC mode is left only by way of off (figure 11-27). */
  writeBase(low: number, high: number): boolean {
    const { address, bootstrap, x2apic, enabled } = APIC_BASE;
    const wanted = low & (x2apic | enabled);
    const had = this.state.base & (x2apic | enabled);
    if (high !== 0 || (low & ~(bootstrap | x2apic | enabled)) >>> 0 !== address) return false;
    if (wanted === x2apic || (had === 0 && wanted & x2apic) || (had & x2apic && wanted === enabled)) return false;
    if (wanted === 0) this.reset();
    this.state.base = (address | (this.state.base & bootstrap) | wanted) >>> 0;
    this.update();
    return true;
  }

  readTpr(): number {
    return this.state.taskPriority >> 4;
  }

  writeTpr(priorityClass: number): void {
    this.state.taskPriority = (priorityClass & 0xf) << 4;
    this.update();
  }

  readX2apic(index: number): { low: number; high: number } | undefined {
    if (!this.inX2apicMode()) return undefined;
    const row = REGISTERS[index];
    if (!row?.read || row.mode === 'xapic') return undefined;
    return { low: row.read(this) >>> 0, high: row.readHigh?.(this) ?? 0 };
  }

  writeX2apic(index: number, low: number, high: number): boolean {
    const row = REGISTERS[index];
    if (!this.inX2apicMode() || !row?.write || row.mode === 'xapic' || row.readOnlyInX2apic) return false;
    const highAllowed = row.writeHigh !== undefined;
    if ((!highAllowed && high !== 0) || low & ~(row.x2apicMask ?? row.mask)) return false;
    row.writeHigh?.(this, high >>> 0);
    row.write(this, low >>> 0);
    this.update();
    return true;
  }

  readTscDeadline(): { low: number; high: number } {
    return { low: this.timer.state.tscLow, high: this.timer.state.tscHigh };
  }

  /** A CPU whose TSC was written writes the armed deadline again: it falls elsewhere in time. */
  writeTscDeadline(low: number, high: number): void {
    this.timer.writeDeadline(low >>> 0, high >>> 0);
  }

  // As the fabric sees it.

  matches(message: InterruptMessage): boolean {
    if ((this.state.base & APIC_BASE.enabled) === 0) return false;
    const { destination, logical } = message;
    if (!logical) return destination === BROADCAST || destination === this.id;
    if (this.inX2apicMode()) {
      const own = this.logicalId();
      return destination === BROADCAST || (destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0);
    }
    const own = this.state.logicalDestination >>> 24;
    if (this.state.destinationFormat >>> 28 === 0xf) return (destination & own & 0xff) !== 0;
    const sameCluster = destination >>> 4 === own >>> 4 || destination === 0xff;
    return sameCluster && (destination & own & 0xf) !== 0;
  }

  accept(message: InterruptMessage): void {
    const { cpu } = this.#options;
    const { delivery, vector, level } = message;
    if (delivery === DELIVERY.nmi) cpu.nmi();
    else if (delivery === DELIVERY.init) cpu.init();
    else if (delivery === DELIVERY.startup) cpu.startup(vector);
    else if (delivery <= DELIVERY.lowestPriority) this.#acceptVector(vector, level);
  }

  /** 11.8.3.1: the higher of the task's priority and of what is in service. */
  get processorPriority(): number {
    const serving = Math.max(0, highestVector(this.state.inService)) & 0xf0;
    return serving > (this.state.taskPriority & 0xf0) ? serving : this.state.taskPriority;
  }

  // What the register rows use.

  inX2apicMode(): boolean {
    return (this.state.base & APIC_BASE.x2apic) !== 0;
  }

  /** The logical id of x2APIC mode (11.12.10.2). */
  logicalId(): number {
    return (((this.id >>> 4) << 16) | (1 << (this.id & 0xf))) >>> 0;
  }

  get version(): number {
    return VERSION;
  }

  send(message: InterruptMessage, shorthand: number): void {
    const illegal = message.delivery <= DELIVERY.lowestPriority && message.vector < LOWEST_LEGAL_VECTOR;
    if (illegal) this.raiseError(ESR.sendIllegalVector);
    else if (shorthand === 0) this.#options.fabric.deliver(message);
    else if (shorthand === 1) this.accept(message);
    else {
      const everyone = { ...message, destination: BROADCAST, logical: false };
      this.#options.fabric.deliver(everyone, shorthand === 3 ? this : undefined);
    }
  }

  endOfInterrupt(): void {
    const vector = highestVector(this.state.inService);
    if (vector < 0) return;
    removeVector(this.state.inService, vector);
    if (hasVector(this.state.triggerMode, vector)) this.#options.fabric.endOfInterrupt(vector);
  }

  /** Software-disabling the APIC masks every local vector (11.4.7.2). */
  setSpurious(value: number): void {
    this.state.spurious = value;
    if (value & SVR_ENABLED) return;
    for (let i = 0; i < this.state.lvt.length; i++) this.state.lvt[i] |= LVT_MASKED;
  }

  setLocalVector(index: number, value: number): void {
    if (index === LVT.timer) this.timer.setMode((value >>> 17) & 3);
    this.state.lvt[index] = this.state.spurious & SVR_ENABLED ? value : value | LVT_MASKED;
  }

  /** Errors collect until the guest writes ESR; each new one raises the error interrupt. */
  raiseError(bit: number): void {
    if (this.state.errors & bit) return;
    this.state.errors |= bit;
    this.#deliverLocal(LVT.error);
  }

  /** Recomputes what is pending and tells the CPU. */
  update(): void {
    const vector = highestVector(this.state.requested);
    this.#pending = vector >= 0 && (vector & 0xf0) > (this.processorPriority & 0xf0) ? vector : -1;
    if (this.pendingVector() >= 0) this.#options.cpu.interruptRequest();
  }

  #acceptVector(vector: number, level: boolean): void {
    if (!(this.state.spurious & SVR_ENABLED)) return;
    if (vector < LOWEST_LEGAL_VECTOR) {
      this.raiseError(ESR.receiveIllegalVector);
      return;
    }
    addVector(this.state.requested, vector);
    if (level) addVector(this.state.triggerMode, vector);
    else removeVector(this.state.triggerMode, vector);
    this.update();
  }

  /** Delivers a local interrupt as its LVT entry says. */
  #deliverLocal(index: number): void {
    const entry = this.state.lvt[index];
    if (entry & LVT_MASKED) return;
    const delivery = index === LVT.timer || index === LVT.error ? DELIVERY.fixed : (entry >>> 8) & 7;
    if (delivery === DELIVERY.extInt) this.update();
    else this.accept({ destination: this.id, logical: false, delivery, vector: entry & 0xff, level: false });
  }

  #localLine(index: number): IrqLine {
    const field = index === LVT.lint0 ? 'lint0Level' : 'lint1Level';
    return {
      set: (level) => {
        if (this.state[field] === level) return;
        this.state[field] = level;
        if (level && this.#hardwareEnabled()) this.#deliverLocal(index);
        else if (level) this.update();
      },
    };
  }

  /** The 8259s reach the CPU past an APIC that is off, or through LINT0 in ExtINT mode. */
  #externalPending(): boolean {
    if (!this.state.lint0Level) return false;
    const entry = this.state.lvt[LVT.lint0];
    const passes = !(entry & LVT_MASKED) && ((entry >>> 8) & 7) === DELIVERY.extInt;
    return (passes || !this.#hardwareEnabled()) && this.#options.external.pending();
  }

  #hardwareEnabled(): boolean {
    return (this.state.base & APIC_BASE.enabled) !== 0;
  }

  #readMmio(offset: number): number {
    if (!this.#windowOpen()) return 0xffff_ffff;
    const row = offset & 0xf ? undefined : REGISTERS[offset >> 4];
    if (row?.read && row.mode !== 'x2apic') return row.read(this) >>> 0;
    if (!row || row.mode === 'x2apic') this.raiseError(ESR.illegalRegister);
    return 0;
  }

  #writeMmio(offset: number, value: number): void {
    if (!this.#windowOpen()) return;
    const row = offset & 0xf ? undefined : REGISTERS[offset >> 4];
    if (!row || row.mode === 'x2apic') this.raiseError(ESR.illegalRegister);
    else row.write?.(this, (value & row.mask) >>> 0);
    this.update();
  }

  #windowOpen(): boolean {
    return this.#hardwareEnabled() && !this.inX2apicMode();
  }

  #initialState(): LapicState {
    const state = LAPIC_STATE.initial();
    if (this.#options.bootstrap) {
      state.base = (state.base | APIC_BASE.bootstrap) >>> 0;
      state.lvt[LVT.lint0] = DELIVERY.extInt << 8;
    }
    return state;
  }
}
