/** The vCPUs of a machine: they run, stand still, and are read and written. */
import { StateError } from '../../base/index.ts';
import type {
  BootEntry,
  Bus,
  DeviceRecord,
  LocalApic,
  LocalApicState,
  VcpuThreads,
  VcpuThreadsEvent,
} from '../../contract/index.ts';
import { X86_CPU } from '../../target/index.ts';
import { createAnswers } from './answers.ts';
import { readApic, withApic } from './apic-record.ts';
import { describeState } from './describe.ts';
import { GuestDebug } from './guest-debug.ts';
import { errnoName, type KvmHost } from './host.ts';
import { VCPU } from './ioctls.ts';
import type { OutsideControllers } from './irqchip.ts';
import { ExternalInjector, LocalInterrupts } from './local-interrupts.ts';
import { fromRecord, type RecordContext, toRecord } from './record.ts';
import { runHead } from './structures.ts';
import { Turns, wasFetched } from './turns.ts';
import { type KvmVcpu, MP_STATE } from './vcpu.ts';
import { atEntry, readState, type VcpuState, writeState } from './vcpu-state.ts';

export interface KvmThreadsOptions {
  readonly host: KvmHost;
  readonly vcpus: readonly KvmVcpu[];
  readonly mmio: Bus;
  readonly ports: Bus;
  /** MSRs that make up a vCPU's state. */
  readonly msrs: readonly number[];
  /** The only CPU's local APIC, where it is not the kernel's. */
  readonly apic?: LocalApic;
  /** Interrupt controllers beside local APICs that are the kernel's. */
  readonly outside?: OutsideControllers;
  nmi(): void;
  /** kvmclock's nanoseconds. */
  readonly clock: { read(): bigint; write(nanos: bigint): void };
  /** False once a device asked for something that ends or resets the machine: no vCPU goes on before that is done. */
  mayContinue(): boolean;
}

/** A pause that a guest's clock should not see. */
const LONG_PAUSE_NANOS = 100_000_000;
const { immediateExit } = runHead.offsets;

export class KvmThreads implements VcpuThreads {
  readonly count: number;
  readonly #options: KvmThreadsOptions;
  readonly #turns: Turns;
  readonly #answer: ReturnType<typeof createAnswers>;
  readonly #powerUp: readonly VcpuState[];
  readonly #events: VcpuThreadsEvent[] = [];
  /** Of a restore that is under way. */
  readonly #apics = new Map<number, LocalApicState>();
  readonly #local: LocalInterrupts | undefined;
  /** The first CPU's, of the 8259s outside. */
  readonly #outside: ExternalInjector | undefined;
  #halting = false;
  #paused = true;
  #pausedAt: { readonly at: number; readonly clock: bigint } | undefined;
  #closed = false;
  readonly #now: () => number;
  readonly debug: GuestDebug;

  /** Throws UserError when the host has no room for so many threads. */
  constructor(options: KvmThreadsOptions, now: () => number) {
    const { host, vcpus, mmio, ports, outside } = options;
    this.#options = options;
    this.#now = now;
    this.count = vcpus.length;
    this.debug = new GuestDebug(vcpus, (change) => this.#whileStill(change));
    this.#local = options.apic && new LocalInterrupts(options.apic, vcpus[0]);
    this.#outside = outside && new ExternalInjector(outside.external, vcpus[0]);
    this.#answer = createAnswers({
      mmio,
      ports,
      isPvm: host.isPvm,
      onEoi: (vector) => outside?.onEoi(vector),
      onHalt: () => {
        if (this.#local) this.#local.isHalted = true;
      },
      stopsForDebugger: (vcpu) => this.debug.stops(vcpu),
    });
    this.#powerUp = vcpus.map((vcpu) => this.#read(vcpu));
    this.#turns = new Turns(host, vcpus, now);
  }

  // --- Running.

  get running(): boolean {
    return !this.#paused;
  }

  resume(): void {
    if (this.#pausedAt !== undefined && this.#now() - this.#pausedAt.at > LONG_PAUSE_NANOS) this.#setClock();
    this.#pausedAt = undefined;
    this.#paused = false;
    const running = this.debug.stepping ? 1 : this.count;
    for (let index = 0; index < running; index++) this.#give(index);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#halting = true;
    this.#turns.halt(() => this.serve());
    this.#halting = false;
    this.#pausedAt = { at: this.#now(), clock: this.#options.clock.read() };
  }

  serve(): boolean {
    return this.#turns.take(this.#taken);
  }

  readonly #taken = (index: number, result: number): void => {
    const vcpu = this.#options.vcpus[index];
    const event =
      result >= 0
        ? this.#answer(vcpu)
        : wasFetched(result)
          ? undefined
          : ({ kind: 'failure', cpu: index, message: `KVM cannot run CPU ${index}: ${errnoName(-result)}` } as const);
    if (event !== undefined) this.#events.push(event);
    // What it was called for is looked at now; a pause wants all.
    if ((this.#local || this.#outside) && !this.#halting) this.#turns.attend(index);
    if (!this.#paused && this.#events.length === 0 && this.#options.mayContinue()) this.#give(index);
  };

  nmi(): void {
    if (this.#local) {
      this.#local.nmiPending = true;
      this.interruptRequest();
    } else this.#options.nmi();
  }

  interruptRequest(): void {
    if ((!this.#local && !this.#outside) || this.#paused) return;
    if (this.#turns.isOut(0)) this.#turns.call(0);
    // Not while its request is being answered: it looks for interrupts after that.
    else if (this.#local?.isHalted) this.#give(0);
  }

  takeEvent(): VcpuThreadsEvent | undefined {
    return this.#events.shift();
  }

  spin(): boolean {
    return this.#turns.spin();
  }

  wait(nanos: number): boolean {
    return this.#turns.wait(nanos);
  }

  /** Calls `listener` in the machine's thread when an event counter is signalled. */
  listen(fd: number, listener: () => void): void {
    this.#turns.listen(fd, listener);
  }

  unlisten(fd: number): void {
    this.#turns.unlisten(fd);
  }

  // --- State. A call for a vCPU waits until it is out of the guest: all are fetched first, and stay out until `resume`.

  reset(entry: BootEntry): void {
    this.pause();
    for (const [index, vcpu] of this.#options.vcpus.entries()) {
      this.#finish(vcpu);
      const first = this.#powerUp[index];
      writeState(vcpu, index === 0 ? atEntry(first, entry) : { ...first, mpState: MP_STATE.uninitialized });
    }
    this.#local?.reset();
  }

  describe(cpu = 0): string {
    this.pause();
    const vcpu = this.#options.vcpus[cpu];
    this.#finish(vcpu);
    return describeState(readState(vcpu, [], false));
  }

  snapshot(): DeviceRecord[] {
    this.pause();
    return this.#options.vcpus.map((vcpu, index) => {
      this.#finish(vcpu);
      const record = toRecord(this.#read(vcpu), this.#contextOf(index));
      return this.#local?.isHalted ? { ...record, activity: 'halted' } : record;
    });
  }

  restore(records: readonly DeviceRecord[]): void {
    if (records.length !== this.count) throw new StateError('vcpus', `${this.count} CPUs`, records);
    this.pause();
    let clockNanos: bigint | undefined;
    const states = records.map((record, index) => {
      const vcpu = this.#options.vcpus[index];
      const loaded = X86_CPU.load(record);
      // Only where the processor can scale its counter; what cannot be is refused below.
      if (Number(loaded.tscHertz / 1000n) !== vcpu.tscKhz()) vcpu.setTscKhz(Number(loaded.tscHertz / 1000n));
      const state = fromRecord(loaded, this.#contextOf(index));
      if (loaded.hypervisorClockNanos !== undefined) clockNanos ??= loaded.hypervisorClockNanos;
      // Where there is no record of it, the local APIC stays as it is.
      return withApic(state, this.#local ? undefined : (this.#apics.get(index) ?? readApic(vcpu)), vcpu);
    });
    this.#apics.clear();
    if (clockNanos !== undefined) this.#options.clock.write(clockNanos);
    for (const [index, vcpu] of this.#options.vcpus.entries()) {
      this.#finish(vcpu);
      const [refused] = writeState(vcpu, states[index]);
      if (this.#local) this.#local.isHalted = records[index].activity === 'halted';
      if (refused !== undefined) throw new StateError('msrs', 'values that KVM takes', `MSR 0x${refused.toString(16)}`);
    }
  }

  localApic(cpu: number): LocalApicState {
    this.pause();
    return readApic(this.#options.vcpus[cpu]);
  }

  /** Takes effect with `restore`. */
  setLocalApic(cpu: number, state: LocalApicState): void {
    this.#apics.set(cpu, state);
  }

  get haltedForever(): boolean {
    const INTERRUPTS_ON = 0x200n;
    this.pause();
    if (this.#local)
      return (
        this.#local.isHalted && (this.#options.vcpus[0].regs().rflags & INTERRUPTS_ON) === 0n && !this.#local.nmiPending
      );
    return this.#options.vcpus.every((vcpu) => {
      const state = vcpu.mpState();
      if (state === MP_STATE.uninitialized || state === MP_STATE.initReceived) return true;
      const { nmiPending, nmiInjected } = vcpu.vcpuEvents();
      return state === MP_STATE.halted && (vcpu.regs().rflags & INTERRUPTS_ON) === 0n && !nmiPending && !nmiInjected;
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.pause();
    this.#turns.end();
  }

  /** The guest's clock goes on from where it was paused, and its watchdogs are told. */
  #setClock(): void {
    const { clock, vcpus, host } = this.#options;
    if (this.#pausedAt) clock.write(this.#pausedAt.clock);
    // Refused where the guest has no such clock.
    for (const { fd } of vcpus) host.ioctl(fd, VCPU.KVMCLOCK_CTRL, 0);
  }

  /** A CPU whose local APIC is not the kernel's stays here while it is halted. */
  #give(index: number): void {
    if (this.#turns.isOut(index) || (this.#local && !this.#local.enter())) return;
    if (index === 0) this.#outside?.enter();
    this.#turns.give(index);
  }

  #whileStill(action: () => void): void {
    const ran = !this.#paused;
    this.pause();
    action();
    if (ran) this.resume();
  }

  #contextOf(index: number): RecordContext {
    const { vcpus, clock } = this.#options;
    const [powerUp, vcpu] = [this.#powerUp[index], vcpus[index]];
    const clockNanos = index === 0 ? clock.read() : undefined;
    return { powerUp, tscKhz: vcpu.tscKhz(), cpuid: vcpu.givenCpuid, clockNanos };
  }

  #read(vcpu: KvmVcpu): VcpuState {
    return readState(vcpu, this.#options.msrs, this.#local === undefined);
  }

  /** Lets KVM take in the answer to a vCPU's last request, so that its state is that between two instructions. */
  #finish(vcpu: KvmVcpu): void {
    Atomics.store(vcpu.run, immediateExit, 1);
    vcpu.enter();
    Atomics.store(vcpu.run, immediateExit, 0);
  }
}
