/**
 * The whole of the system side as one object: the helpers that semantics call
 * and the operations that the engine itself starts.
 */
import type { BootEntry } from '../../../contract/index.ts';
import type { X86CpuRecord } from '../cpu-record.ts';
import { type HelperName, helperNames } from '../helpers.ts';
import { activities, activity } from '../state.ts';
import type { HelperResult, SystemContext } from './context.ts';
import { clts, lmsw, moveFromCr, moveToCr, smsw, xgetbv, xsetbv } from './control.ts';
import type { X86State } from './cpu.ts';
import { cpuid } from './cpuid.ts';
import { moveFromDr, moveToDr } from './debug.ts';
import { Descriptor } from './descriptor.ts';
import { describe } from './dump.ts';
import { syscall, sysenter, sysexit, sysret } from './fastcall.ts';
import { farCall, farJump, farReturn } from './gates.ts';
import { deliverException, deliverInterrupt, deliverNmi, deliverTrap, interrupt } from './interrupt.ts';
import { ioCheck, portIn, portOut } from './io.ts';
import { iret } from './iret.ts';
import {
  bound,
  enter,
  hlt,
  invlpg,
  invpcid,
  rdfsbase,
  rdpid,
  rdpmc,
  rdrand,
  undefinedInstruction,
  wbinvd,
  wrfsbase,
} from './misc.ts';
import type { CpuModel } from './models.ts';
import { rdmsr, wrmsr } from './msr.ts';
import { PageWalker } from './paging.ts';
import type { SystemPorts } from './ports.ts';
import { loadCpu, type PendingEvents, saveCpu } from './record.ts';
import { initialize, reset, setEntry, startup } from './reset.ts';
import { clac, cli, popf, pushf, stac, sti } from './rflags.ts';
import { checkUmip, lar, lgdt, lidt, lldt, loadSegment, lsl, ltr, sldt, str, verr, verw } from './segment.ts';
import { Stack } from './stack.ts';
import { Stepper } from './stepper.ts';
import { rdtsc, rdtscp } from './tsc.ts';
import { fxrstor, fxsave, XsaveImage, xrstor, xsave } from './xsave.ts';

type Helper = (s: SystemContext) => HelperResult;

const helpers: Record<HelperName, Helper> = {
  loadSegment,
  farJump,
  farCall,
  farReturn,
  iret,
  interrupt,
  syscall,
  sysret,
  sysenter,
  sysexit,
  moveToCr,
  moveFromCr,
  moveToDr,
  moveFromDr,
  lmsw,
  clts,
  lgdt,
  lidt,
  lldt,
  ltr,
  sldt,
  str,
  smsw,
  sgdt: checkUmip,
  sidt: checkUmip,
  lar,
  lsl,
  verr,
  verw,
  rdmsr,
  wrmsr,
  rdtsc,
  rdtscp,
  rdpid,
  rdpmc,
  cpuid,
  xgetbv,
  xsetbv,
  invlpg,
  invpcid,
  wbinvd,
  hlt,
  mwait: undefinedInstruction,
  monitor: undefinedInstruction,
  rsm: undefinedInstruction,
  rdfsbase,
  wrfsbase,
  cli,
  sti,
  pushf,
  popf,
  stac,
  clac,
  rdrand,
  portIn,
  portOut,
  ioCheck,
  fxsave,
  fxrstor,
  xsave,
  xrstor,
  enter,
  bound,
};

/** IA32_APIC_BASE: this is the boot processor. */
const bootProcessor = 1 << 8;

export interface System {
  readonly model: CpuModel;
  readonly walker: PageWalker;
  /** Each takes its arguments from state `arg0`–`arg3` and may throw CpuFault. */
  readonly helpers: Readonly<Record<HelperName, () => HelperResult>>;
  /** A fault of the instruction at `currentIp`; for #PF, `faultAddress` goes to CR2. A triple fault leaves with `activity` = shutdown. */
  deliverException(vector: number, error: number): HelperResult;
  /** A trap before the instruction at `currentIp`: #DB with its causes in `pendingDebug`. */
  deliverTrap(vector: number): HelperResult;
  /** An external interrupt before the instruction at `currentIp`; ends a halt. */
  deliverInterrupt(vector: number): HelperResult;
  deliverNmi(): HelperResult;
  /**
   * Ends the last instruction and begins the one at `linear`, for single step and code breakpoints; true: #DB is due (call
   * `deliverTrap`). Call at each boundary while the mode has the step bit or `pendingDebug` is not 0.
   */
  stepBoundary(): boolean;
  /** After a return to the loop in which no instruction was done (a fetch): no single-step trap follows. */
  cancelStep(): void;
  /** RESET, of the local APIC too; processors beside the boot processor wait for `startup`. */
  reset(): void;
  /** INIT: the boot processor goes to the reset vector, others wait for `startup`. */
  init(): void;
  /** Startup IPI; ignored unless the CPU waits for it. */
  startup(vector: number): void;
  setEntry(entry: BootEntry): void;
  /** Registers as text; `linear` must hold where the CPU is. */
  describe(): string;
  /** Between instructions. */
  save(pending: PendingEvents): X86CpuRecord;
  /** Throws a StateError for what this CPU does not have. */
  load(record: X86CpuRecord): void;
}

export function createSystem(cpu: X86State, ports: SystemPorts, model: CpuModel): System {
  const stepper = new Stepper(cpu);
  const s: SystemContext = {
    cpu,
    ports,
    model,
    stepper,
    stack: new Stack(cpu, ports),
    descriptor: new Descriptor(cpu, ports),
    stackDescriptor: new Descriptor(cpu, ports),
    xsaveImage: new XsaveImage(),
  };
  const bind = (helper: Helper) => (): HelperResult => helper(s);
  return {
    model,
    walker: new PageWalker(cpu, ports, model.physicalBits, model.has('pdpe1gb')),
    helpers: Object.fromEntries(helperNames.map((name) => [name, bind(helpers[name])])) as System['helpers'],
    deliverException: (vector, error) => deliverException(s, vector, error),
    deliverTrap: (vector) => deliverTrap(s, vector),
    deliverInterrupt: (vector) => deliverInterrupt(s, vector),
    deliverNmi: () => deliverNmi(s),
    stepBoundary: () => stepper.boundary(),
    cancelStep: () => stepper.cancel(),
    reset() {
      ports.apic.reset();
      reset(s);
      if ((ports.apic.readBase().low & bootProcessor) === 0) cpu.set(activity, activities.waiting);
    },
    init() {
      ports.apic.reset();
      initialize(s);
      if ((ports.apic.readBase().low & bootProcessor) === 0) cpu.set(activity, activities.waiting);
    },
    startup(vector) {
      if (cpu.get(activity) === activities.waiting) startup(s, vector);
    },
    setEntry: (entry) => setEntry(s, entry),
    describe: () => describe(s),
    save: (pending) => saveCpu(s, pending),
    load: (record) => loadCpu(s, record),
  };
}
