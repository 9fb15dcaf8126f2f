/** The vCPUs of a machine: their threads, their turns, and what they ask of devices. */
import { InternalError, StateError } from '../../base/index.ts';
import type {
  AccessSize,
  BootEntry,
  Bus,
  DeviceRecord,
  LocalApic,
  LocalApicState,
  VcpuThreads,
  VcpuThreadsEvent,
} from '../../contract/index.ts';
import { X86_CPU } from '../../target/index.ts';
import { readApic, withApic } from './apic-record.ts';
import { describeState } from './describe.ts';
import { describeExit, EXIT } from './exits.ts';
import { GuestDebug } from './guest-debug.ts';
import { ERRNO, type EventWait, errnoName, type KvmHost, type VcpuThread } from './host.ts';
import { VCPU } from './ioctls.ts';
import type { OutsideControllers } from './irqchip.ts';
import { ExternalInjector, LocalInterrupts } from './local-interrupts.ts';
import { createMailbox, type Mailbox, TURN, WORDS } from './mailbox.ts';
import { fromRecord, type RecordContext, toRecord } from './record.ts';
import { exitHypercall, exitIo, exitMmio, exitMsr, RUN_DATA, runHead } from './structures.ts';
import { type KvmVcpu, MP_STATE } from './vcpu.ts';
import { atEntry, readState, type VcpuState, writeState } from './vcpu-state.ts';

export interface KvmThreadsOptions {
  readonly host: KvmHost;
  readonly vcpus: readonly KvmVcpu[];
  readonly mmio: Bus;
  readonly ports: Bus;
  /** MSRs that make up a vCPU's state. */
  readonly msrs: readonly number[];
  readonly run: SharedArrayBuffer;
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

/** How long the machine's thread looks for the next request of a vCPU before it sleeps, while they come often. */
const SPIN_NANOS = 40_000;
const BUSY_NANOS = 300_000;
const SPINS_PER_LOOK = 50;
/** Requests answered in a row before event counters are looked at. */
const REQUESTS_PER_LOOK = 64;
/** How long a kicked vCPU may take before it is kicked again. */
const KICK_AGAIN_NANOS = 1_000_000;
/** What a hypercall that nobody knows returns, negated. */
const KVM_ENOSYS = 1000n;
/** A pause that a guest's clock should not see. */
const LONG_PAUSE_NANOS = 100_000_000;
const { exitReason, immediateExit } = runHead.offsets;

export class KvmThreads implements VcpuThreads {
  readonly count: number;
  readonly #options: KvmThreadsOptions;
  readonly #mailbox: Mailbox;
  readonly #words: Int32Array;
  readonly #doorbell: number;
  readonly #wait: EventWait;
  readonly #onEvent = (fd: number) => this.#event(fd);
  readonly #listeners = new Map<number, () => void>();
  readonly #threads: VcpuThread[];
  readonly #powerUp: readonly VcpuState[];
  /** Whether a vCPU was given the turn and has not given it back. */
  readonly #isOut: boolean[];
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
  #served = 0;
  #lastRequest = 0;
  readonly #now: () => number;
  readonly debug: GuestDebug;

  constructor(options: KvmThreadsOptions, now: () => number) {
    const { host, vcpus } = options;
    this.#options = options;
    this.#now = now;
    this.count = vcpus.length;
    this.#mailbox = createMailbox(vcpus.length);
    this.#words = this.#mailbox.words;
    this.#doorbell = host.eventfd();
    this.#wait = host.createWait();
    this.#wait.add(this.#doorbell);
    this.#isOut = vcpus.map(() => false);
    this.debug = new GuestDebug(vcpus, (change) => this.#whileStill(change));
    this.#local = options.apic && new LocalInterrupts(options.apic, vcpus[0]);
    this.#outside = options.outside && new ExternalInjector(options.outside.external, vcpus[0]);
    this.#powerUp = vcpus.map((vcpu) => this.#read(vcpu));
    this.#threads = vcpus.map((vcpu, index) => this.#startThread(vcpu, index));
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
    this.#halt();
    this.#pausedAt = { at: this.#now(), clock: this.#options.clock.read() };
  }

  serve(): boolean {
    let any = false;
    for (let index = 0; index < this.count; index++) {
      if (!this.#isOut[index] || !this.#hasRequest(index)) continue;
      any = true;
      this.#isOut[index] = false;
      this.#answer(index);
      this.#listenAgain(index);
      if (!this.#paused && this.#events.length === 0 && this.#options.mayContinue()) this.#give(index);
    }
    if (any) {
      this.#lastRequest = this.#now();
      if (++this.#served % REQUESTS_PER_LOOK === 0) this.#wait.wait(0, this.#onEvent);
    }
    return any;
  }

  nmi(): void {
    if (this.#local) {
      this.#local.nmiPending = true;
      this.interruptRequest();
    } else this.#options.nmi();
  }

  interruptRequest(): void {
    if ((!this.#local && !this.#outside) || this.#paused) return;
    if (!this.#isOut[0]) {
      // Not while its request is being answered: it looks for interrupts after that.
      if (this.#local?.isHalted) this.#give(0);
      return;
    }
    Atomics.store(this.#words, this.#mailbox.baseOf(0) + WORDS.attention, 1);
    this.#kick(0);
  }

  takeEvent(): VcpuThreadsEvent | undefined {
    return this.#events.shift();
  }

  spin(): boolean {
    const start = this.#now();
    if (start - this.#lastRequest > BUSY_NANOS) return false;
    do {
      for (let i = 0; i < SPINS_PER_LOOK; i++) if (this.#anyRequest()) return true;
    } while (this.#now() < start + SPIN_NANOS);
    return false;
  }

  wait(nanos: number): boolean {
    Atomics.store(this.#words, WORDS.machineAsleep, 1);
    const turn = this.#wait.wait(this.#anyRequest() ? 0 : nanos, this.#onEvent);
    Atomics.store(this.#words, WORDS.machineAsleep, 0);
    return turn;
  }

  /** Calls `listener` in the machine's thread when an event counter is signalled. */
  listen(fd: number, listener: () => void): void {
    this.#listeners.set(fd, listener);
    this.#wait.add(fd);
  }

  unlisten(fd: number): void {
    if (this.#listeners.delete(fd)) this.#wait.remove(fd);
  }

  // --- State, while paused.

  reset(entry: BootEntry): void {
    for (const [index, vcpu] of this.#options.vcpus.entries()) {
      this.#finish(vcpu);
      const first = this.#powerUp[index];
      writeState(vcpu, index === 0 ? atEntry(first, entry) : { ...first, mpState: MP_STATE.uninitialized });
    }
    this.#local?.reset();
  }

  describe(cpu = 0): string {
    const wasPaused = this.#paused;
    if (!wasPaused) this.pause();
    const vcpu = this.#options.vcpus[cpu];
    this.#finish(vcpu);
    const text = describeState(readState(vcpu, [], false));
    if (!wasPaused) this.resume();
    return text;
  }

  snapshot(): DeviceRecord[] {
    return this.#options.vcpus.map((vcpu, index) => {
      this.#finish(vcpu);
      const record = toRecord(this.#read(vcpu), this.#contextOf(index));
      return this.#local?.isHalted ? { ...record, activity: 'halted' } : record;
    });
  }

  restore(records: readonly DeviceRecord[]): void {
    if (records.length !== this.count) throw new StateError('vcpus', `${this.count} CPUs`, records);
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
    return readApic(this.#options.vcpus[cpu]);
  }

  /** Takes effect with `restore`. */
  setLocalApic(cpu: number, state: LocalApicState): void {
    this.#apics.set(cpu, state);
  }

  get haltedForever(): boolean {
    const INTERRUPTS_ON = 0x200n;
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
    for (let index = 0; index < this.count; index++) this.#turn(index, TURN.end);
    await Promise.all(this.#threads.map(({ ended }) => ended));
    this.#wait.close();
    this.#options.host.close(this.#doorbell);
  }

  /** The guest's clock goes on from where it was paused, and its watchdogs are told. */
  #setClock(): void {
    const { clock, vcpus, host } = this.#options;
    if (this.#pausedAt) clock.write(this.#pausedAt.clock);
    // Refused where the guest has no such clock.
    for (const { fd } of vcpus) host.ioctl(fd, VCPU.KVMCLOCK_CTRL, 0);
  }

  // --- Turns.

  #startThread(vcpu: KvmVcpu, index: number): VcpuThread {
    const thread = this.#options.host.startVcpuThread({
      mailbox: this.#mailbox.buffer,
      words: WORDS,
      turns: TURN,
      base: this.#mailbox.baseOf(index),
      vcpuFd: vcpu.fd,
      doorbellFd: this.#doorbell,
      run: this.#options.run,
      runOffset: vcpu.run.byteOffset,
      requests: { run: VCPU.RUN, setSignalMask: VCPU.SET_SIGNAL_MASK },
    });
    void thread.ended.then((wrong) => {
      if (this.#closed) return;
      this.#isOut[index] = false;
      this.#events.push({
        kind: 'failure',
        cpu: index,
        message: `the thread of CPU ${index} died: ${wrong ?? 'it ended'}`,
      });
    });
    return thread;
  }

  /** A CPU whose local APIC is not the kernel's stays here while it is halted. */
  #give(index: number): void {
    if (this.#isOut[index] || (this.#local && !this.#local.enter())) return;
    if (index === 0) this.#outside?.enter();
    this.#isOut[index] = true;
    this.#turn(index, TURN.guest);
  }

  #turn(index: number, turn: number): void {
    const base = this.#mailbox.baseOf(index);
    Atomics.store(this.#words, base + WORDS.turn, turn);
    if (Atomics.load(this.#words, base + WORDS.asleep) !== 0) Atomics.notify(this.#words, base + WORDS.turn);
  }

  #hasRequest(index: number): boolean {
    return Atomics.load(this.#words, this.#mailbox.baseOf(index) + WORDS.turn) === TURN.machine;
  }

  #anyRequest(): boolean {
    for (let index = 0; index < this.count; index++) if (this.#isOut[index] && this.#hasRequest(index)) return true;
    return false;
  }

  #whileStill(action: () => void): void {
    const ran = !this.#paused;
    this.pause();
    action();
    if (ran) this.resume();
  }

  /** Fetches every vCPU out of the guest. */
  #halt(): void {
    const { vcpus } = this.#options;
    this.#halting = true;
    const setAttention = (value: number) => {
      for (const [index] of vcpus.entries())
        Atomics.store(this.#words, this.#mailbox.baseOf(index) + WORDS.attention, value);
    };
    setAttention(1);
    for (;;) {
      this.serve();
      const out = vcpus.filter((_, index) => this.#isOut[index]);
      if (out.length === 0) break;
      for (const { id } of out) this.#kick(id);
      this.#lastRequest = this.#now(); // the answers come soon
      if (!this.spin()) this.wait(KICK_AGAIN_NANOS);
    }
    this.#halting = false;
    setAttention(0);
    // What they wrote to doorbells until now is done, too: their counters are in no snapshot.
    this.#wait.wait(0, this.#onEvent);
  }

  #kick(index: number): void {
    const { host, vcpus } = this.#options;
    Atomics.store(vcpus[index].run, immediateExit, 1);
    const id = Atomics.load(this.#words, this.#mailbox.baseOf(index) + WORDS.threadId);
    if (id !== 0) host.kick(id);
  }

  /** What it was fetched out for is looked at now; a pause wants all. */
  #listenAgain(index: number): void {
    if ((this.#local || this.#outside) && !this.#halting)
      Atomics.store(this.#words, this.#mailbox.baseOf(index) + WORDS.attention, 0);
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

  #event(fd: number): void {
    this.#options.host.takeEvent(fd);
    this.#listeners.get(fd)?.();
  }

  // --- What vCPUs ask for.

  #answer(index: number): void {
    const vcpu = this.#options.vcpus[index];
    const result = Atomics.load(this.#words, this.#mailbox.baseOf(index) + WORDS.result);
    if (result === -ERRNO.EINTR) return;
    if (result < 0) {
      this.#fail(index, `KVM cannot run CPU ${index}: ${errnoName(-result)}`);
      return;
    }
    switch (vcpu.runView.getUint32(exitReason, true)) {
      case EXIT.io:
        this.#io(vcpu);
        return;
      case EXIT.mmio:
        this.#mmio(vcpu);
        return;
      case EXIT.shutdown:
        this.#events.push({ kind: 'shutdown', cpu: index, reason: 'triple fault' });
        return;
      case EXIT.debug:
        if (this.debug.stops(vcpu)) this.#events.push({ kind: 'debug', cpu: index });
        return;
      case EXIT.intr:
      case EXIT.irqWindowOpen:
      case EXIT.busLock:
      case EXIT.notify:
        return;
      case EXIT.rdmsr:
      case EXIT.wrmsr: // no device has it: #GP
        vcpu.runView.setUint8(RUN_DATA + exitMsr.offsets.error, 1);
        return;
      case EXIT.hypercall:
        vcpu.runView.setBigInt64(RUN_DATA + exitHypercall.offsets.ret, -KVM_ENOSYS, true);
        return;
      case EXIT.ioapicEoi:
        this.#options.outside?.onEoi(vcpu.runView.getUint8(RUN_DATA));
        return;
      case EXIT.hlt:
        if (this.#local) this.#local.isHalted = true;
        return;
      default:
        this.#fail(index, describeExit(vcpu.run, this.#options.host.isPvm));
    }
  }

  #fail(cpu: number, message: string): void {
    this.#events.push({ kind: 'failure', cpu, message });
  }

  /** A port, `count` times for string instructions. */
  #io({ runView }: KvmVcpu): void {
    const { ports } = this.#options;
    const isOut = runView.getUint8(RUN_DATA + exitIo.offsets.direction) === 1;
    const size = runView.getUint8(RUN_DATA + exitIo.offsets.size) as AccessSize;
    const port = runView.getUint16(RUN_DATA + exitIo.offsets.port, true);
    const count = runView.getUint32(RUN_DATA + exitIo.offsets.count, true);
    let at = runView.getUint32(RUN_DATA + exitIo.offsets.dataOffset, true);
    for (let i = 0; i < count; i++, at += size) {
      if (isOut) ports.write(port, size, getValue(runView, at, size));
      else setValue(runView, at, size, ports.read(port, size));
    }
  }

  #mmio({ runView }: KvmVcpu): void {
    const { mmio } = this.#options;
    const address = runView.getUint32(RUN_DATA, true) + runView.getUint32(RUN_DATA + 4, true) * 0x1_0000_0000;
    const length = runView.getUint32(RUN_DATA + exitMmio.offsets.length, true);
    const isWrite = runView.getUint8(RUN_DATA + exitMmio.offsets.isWrite) !== 0;
    // 8 bytes are two accesses, and odd lengths (of split accesses) are bytes.
    const step = length === 8 ? 4 : length === 1 || length === 2 || length === 4 ? length : 1;
    for (let done = 0; done < Math.min(length, 8); done += step) {
      const at = RUN_DATA + exitMmio.offsets.data + done;
      if (isWrite) mmio.write(address + done, step as AccessSize, getValue(runView, at, step));
      else setValue(runView, at, step, mmio.read(address + done, step as AccessSize));
    }
  }
}

function getValue(view: DataView, at: number, size: number): number {
  if (size === 1) return view.getUint8(at);
  if (size === 2) return view.getUint16(at, true);
  if (size === 4) return view.getUint32(at, true);
  throw new InternalError(`KVM: an access of ${size} bytes`);
}

function setValue(view: DataView, at: number, size: number, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}
