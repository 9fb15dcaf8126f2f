/** One guest x86 CPU: the loop around generated code. */
import type { BootEntry, DeviceRecord, RunExit, Vcpu, VcpuDebug, VcpuEnvironment } from '../../contract/index.ts';
import { CpuFault, helperNames, modeBits, state, stateSize, X86_CPU } from '../../target/index.ts';
import type { CodeCache } from './code-cache.ts';
import { exit, status } from './emit/core-types.ts';
import { type EngineCpu, emptyImage, type TcgEngine } from './engine.ts';
import { type Interpreter, ops } from './interpreter.ts';
import { noTranslations, type Translator } from './jit/translator.ts';
import { record } from './layout.ts';
import type { TcgMemory } from './memory.ts';
import type { Mmu } from './mmu.ts';
import type { EngineCounters, TcgStatistics } from './statistics.ts';
import type { TcgSystem } from './system.ts';

const interruptHelper = helperNames.indexOf('interrupt');
/** The helper's second argument for INT3. */
const softwareException = 1;
/** Taken branches between two looks at the clock. */
const branchesPerSlice = 5000;
/** What decoding a block costs, in taken branches. */
const branchesPerFetch = 200;

export interface VcpuParts {
  readonly counters: EngineCounters;
  readonly engine: TcgEngine<TcgVcpu>;
  readonly memory: TcgMemory;
  readonly mmu: Mmu;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  readonly translator: Translator | undefined;
  /** Translate code when it is first run, hot or not. */
  readonly translatesAtOnce: boolean;
  readonly system: TcgSystem;
  readonly environment: VcpuEnvironment;
}

export class TcgVcpu implements Vcpu, EngineCpu {
  readonly image = emptyImage(stateSize);
  private readonly parts: VcpuParts;
  private readonly view: DataView;
  private pendingNmi = false;
  private pendingInit = false;
  private pendingStartup = -1;
  readonly debug: VcpuDebug = { isBreakpoint: () => false, step: () => this.parts.system.setDebugStepping(true) };
  /** The debugger's breakpoint was reached. */
  private atBreakpoint = false;
  /** An instruction was executed, or raised something, since the debugger asked for a step. */
  private hasStepped = false;

  constructor(parts: VcpuParts) {
    this.parts = parts;
    this.view = new DataView(parts.memory.buffer);
    this.reset();
  }

  /** Called by the engine that gives itself to this vCPU. */
  selectMode(): void {
    this.parts.system.updateMode();
  }

  /** Of the engine, so of all CPUs. */
  statistics(): TcgStatistics {
    const { code, mmu, interpreter, translator, counters } = this.parts;
    const { exits, samplesInRegions, samplesInInterpreter } = counters;
    return {
      ...code.statistics,
      tlbMisses: mmu.walks,
      functions: interpreter.functionCount,
      ...(translator?.statistics ?? noTranslations),
      exitsForSlice: exits[exit.slice],
      exitsForFault: exits[exit.fault],
      exitsForCode: exits[exit.fetch],
      exitsForSystem: exits[exit.leave],
      exitsForTranslation: exits[exit.hot],
      samplesInRegions,
      samplesInInterpreter,
    };
  }

  // --- Signals: between instructions, in this thread.

  interruptRequest(): void {
    const { engine } = this.parts;
    engine.stateOf(this).set(state.interruptPending, state.pendingKinds.interrupt | state.pendingKinds.nmi);
    engine.interrupt(this);
  }

  nmi(): void {
    this.pendingNmi = true;
    this.interruptRequest();
  }

  init(): void {
    this.pendingInit = true;
    this.interruptRequest();
  }

  startup(vector: number): void {
    this.pendingStartup = vector;
    this.interruptRequest();
  }

  setA20(enabled: boolean): void {
    // The one that runs may be another, in the middle of the instruction that led here.
    const { engine, mmu } = this.parts;
    engine.stateOf(this).set(state.a20Mask, enabled ? -1 : ~0x10_0000);
    if (engine.has(this)) mmu.tlb.flush(false);
  }

  reset(): void {
    this.pendingNmi = this.pendingInit = false;
    this.pendingStartup = -1;
    this.parts.engine.activate(this);
    this.parts.mmu.tlb.flush(false);
    this.parts.system.reset();
  }

  setEntry(entry: BootEntry): void {
    this.parts.engine.activate(this);
    this.parts.mmu.tlb.flush(false);
    this.parts.system.setEntry(entry);
  }

  get haltedForever(): boolean {
    const cpu = this.parts.engine.stateOf(this);
    const isHalted = cpu.get(state.activity) === state.activities.halted;
    const takesInterrupts = (cpu.get(state.eflags) & state.flag.IF) !== 0;
    return isHalted && !takesInterrupts && !this.pendingNmi && !this.pendingInit;
  }

  get isWaitingForStartup(): boolean {
    return this.parts.engine.stateOf(this).get(state.activity) === state.activities.waiting;
  }

  nanosFromTsc(low: number, high: number): number {
    const ticks = (BigInt(high >>> 0) << 32n) + BigInt(low >>> 0);
    const signed = BigInt.asIntN(64, ticks);
    if (signed > BigInt(Number.MAX_SAFE_INTEGER)) return Number.POSITIVE_INFINITY;
    return (Number(signed) * 1e9) / this.parts.system.ports.tscHertz;
  }

  describe(): string {
    this.parts.engine.activate(this);
    return this.parts.system.describe();
  }

  snapshot(): DeviceRecord {
    this.parts.engine.activate(this);
    const { pendingNmi, pendingInit, pendingStartup } = this;
    const record = this.parts.system.save({
      nmiPending: pendingNmi,
      initPending: pendingInit,
      startupVector: pendingStartup < 0 ? undefined : pendingStartup,
    });
    return X86_CPU.save(record);
  }

  restore(record: DeviceRecord): void {
    const cpu = X86_CPU.load(record);
    this.parts.engine.activate(this);
    this.parts.system.load(cpu);
    this.pendingNmi = cpu.nmiPending;
    this.pendingInit = cpu.initPending;
    this.pendingStartup = cpu.startupVector ?? -1;
    this.interruptRequest();
  }

  // --- Running.

  stop(): void {
    this.parts.engine.stop();
  }

  run(sliceNanos: number): RunExit {
    const { engine, system, environment } = this.parts;
    if (this.sleeps()) return { kind: 'halt' };
    engine.activate(this);
    engine.takeYield();
    const { cpu } = system;
    const end = environment.clock.nowNanos() + sliceNanos;
    let record = 0;
    for (;;) {
      const stop = record === 0 ? this.takeEvents() : undefined;
      if (stop) return stop.kind === 'halt' && system.stepsForDebugger ? this.debugStop() : stop;
      if (record !== 0 && system.deliverPendingDebug()) record = 0;
      if (cpu.get(state.mode) & modeBits.step) {
        // Enough to enter the block, so that a taken branch leaves.
        if (environment.clock.nowNanos() >= end) {
          system.cancelStep();
          return { kind: 'slice' };
        }
        cpu.set(state.budget, 1);
      } else if (cpu.get(state.budget) <= 0) {
        // A record in hand is run first: to find it again could use up the next slice.
        if (record === 0 && (environment.clock.nowNanos() >= end || engine.takeYield())) return { kind: 'slice' };
        // A guest that is interrupted all the time must use up budgets too: what is hot is seen where they end.
        cpu.set(state.budget, engine.takeLeft() || branchesPerSlice);
      }
      record = this.enter(record);
      if (this.atBreakpoint || (this.hasStepped && system.stepsForDebugger && record === 0)) return this.debugStop();
    }
  }

  private debugStop(): RunExit {
    this.atBreakpoint = this.hasStepped = false;
    this.parts.system.setDebugStepping(false);
    return { kind: 'debug' };
  }

  /** Nothing to do, which is known without taking the engine from another vCPU. */
  private sleeps(): boolean {
    const { engine, environment } = this.parts;
    if (engine.has(this) || this.pendingNmi || this.pendingInit || this.pendingStartup >= 0) return false;
    const activity = this.image.get(state.activity);
    if (activity === state.activities.waiting) return true;
    return activity === state.activities.halted && environment.apic.pendingVector() < 0;
  }

  /** Translates, which takes long enough that the clock should be looked at. */
  private translate(page: number): void {
    const { cpu } = this.parts.system;
    this.parts.translator?.translate(page, cpu.get(state.mode), cpu.get(state.linear), cpu.high(state.linear));
    this.parts.system.cpu.set(state.budget, 0);
  }

  /** Runs generated code once and handles why it came back; returns the record to go on with, or 0. */
  private enter(start: number): number {
    const { interpreter, system } = this.parts;
    const { cpu } = system;
    const low = cpu.get(state.linear);
    const high = cpu.high(state.linear);
    this.hasStepped = true;
    // A shadow lasts for one instruction, whichever comes after it; what is run now may cast another.
    const { shadow } = system;
    cpu.set(state.interruptShadow, state.shadows.none);
    const why = interpreter.run(start) as keyof EngineCounters['exits'];
    if (why === exit.fetch || why === exit.hot) system.keepShadow(shadow);
    this.parts.counters.exits[why]++;
    switch (why) {
      case exit.fault:
        this.deliverFault();
        return 0;
      case exit.fetch:
        // Having moved, the CPU owes the traps of the instruction before.
        if (cpu.get(state.mode) & modeBits.step && (cpu.get(state.linear) !== low || cpu.high(state.linear) !== high))
          return 0;
        system.cancelStep();
        this.hasStepped = false;
        return this.fetch();
      case exit.leave:
        cpu.set(state.modeDirty, 0);
        return 0;
      case exit.hot:
        if (!this.makeRoom() && this.parts.translator?.isMissing(cpu.get(state.record))) this.translateHere();
        return 0;
      default:
        // A region that ends for want of budget leaves another branch to count; less: it was taken away for an interrupt.
        if (cpu.get(state.budget) >= -2 && !this.parts.engine.wasCutShort) this.sample();
        return 0;
    }
  }

  /** Forgets all code when there is no room for more; true if that was so. Only where no record is in hand. */
  private makeRoom(): boolean {
    const { code, interpreter, mmu, translator } = this.parts;
    if (!code.full && interpreter.hasRoom) return false;
    code.flush();
    translator?.forget();
    mmu.tlb.flushAllExecute();
    return true;
  }

  /** A whole slice was spent: what it ended at may be worth translating. */
  private sample(): void {
    if (this.makeRoom()) return;
    const { code, counters, system, translator } = this.parts;
    const at = system.cpu.get(state.record);
    if (code.regionAt(at)) counters.samplesInRegions++;
    else counters.samplesInInterpreter++;
    if (translator?.sample(at)) this.translateHere();
  }

  private translateHere(): void {
    const { system, translator, mmu } = this.parts;
    const { cpu } = system;
    try {
      const page = mmu.fetchPage(cpu.get(state.linear), cpu.high(state.linear));
      // A page that changed just now is not guarded against writes until it is fetched from again.
      if (page >= 0 && this.parts.code.hasCode(page))
        translator?.translate(page, cpu.get(state.mode), cpu.get(state.linear), cpu.high(state.linear));
    } catch (e) {
      // The page went away meanwhile: its next fetch will fault in order.
      if (!(e instanceof CpuFault)) throw e;
    }
  }

  /** NMI, INIT, SIPI, debug traps, interrupts and the end of a halt; an exit when there is nothing to run. */
  private takeEvents(): RunExit | undefined {
    const { system, environment } = this.parts;
    if (this.pendingInit) {
      this.pendingInit = false;
      system.init();
    }
    if (this.pendingStartup >= 0) {
      system.startup(this.pendingStartup);
      this.pendingStartup = -1;
    }
    if (system.isShutdown) return { kind: 'shutdown', reason: 'triple fault' };
    if (system.deliverPendingDebug()) return undefined;
    if (system.shadow) {
      // Past one branch the shadow is over: interrupts that wait are seen there.
      system.cpu.set(state.budget, 1);
      return undefined;
    }
    if (this.pendingNmi && system.acceptsNmi) {
      this.pendingNmi = false;
      system.deliverNmi();
      return undefined;
    }
    const vector = environment.apic.pendingVector();
    this.noteInterrupts(vector);
    const isOpen = system.interruptsEnabled && !system.isWaitingForStartup && !system.stepsForDebugger;
    if (vector >= 0 && isOpen) {
      system.deliverInterrupt(environment.apic.acknowledge());
      this.noteInterrupts(environment.apic.pendingVector());
    }
    if (system.halted || system.isWaitingForStartup) return { kind: 'halt' };
    return undefined;
  }

  /** Whether generated code is to look for interrupts where it may be interrupted again. */
  private noteInterrupts(vector: number): void {
    const { interrupt, nmi } = state.pendingKinds;
    this.parts.system.cpu.set(state.interruptPending, (vector >= 0 ? interrupt : 0) | (this.pendingNmi ? nmi : 0));
  }

  private deliverFault(): void {
    const { system, mmu } = this.parts;
    const at = system.cpu.get(state.record);
    system.setIpOf(this.view.getUint16(at + record.offset, true));
    let vector = system.cpu.get(state.faultVector);
    if (mmu.addressFaulted && vector === state.vector.GP && this.view.getUint8(at + record.segment) === 2)
      vector = state.vector.SS;
    mmu.addressFaulted = false;
    system.deliverException(vector, system.cpu.get(state.faultError));
  }

  /** State `linear` has no code yet: finds the page, decodes, or raises what the fetch raises. */
  private fetch(): number {
    const { system, mmu, code } = this.parts;
    const { cpu } = system;
    const low = cpu.get(state.linear);
    const high = cpu.high(state.linear);
    try {
      this.makeRoom();
      const page = mmu.fetchPage(low, high);
      if (page < 0) throw new CpuFault(state.vector.UD, 0);
      const mode = cpu.get(state.mode);
      const offset = low & 0xfff;
      const fresh = !code.hasCode(page);
      const table = code.entryTable(page, mode);
      mmu.setExecuteEntry(low, high, table);
      code.ensure(page, mode, offset);
      cpu.set(state.budget, cpu.get(state.budget) - branchesPerFetch);
      if (this.parts.translatesAtOnce) this.translate(page);
      if (fresh) mmu.protectPage(page);
      const at = code.recordAt(page, mode, offset);
      if (this.view.getUint16(at + record.op, true) === ops.stop) return this.fetchCrossing(page, low, high, mode);
      return 0;
    } catch (e) {
      mmu.pend(e);
      system.setIpOfLinear();
      system.deliverException(cpu.get(state.faultVector), cpu.get(state.faultError));
      return 0;
    }
  }

  /** An instruction whose bytes go on in the next page. */
  private fetchCrossing(page: number, low: number, high: number, mode: number): number {
    const { system, mmu, code, memory } = this.parts;
    const offset = low & 0xfff;
    const nextLow = (low - offset + 0x1000) | 0;
    const nextHigh = nextLow === 0 ? (high + 1) | 0 : high;
    const second = mmu.fetchPage(nextLow, mode & modeBits.long64 ? nextHigh : 0);
    if (second < 0) throw new CpuFault(state.vector.UD, 0);
    const bytes = new Uint8Array(15);
    const first = 0x1000 - offset;
    const tail = memory.hostAddress(page) + offset;
    const head = memory.hostAddress(second);
    bytes.set(memory.bytes.subarray(tail, tail + Math.min(first, 15)));
    if (first < 15) bytes.set(memory.bytes.subarray(head, head + 15 - first), first);
    const fresh = !code.hasCode(second);
    const at = code.crossingRecord(page, second, mode, offset, bytes);
    mmu.setExecuteEntry(nextLow, nextHigh, code.entryTable(second, mode));
    if (fresh) mmu.protectPage(second);
    system.cpu.setPair(state.page, low - offset, high);
    return at;
  }

  // --- Called by generated code.

  /** Puts the ticks of the TSC's clock into state `slow`. */
  readTsc(): number {
    const ticks = this.parts.system.ports.readTsc();
    this.parts.system.cpu.setPair(state.slow, ticks | 0, Math.floor(ticks / 0x1_0000_0000));
    return 0;
  }

  /** INT3 where the debugger has put one: the CPU stands before it. */
  private stopsAtBreakpoint(): boolean {
    const { cpu } = this.parts.system;
    if (cpu.get(state.arg[0]) !== state.vector.BP || cpu.get(state.arg[1]) !== softwareException) return false;
    const isLong = (cpu.get(state.mode) & modeBits.long64) !== 0;
    const next = cpu.get(state.nextIp);
    const low = (isLong ? next - 1 : cpu.get(state.cs.base) + next - 1) | 0;
    const high = isLong ? (cpu.high(state.nextIp) - (next === 0 ? 1 : 0)) | 0 : 0;
    if (!this.debug.isBreakpoint(low, high)) return false;
    cpu.setPair(state.linear, low, high);
    this.atBreakpoint = true;
    return true;
  }

  /** Runs a helper; returns a handler status. */
  helper(id: number): number {
    const { system, mmu } = this.parts;
    try {
      if (id === interruptHelper && this.stopsAtBreakpoint()) return status.leave;
      const answer = system.helpers[id]();
      if (answer === 0) return status.next;
      if (answer === 1) {
        system.cpu.set(state.modeDirty, 0);
        // The loop begins each single step.
        return system.cpu.get(state.mode) & modeBits.step ? status.leave : status.jump;
      }
      return status.leave;
    } catch (e) {
      mmu.pend(e);
      return status.fault;
    }
  }
}
