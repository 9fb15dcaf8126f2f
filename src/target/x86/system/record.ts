/** The CPU's state to and from its record. */
import { StateError, UserError } from '../../../base/index.ts';
import type { Field } from '../../ir/index.ts';
import type { X86CpuRecord } from '../cpu-record.ts';
import { featureLeaves, requireFeatures } from '../feature-record.ts';
import * as state from '../state.ts';
import { type SystemContext, shadowAtLinear } from './context.ts';
import type { X86State } from './cpu.ts';
import { leafKey } from './features.ts';
import { isTscFrequency } from './models.ts';
import { readFlags, writeFlags } from './rflags.ts';
import { loadExtendedState, saveExtendedState } from './xsave.ts';

/** The events that wait outside the CPU's state, in its engine. */
export type PendingEvents = Pick<X86CpuRecord, 'nmiPending' | 'initPending' | 'startupVector'>;

const segmentNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
const segmentFields = [...state.segments, state.ldtr, state.tr];
const activityNames = ['running', 'halted', 'shutdown', 'waiting'] as const;
const shadowNames = ['none', 'sti', 'stack-segment'] as const;
const msrFields = {
  star: state.star,
  lstar: state.lstar,
  cstar: state.cstar,
  sfmask: state.sfmask,
  kernelGsBase: state.kernelGsBase,
  sysenterCs: state.sysenterCs,
  sysenterEsp: state.sysenterEsp,
  sysenterEip: state.sysenterEip,
  tscAux: state.tscAux,
  tscAdjust: state.tscAdjust,
  pat: state.pat,
  miscEnable: state.miscEnable,
  xss: state.xss,
  mtrrDefault: state.mtrrDefault,
} as const;
const wideControls = { cr2: state.cr2, cr3: state.cr3, efer: state.efer, xcr0: state.xcr0 } as const;
const allFlags = -1;
/** KVM's, from 4B56_4D00h on, and the two of old kernels. */
const HYPERVISOR_MSRS = [0x11, 0x12, ...Array.from({ length: 16 }, (_, i) => 0x4b56_4d00 + i)];

const low32 = (cpu: X86State, f: Field): bigint => BigInt(cpu.get(f) >>> 0);
const toInt32 = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** Between instructions; `linear` holds where the CPU is. */
export function saveCpu(s: SystemContext, pending: PendingEvents): X86CpuRecord {
  const { cpu } = s;
  const wide = (fields: Readonly<Record<string, Field>>) =>
    Object.fromEntries(Object.entries(fields).map(([name, f]) => [name, cpu.getBig(f)]));
  const segments = segmentFields.map((segment, i) => [
    segmentNames[i],
    {
      selector: cpu.get(segment.selector) & 0xffff,
      base: cpu.getBig(segment.base),
      limit: cpu.get(segment.limit) >>> 0,
      rights: cpu.get(segment.rights) >>> 0,
    },
  ]);
  return {
    general: state.gpr.map((f) => cpu.getBig(f)),
    rip: currentRip(s),
    rflags: BigInt(readFlags(cpu) >>> 0),
    segments: Object.fromEntries(segments) as X86CpuRecord['segments'],
    gdtr: { base: cpu.getBig(state.gdtr.base), limit: cpu.get(state.gdtr.limit) & 0xffff },
    idtr: { base: cpu.getBig(state.idtr.base), limit: cpu.get(state.idtr.limit) & 0xffff },
    cr0: low32(cpu, state.cr0),
    cr4: low32(cpu, state.cr4),
    ...(wide(wideControls) as Record<keyof typeof wideControls, bigint>),
    breakpoints: [0, 1, 2, 3].map((i) => cpu.getBig(state.dr[i])),
    dr6: cpu.getBig(state.dr[6]),
    dr7: cpu.getBig(state.dr[7]),
    msrs: {
      ...(wide(msrFields) as Record<keyof typeof msrFields, bigint>),
      mtrrFixed: state.mtrrFixed.map((f) => cpu.getBig(f)),
      mtrrVariable: state.mtrrVariable.map((f) => cpu.getBig(f)),
    },
    otherMsrs: [],
    tsc: BigInt.asUintN(64, BigInt(s.ports.readTsc()) + cpu.getBig(state.tscOffset)),
    tscHertz: BigInt(s.ports.tscHertz),
    xsave: saveExtendedState(s),
    activity: activityNames[cpu.get(state.activity)],
    interruptShadow: shadowNames[shadowAtLinear(cpu)],
    nmiBlocked: cpu.get(state.nmiBlocked) !== 0,
    ...pending,
    pendingDebug: cpu.get(state.pendingDebug) >>> 0,
    a20: cpu.get(state.a20Mask) === -1,
    features: featureLeavesOf(s),
    hypervisorClockNanos: undefined,
  };
}

/** `linear` as an offset in CS. */
function currentRip({ cpu }: SystemContext): bigint {
  const linear = cpu.getBig(state.linear);
  return is64(cpu) ? linear : BigInt((cpu.get(state.linear) - cpu.get(state.cs.base)) >>> 0);
}

function is64(cpu: X86State): boolean {
  return (cpu.get(state.efer) & 0x400) !== 0 && (cpu.get(state.cs.rights) & (1 << 13)) !== 0;
}

/**
 * Takes a record over; all translations are forgotten.
 * @throws StateError for what this CPU does not have
 */
export function loadCpu(s: SystemContext, record: X86CpuRecord): void {
  const { cpu } = s;
  refuseUnknown(s, record);
  cpu.bytes.fill(0);
  const wrong = loadExtendedState(s, record.xsave);
  if (wrong !== undefined) throw new StateError('xsave', wrong, record.xsave);
  for (const [i, f] of state.gpr.entries()) cpu.setBig(f, record.general[i]);
  segmentFields.forEach((segment, i) => {
    const { selector, base, limit, rights } = record.segments[segmentNames[i]];
    cpu.set(segment.selector, selector);
    cpu.setBig(segment.base, base);
    cpu.set(segment.limit, limit | 0);
    cpu.set(segment.rights, rights | 0);
  });
  for (const [register, { base, limit }] of [
    [state.gdtr, record.gdtr],
    [state.idtr, record.idtr],
  ] as const) {
    cpu.setBig(register.base, base);
    cpu.set(register.limit, limit);
  }
  cpu.set(state.cr0, toInt32(record.cr0));
  cpu.set(state.cr4, toInt32(record.cr4));
  for (const [name, f] of Object.entries(wideControls)) cpu.setBig(f, record[name as keyof typeof wideControls]);
  for (const [i, value] of record.breakpoints.entries()) cpu.setBig(state.dr[i], value);
  cpu.setBig(state.dr[6], record.dr6);
  cpu.setBig(state.dr[7], record.dr7);
  for (const [name, f] of Object.entries(msrFields)) cpu.setBig(f, record.msrs[name as keyof typeof msrFields]);
  for (const [i, value] of record.msrs.mtrrFixed.entries()) cpu.setBig(state.mtrrFixed[i], value);
  for (const [i, value] of record.msrs.mtrrVariable.entries()) cpu.setBig(state.mtrrVariable[i], value);
  s.ports.setTscHertz(Number(record.tscHertz));
  cpu.setBig(state.tscOffset, record.tsc - BigInt(s.ports.readTsc()));
  cpu.set(state.activity, activityNames.indexOf(record.activity));
  cpu.set(state.interruptShadow, shadowNames.indexOf(record.interruptShadow));
  cpu.set(state.nmiBlocked, record.nmiBlocked ? 1 : 0);
  cpu.set(state.pendingDebug, record.pendingDebug | 0);
  cpu.set(state.a20Mask, record.a20 ? -1 : ~0x10_0000);
  cpu.set(state.faultVector, -1);
  // CS is loaded: its privilege is that of SS, which follows it in every mode (SDM vol. 3, 5.5).
  cpu.set(state.cpl, privilegeOf(record));
  writeFlags(s, toInt32(record.rflags), allFlags);
  const linear = is64(cpu) ? record.rip : BigInt.asUintN(32, record.rip + record.segments.cs.base);
  for (const f of [state.currentIp, state.nextIp]) cpu.setBig(f, record.rip);
  cpu.setBig(state.linear, linear);
  cpu.setBig(state.shadowed, linear);
  s.ports.flushTlb(false);
  s.ports.modeChanged();
}

/** What CPUID says of features: not the places of CPUs among each other. */
function featureLeavesOf({ model }: SystemContext) {
  return featureLeaves((leaf, subleaf) => model.featureWords.get(leafKey(leaf, subleaf)));
}

/** DPL of SS; 0 in real mode, 3 in virtual-8086 mode. */
function privilegeOf({ cr0, rflags, segments }: X86CpuRecord): number {
  if ((cr0 & 1n) === 0n) return 0;
  return (rflags >> 17n) & 1n ? 3 : (segments.ss.rights >> 5) & 3;
}

function refuseUnknown(s: SystemContext, record: X86CpuRecord): void {
  const { model } = s;
  if (!isTscFrequency(Number(record.tscHertz)))
    throw new StateError('tscHertz', 'what a processor may have', record.tscHertz);
  requireFeatures(record.features, featureLeavesOf(s));
  const strange = record.otherMsrs.find(({ value }) => value !== 0n);
  if (strange !== undefined && HYPERVISOR_MSRS.includes(strange.index)) {
    throw new UserError(
      "the guest uses KVM's own clock and interrupts, which the software CPU does not have: start it with kvm=off in its CPU model, such as --cpu qemu64,kvm=off",
    );
  }
  if (strange !== undefined) {
    throw new StateError(
      'otherMsrs',
      'without MSRs that this CPU does not have',
      `MSR 0x${strange.index.toString(16)}`,
    );
  }
  if (record.xcr0 & ~7n) throw new StateError('xcr0', 'x87, SSE and AVX at most', record.xcr0);
  if ((record.xcr0 & 4n) !== 0n && !model.has('avx')) {
    throw new StateError('xcr0', 'what the CPU model has (no AVX)', record.xcr0);
  }
  if ((record.efer & 0x400n) !== 0n && !model.has('lm')) {
    throw new StateError('efer', 'what the CPU model has (no long mode)', record.efer);
  }
}
