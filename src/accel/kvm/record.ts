/** A vCPU's state to and from the record that all accelerators of x86 share (target's X86_CPU). */
import { StateError, UserError } from '../../base/index.ts';
import type { DeviceRecord } from '../../contract/index.ts';
import {
  type FeatureLeaf,
  featureLeaves,
  requireFeatures,
  X86_CPU,
  type X86CpuRecord,
  state as x86,
} from '../../target/index.ts';
import type { CpuidEntry, Regs, Sregs, VcpuEvents } from './structures.ts';
import { MP_STATE } from './vcpu.ts';
import { MSR, MTRR_FIXED, rightsOf, segmentOf, type VcpuState } from './vcpu-state.ts';

/** Name in the record → in kvm_sregs. */
const SEGMENTS = { es: 'es', cs: 'cs', ss: 'ss', ds: 'ds', fs: 'fs', gs: 'gs', ldtr: 'ldt', tr: 'tr' } as const;
const NAMED_MSRS = {
  star: MSR.star,
  lstar: MSR.lstar,
  cstar: MSR.cstar,
  sfmask: MSR.sfmask,
  kernelGsBase: MSR.kernelGsBase,
  sysenterCs: MSR.sysenterCs,
  sysenterEsp: MSR.sysenterEsp,
  sysenterEip: MSR.sysenterEip,
  tscAux: MSR.tscAux,
  tscAdjust: MSR.tscAdjust,
  pat: MSR.pat,
  miscEnable: MSR.miscEnable,
  xss: MSR.xss,
  mtrrDefault: MSR.mtrrDefault,
} as const;
const MTRR_VARIABLE = Array.from({ length: 16 }, (_, i) => MSR.mtrrVariable + i);
/** Said elsewhere in the record, or of the local APIC. */
const ELSEWHERE = new Set<number>([
  ...Object.values(NAMED_MSRS),
  ...MTRR_FIXED,
  ...MTRR_VARIABLE,
  ...[MSR.tsc, MSR.efer, MSR.apicBase, MSR.tscDeadline],
]);
/** Of Hyper-V, which no guest of ours is shown: times of this vCPU and of the VM, which count on. */
const HYPERV_COUNTERS: readonly number[] = [0x4000_0010, 0x4000_0020];
/** The performance counters, which count on, and what KVM itself says of the host. */
const UNSTABLE = (index: number) =>
  (index >= 0xc1 && index < 0xc9) ||
  (index >= 0x309 && index < 0x30d) ||
  (index >= 0xc001_0004 && index < 0xc001_0008) ||
  index === 0x34 ||
  HYPERV_COUNTERS.includes(index);

const SHADOW = { movSs: 1, sti: 2 } as const;
const TSC_TOLERANCE_PPM = 250;
const XSAVE_HEADER = 512;
const X87_AND_SSE = 3;
const XSAVE_BASE_BYTES = 576;
const XSAVE_AVX_BYTES = 832;

export interface RecordContext {
  /** Other MSRs than the record names are in it only when they differ from this. */
  readonly powerUp: VcpuState;
  /** How fast the vCPU's counter runs. */
  readonly tscKhz: number;
  readonly cpuid: readonly CpuidEntry[];
  /** Of kvmclock; of the first CPU. */
  readonly clockNanos?: bigint;
}

export function toRecord(state: VcpuState, { powerUp, tscKhz, cpuid, clockNanos }: RecordContext): DeviceRecord {
  const { regs, sregs, events, msrs, debugregs } = state;
  const msr = (index: number) => msrs.get(index) ?? 0n;
  const named = Object.fromEntries(Object.entries(NAMED_MSRS).map(([name, index]) => [name, msr(index)]));
  const others = [...msrs].filter(
    ([index, value]) => !ELSEWHERE.has(index) && !UNSTABLE(index) && value !== powerUp.msrs.get(index),
  );
  const segments = Object.entries(SEGMENTS).map(([name, kvm]) => {
    const segment = sregs[kvm];
    return [name, { selector: segment.selector, base: segment.base, limit: segment.limit, rights: rightsOf(segment) }];
  });
  const record: X86CpuRecord = {
    general: x86.gprNames.map((name) => regs[name]),
    rip: regs.rip,
    rflags: regs.rflags,
    segments: Object.fromEntries(segments) as X86CpuRecord['segments'],
    gdtr: { base: sregs.gdt.base, limit: sregs.gdt.limit },
    idtr: { base: sregs.idt.base, limit: sregs.idt.limit },
    cr0: sregs.cr0,
    cr2: sregs.cr2,
    cr3: sregs.cr3,
    cr4: sregs.cr4,
    efer: sregs.efer,
    xcr0: state.xcr0,
    breakpoints: debugregs.db,
    dr6: debugregs.dr6,
    dr7: debugregs.dr7,
    msrs: { ...named, mtrrFixed: MTRR_FIXED.map(msr), mtrrVariable: MTRR_VARIABLE.map(msr) } as X86CpuRecord['msrs'],
    otherMsrs: others.map(([index, value]) => ({ index, value })),
    tsc: msr(MSR.tsc),
    tscHertz: BigInt(tscKhz) * 1000n,
    xsave: state.xsave.slice(0, xsaveBytes(state.xsave)),
    ...eventsOf(events, state.mpState),
    a20: true,
    features: featuresOf(cpuid),
    hypervisorClockNanos: clockNanos,
  };
  return X86_CPU.save(record);
}

function eventsOf(events: VcpuEvents, mpState: number | undefined) {
  const shadow = events.interruptShadow;
  return {
    activity:
      mpState === MP_STATE.halted
        ? ('halted' as const)
        : mpState === MP_STATE.uninitialized || mpState === MP_STATE.initReceived
          ? ('waiting' as const)
          : ('running' as const),
    interruptShadow:
      shadow & SHADOW.movSs ? ('stack-segment' as const) : shadow & SHADOW.sti ? ('sti' as const) : ('none' as const),
    nmiBlocked: events.nmiMasked !== 0,
    nmiPending: events.nmiPending !== 0 || events.nmiInjected !== 0,
    initPending: false,
    startupVector: mpState === MP_STATE.sipiReceived ? events.sipiVector & 0xff : undefined,
    pendingDebug: 0,
  };
}

/** As much of the area as its components in use need. */
function xsaveBytes(region: Uint8Array): number {
  const AVX = 4;
  const inUse = region[XSAVE_HEADER];
  const beyond = region.subarray(XSAVE_AVX_BYTES).some((byte) => byte !== 0);
  if (beyond) return region.length;
  return inUse & AVX ? XSAVE_AVX_BYTES : XSAVE_BASE_BYTES;
}

/** What CPUID says of features. */
export function featuresOf(cpuid: readonly CpuidEntry[]): FeatureLeaf[] {
  return featureLeaves((leaf, subleaf) => cpuid.find((one) => one.function === leaf && one.index === subleaf));
}

/** @throws StateError, UserError when the record does not fit */
export function fromRecord(record: X86CpuRecord, { powerUp, tscKhz, cpuid }: RecordContext): VcpuState {
  requireFeatures(record.features, featuresOf(cpuid));
  if (!record.a20) throw new StateError('a20', 'open', record.a20);
  if (record.activity === 'shutdown') throw new StateError('activity', 'running, halted or waiting', record.activity);
  if (!nearlyEqual(Number(record.tscHertz), tscKhz * 1000)) {
    throw new UserError(
      `the guest's time-stamp counter runs at ${record.tscHertz} Hz, which this host's processor cannot give it (it has ${tscKhz} kHz): start it with tsc-frequency=${tscKhz * 1000} in its CPU model`,
    );
  }
  if (record.xsave.length > powerUp.xsave.length)
    throw new StateError('xsave', `at most ${powerUp.xsave.length} bytes`, record.xsave);
  const xsave = new Uint8Array(powerUp.xsave.length);
  xsave.set(record.xsave);
  // Components that XCR0 keeps from the guest are in none of its registers; a host without XSAVE refuses them.
  xsave[XSAVE_HEADER] &= Number(record.xcr0 & 0xffn) | X87_AND_SSE;
  const named = Object.entries(NAMED_MSRS).map(([name, index]): [number, bigint] => [
    index,
    record.msrs[name as keyof typeof NAMED_MSRS],
  ]);
  const lists = (indices: readonly number[], values: readonly bigint[]) =>
    indices.map((index, i): [number, bigint] => [index, values[i]]);
  const known = [
    ...named,
    ...lists(MTRR_FIXED, record.msrs.mtrrFixed),
    ...lists(MTRR_VARIABLE, record.msrs.mtrrVariable),
    [MSR.tsc, record.tsc] as [number, bigint],
    ...record.otherMsrs.map(({ index, value }): [number, bigint] => [index, value]),
  ];
  // An MSR that this KVM does not have may only be 0.
  const msrs = new Map(powerUp.msrs);
  for (const [index, value] of known) {
    if (msrs.has(index)) msrs.set(index, value);
    else if (value !== 0n) throw new StateError('msrs', 'those that this host has', `MSR 0x${index.toString(16)}`);
  }
  return {
    ...powerUp,
    regs: { ...generalOf(record), rip: record.rip, rflags: record.rflags },
    sregs: sregsOf(record, powerUp.sregs),
    xsave,
    xcr0: record.xcr0,
    msrs,
    events: {
      ...powerUp.events,
      nmiPending: record.nmiPending ? 1 : 0,
      nmiMasked: record.nmiBlocked ? 1 : 0,
      interruptShadow: { none: 0, sti: SHADOW.sti, 'stack-segment': SHADOW.movSs }[record.interruptShadow],
      sipiVector: record.startupVector ?? 0,
    },
    debugregs: { ...powerUp.debugregs, db: record.breakpoints, dr6: record.dr6, dr7: record.dr7 },
    mpState: powerUp.mpState === undefined ? undefined : mpStateOf(record),
  };
}

/** As far as KVM itself takes two rates for the same (tsc_tolerance_ppm). */
function nearlyEqual(hertz: number, other: number): boolean {
  return Math.abs(hertz - other) * 1e6 <= other * TSC_TOLERANCE_PPM;
}

function generalOf(record: X86CpuRecord): Omit<Regs, 'rip' | 'rflags'> {
  return Object.fromEntries(x86.gprNames.map((name, i) => [name, record.general[i]])) as Omit<Regs, 'rip' | 'rflags'>;
}

function sregsOf(record: X86CpuRecord, before: Sregs): Sregs {
  const segments = Object.entries(SEGMENTS).map(([name, kvm]) => {
    const { selector, base, limit, rights } = record.segments[name as keyof typeof SEGMENTS];
    return [kvm, segmentOf(selector, base, limit, rights)];
  });
  return {
    ...before,
    ...Object.fromEntries(segments),
    gdt: { ...before.gdt, ...record.gdtr },
    idt: { ...before.idt, ...record.idtr },
    cr0: record.cr0,
    cr2: record.cr2,
    cr3: record.cr3,
    cr4: record.cr4,
    efer: record.efer,
  };
}

function mpStateOf({ activity, startupVector }: X86CpuRecord): number {
  if (startupVector !== undefined) return MP_STATE.sipiReceived;
  return { running: MP_STATE.runnable, halted: MP_STATE.halted, waiting: MP_STATE.uninitialized, shutdown: 0 }[
    activity
  ];
}
