/** The system side of one vCPU, bound to the engine: modes, events, and where execution stands. */
import type { BootEntry } from '../../contract/index.ts';
import {
  type CpuModel,
  cr0Bits,
  cr4Bits,
  createSystem,
  type HelperResult,
  helperNames,
  modeBits,
  type PendingEvents,
  rightsBits,
  type System,
  shadowAtLinear,
  state,
  type X86CpuRecord,
  type X86State,
} from '../../target/index.ts';
import type { Mmu } from './mmu.ts';
import type { EnginePorts } from './ports.ts';

export class TcgSystem {
  readonly cpu: X86State;
  /** By number, as generated code calls them. */
  readonly helpers: readonly (() => HelperResult)[];
  readonly walker: System['walker'];
  readonly ports: EnginePorts;
  private readonly system: System;
  private readonly mmu: Mmu;
  /** The last instruction ran alone, so that its trap may be due even if the mode steps no more. */
  private stepped = false;
  /** A debugger runs single instructions. */
  private debugStepping = false;

  constructor(cpu: X86State, mmu: Mmu, ports: EnginePorts, model: CpuModel) {
    this.cpu = cpu;
    this.mmu = mmu;
    this.ports = ports;
    this.system = createSystem(cpu, ports, model);
    this.walker = this.system.walker;
    ports.onModeChanged = () => this.updateMode();
    this.helpers = helperNames.map((name) => this.system.helpers[name]);
  }

  get halted(): boolean {
    return this.cpu.get(state.activity) === state.activities.halted;
  }

  get isShutdown(): boolean {
    return this.cpu.get(state.activity) === state.activities.shutdown;
  }

  get isWaitingForStartup(): boolean {
    return this.cpu.get(state.activity) === state.activities.waiting;
  }

  get interruptsEnabled(): boolean {
    return (this.cpu.get(state.eflags) & state.flag.IF) !== 0;
  }

  get acceptsNmi(): boolean {
    return this.cpu.get(state.nmiBlocked) === 0;
  }

  /** What holds interrupts back from the instruction at `linear` (after STI, MOV SS): one of `shadows`. */
  get shadow(): number {
    return shadowAtLinear(this.cpu);
  }

  /** The instruction at `linear`, which a shadow covered, was not run after all. */
  keepShadow(kind: number): void {
    const { cpu } = this;
    if (kind === state.shadows.none) return;
    cpu.set(state.interruptShadow, kind);
    cpu.set(state.interruptShadow, this.shadow);
  }

  // --- Events. Those that deliver go on at state `linear`.

  /** A fault of the instruction at `currentIp`. */
  deliverException(vector: number, error: number): void {
    this.system.deliverException(vector, error);
  }

  deliverInterrupt(vector: number): void {
    this.setIpOfLinear();
    this.system.deliverInterrupt(vector);
  }

  deliverNmi(): void {
    this.setIpOfLinear();
    this.system.deliverNmi();
  }

  /** Delivers the #DB that is due before the instruction at state `linear`, if there is one. */
  deliverPendingDebug(): boolean {
    const { cpu } = this;
    const steps = (cpu.get(state.mode) & modeBits.step) !== 0;
    if (!steps && !this.stepped && cpu.get(state.pendingDebug) === 0) return false;
    this.stepped = steps;
    // A load of SS holds its own trap back, and it is lost.
    if (this.shadow === state.shadows.stackSegment) this.system.cancelStep();
    if (!this.system.stepBoundary()) return false;
    this.setIpOfLinear();
    this.system.deliverTrap(state.vector.DB);
    return true;
  }

  get stepsForDebugger(): boolean {
    return this.debugStepping;
  }

  setDebugStepping(stepping: boolean): void {
    this.debugStepping = stepping;
    this.updateMode();
  }

  /** No instruction was run since `deliverPendingDebug`. */
  cancelStep(): void {
    this.system.cancelStep();
  }

  reset(): void {
    this.system.reset();
  }

  init(): void {
    this.system.init();
  }

  startup(vector: number): void {
    this.system.startup(vector);
  }

  setEntry(entry: BootEntry): void {
    this.system.setEntry(entry);
  }

  describe(): string {
    return this.system.describe();
  }

  save(pending: PendingEvents): X86CpuRecord {
    return this.system.save(pending);
  }

  load(record: X86CpuRecord): void {
    this.stepped = false;
    this.system.load(record);
  }

  // --- Where execution stands.

  /** Sets `currentIp` to the instruction at `offset` in the page being executed. */
  setIpOf(offset: number): void {
    const { cpu } = this;
    const sum = (cpu.get(state.page) >>> 0) + offset;
    this.setCurrentIp(sum | 0, cpu.high(state.page) + (sum > 0xffff_ffff ? 1 : 0));
  }

  /** Sets `currentIp` from state `linear`. */
  setIpOfLinear(): void {
    this.setCurrentIp(this.cpu.get(state.linear), this.cpu.high(state.linear));
  }

  private setCurrentIp(low: number, high: number): void {
    const { cpu } = this;
    if (cpu.get(state.mode) & modeBits.long64) cpu.setPair(state.currentIp, low, high);
    else cpu.setPair(state.currentIp, (low - cpu.get(state.cs.base)) | 0, 0);
  }

  /** Recomputes the decoding mode and the TLB set after a change of privilege, paging or segments. */
  updateMode(): void {
    const { cpu } = this;
    const mode = decodingMode(cpu) | (this.debugStepping ? modeBits.step : 0);
    cpu.set(state.modeDirty, 1);
    cpu.set(state.mode, mode);
    this.mmu.selectSet(mode);
  }
}

/** The mode bits that the CPU's state calls for. */
function decodingMode(cpu: X86State): number {
  const cr0 = cpu.get(state.cr0);
  const v86 = (cpu.get(state.eflags) & state.flag.VM) !== 0;
  const csRights = cpu.get(state.cs.rights);
  const long64 = (cpu.get(state.efer) & 0x400) !== 0 && (csRights & rightsBits.L) !== 0;
  let mode = 0;
  if (long64) mode |= modeBits.long64 | modeBits.code32 | modeBits.stack32 | modeBits.flat;
  else {
    if (csRights & rightsBits.D) mode |= modeBits.code32;
    if (cpu.get(state.ss.rights) & rightsBits.D) mode |= modeBits.stack32;
    if (cr0 & cr0Bits.PE && !v86 && isFlat(cpu)) mode |= modeBits.flat;
  }
  if (cr0 & cr0Bits.PE && !v86) mode |= modeBits.protected;
  if (cpu.get(state.eflags) & state.flag.TF || cpu.get(state.dr[7]) & 0xff) mode |= modeBits.step;
  if (!(cr0 & (cr0Bits.EM | cr0Bits.TS)) && cpu.get(state.cr4) & cr4Bits.OSFXSR) mode |= modeBits.sse;
  const avx = cpu.get(state.cr4) & cr4Bits.OSXSAVE && (cpu.get(state.xcr0) & 6) === 6;
  if (!(cr0 & cr0Bits.TS) && avx) mode |= modeBits.avx;
  return mode;
}

/** ES, CS, SS and DS from 0 to 4 GiB, usable, code readable, data writable and expand-up. */
function isFlat(cpu: X86State): boolean {
  return [state.es, state.cs, state.ss, state.ds].every((segment) => {
    const segmentRights = cpu.get(segment.rights);
    if (cpu.get(segment.base) !== 0 || cpu.get(segment.limit) !== -1) return false;
    if (segmentRights & rightsBits.unusable) return false;
    if (segment === state.cs) return (segmentRights & rightsBits.writable) !== 0;
    return (segmentRights & (rightsBits.code | rightsBits.conforming | rightsBits.writable)) === rightsBits.writable;
  });
}
