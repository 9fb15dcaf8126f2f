/** All of a vCPU's state at once, in KVM's own terms, and the states it begins in. */
import { UserError } from '../../base/index.ts';
import type { BootEntry } from '../../contract/index.ts';
import type { Debugregs, Regs, Segment, Sregs, VcpuEvents } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

export interface VcpuState {
  readonly regs: Regs;
  readonly sregs: Sregs;
  readonly xsave: Uint8Array;
  readonly xcr0: bigint;
  readonly msrs: ReadonlyMap<number, bigint>;
  readonly events: VcpuEvents;
  readonly debugregs: Debugregs;
  /** Undefined without local APICs in the kernel, as what follows. */
  readonly mpState: number | undefined;
  readonly lapic: Uint8Array | undefined;
}

/** MSRs of which more is said elsewhere. */
export const MSR = {
  tsc: 0x10,
  apicBase: 0x1b,
  tscAdjust: 0x3b,
  sysenterCs: 0x174,
  sysenterEsp: 0x175,
  sysenterEip: 0x176,
  miscEnable: 0x1a0,
  mtrrVariable: 0x200,
  pat: 0x277,
  mtrrDefault: 0x2ff,
  tscDeadline: 0x6e0,
  xss: 0xda0,
  efer: 0xc000_0080,
  star: 0xc000_0081,
  lstar: 0xc000_0082,
  cstar: 0xc000_0083,
  sfmask: 0xc000_0084,
  kernelGsBase: 0xc000_0102,
  tscAux: 0xc000_0103,
} as const;
export const MTRR_FIXED: readonly number[] = [
  0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
const MTRR_VARIABLE_COUNT = 16;

/** The MSRs of a vCPU's state: those that KVM lists, and the memory types, which it does not. */
export function stateMsrs(listed: readonly number[]): number[] {
  const types = [
    MSR.mtrrDefault,
    ...MTRR_FIXED,
    ...Array.from({ length: MTRR_VARIABLE_COUNT }, (_, i) => MSR.mtrrVariable + i),
    MSR.pat,
  ];
  return [...new Set([...listed, ...types])];
}

/** @param inKernelApic the local APIC and mp_state are KVM's */
export function readState(vcpu: KvmVcpu, msrs: readonly number[], inKernelApic: boolean): VcpuState {
  return {
    regs: vcpu.regs(),
    sregs: vcpu.sregs(),
    xsave: vcpu.xsave(),
    xcr0: vcpu.xcr0(),
    msrs: vcpu.msrs(msrs),
    events: vcpu.vcpuEvents(),
    debugregs: vcpu.debugregs(),
    mpState: inKernelApic ? vcpu.mpState() : undefined,
    lapic: inKernelApic ? vcpu.lapic() : undefined,
  };
}

/** The parts of pending events that a write replaces (KVM_VCPUEVENT_VALID_*). */
const EVENTS_VALID = { nmiPending: 1, sipiVector: 2, shadow: 4 } as const;

/** @returns MSRs that KVM refused */
export function writeState(vcpu: KvmVcpu, state: VcpuState): number[] {
  vcpu.setSregs(state.sregs);
  vcpu.setRegs(state.regs);
  vcpu.setXcr0(state.xcr0);
  vcpu.setXsave(state.xsave);
  if (state.lapic !== undefined) vcpu.setLapic(state.lapic);
  // The deadline last: it means the local APIC's timer.
  const { tscDeadline } = MSR;
  const refused = vcpu.setMsrs(new Map([...state.msrs].filter(([index]) => index !== tscDeadline)));
  const deadline = state.msrs.get(tscDeadline);
  if (deadline !== undefined) vcpu.setMsrs(new Map([[tscDeadline, deadline]]));
  const { nmiPending, sipiVector, shadow } = EVENTS_VALID;
  const kernel = state.mpState === undefined ? 0 : sipiVector;
  vcpu.setVcpuEvents({ ...state.events, flags: nmiPending | shadow | kernel });
  vcpu.setDebugregs(state.debugregs);
  if (state.mpState !== undefined) vcpu.setMpState(state.mpState);
  return refused;
}

/** Access rights as one number: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
export function segmentOf(selector: number, base: bigint, limit: number, rights: number): Segment {
  const bit = (at: number) => (rights >> at) & 1;
  return {
    selector,
    base,
    limit,
    type: rights & 15,
    s: bit(4),
    dpl: (rights >> 5) & 3,
    present: bit(7),
    avl: bit(12),
    l: bit(13),
    db: bit(14),
    g: bit(15),
    unusable: bit(16),
    padding: 0,
  };
}

export function rightsOf({ type, s, dpl, present, avl, l, db, g, unusable }: Segment): number {
  return (
    type | (s << 4) | (dpl << 5) | (present << 7) | (avl << 12) | (l << 13) | (db << 14) | (g << 15) | (unusable << 16)
  );
}

const RIGHTS = { code64: 0xa09b, code32: 0xc09b, data: 0xc093, realCode: 0x9b, busyTask: 0x8b } as const;
const CR0 = { protect: 0x1n, extension: 0x10n, numericError: 0x20n, paging: 0x8000_0000n } as const;
const CR4_PAE = 0x20n;
const EFER_LONG = 0x500n;
const FLAT_LIMIT = 0xffff_ffff;

/** Power-up state `state`, changed to what a boot protocol asks for. Firmware has set up memory types. */
export function atEntry(state: VcpuState, entry: BootEntry): VcpuState {
  const { regs, sregs } = state;
  for (const name of Object.keys(entry.registers))
    if (!(name in regs)) throw new UserError(`unknown register '${name}' in the boot entry`);
  const given = Object.fromEntries(Object.entries(entry.registers).map(([name, value]) => [name, BigInt(value)]));
  const real = entry.mode === 'real16';
  const changed = { ...regs, rdx: 0n, ...given, rip: BigInt(real ? entry.rip & 0xffff : entry.rip), rflags: 2n };
  return { ...state, regs: changed, sregs: entrySregs(sregs, entry), msrs: withMemoryTypes(state.msrs) };
}

function entrySregs(sregs: Sregs, entry: BootEntry): Sregs {
  const { mode, rip } = entry;
  if (mode === 'real16') {
    const base = (rip & 0xffff_0000) >>> 0;
    return { ...sregs, cs: segmentOf((rip >>> 4) & 0xf000, BigInt(base), 0xffff, RIGHTS.realCode), cr0: CR0.extension };
  }
  const { code, data, task } = entry.selectors ?? { code: 0x10, data: 0x18 };
  const flat = segmentOf(data, 0n, FLAT_LIMIT, RIGHTS.data);
  const long = mode === 'long64';
  const { protect, extension, numericError, paging } = CR0;
  return {
    ...sregs,
    cs: segmentOf(code, 0n, FLAT_LIMIT, long ? RIGHTS.code64 : RIGHTS.code32),
    ...{ ds: flat, es: flat, fs: flat, gs: flat, ss: flat },
    tr: segmentOf(task ?? 0, 0n, 0x67, RIGHTS.busyTask),
    gdt: entry.gdt ? { ...sregs.gdt, base: BigInt(entry.gdt.base), limit: entry.gdt.limit } : sregs.gdt,
    cr0: protect | extension | (long ? numericError | paging : 0n),
    cr3: long ? BigInt(entry.cr3 ?? 0) : 0n,
    cr4: long ? CR4_PAE : 0n,
    efer: long ? EFER_LONG : 0n,
  };
}

/** Write-back everywhere but in the video window (SDM vol. 3, 12.11). */
function withMemoryTypes(msrs: VcpuState['msrs']): VcpuState['msrs'] {
  if (!msrs.has(MSR.mtrrDefault)) return msrs;
  const VIDEO = 2; // A_0000 to B_FFFF
  const fixed = MTRR_FIXED.map((index, i): [number, bigint] => [index, i === VIDEO ? 0n : 0x0606_0606_0606_0606n]);
  return new Map([...msrs, ...fixed, [MSR.mtrrDefault, 0xc06n]]);
}
