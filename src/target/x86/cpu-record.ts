/**
 * One x86 CPU as a record: what snapshots and migration carry, the same for
 * every accelerator. 64-bit values are unsigned bigints.
 */
import {
  added,
  array,
  blob,
  bool,
  list,
  oneOf,
  optional,
  type StateOf,
  stateTable,
  u8,
  u16,
  u32,
  u64,
} from '../../base/index.ts';

const SEGMENT = stateTable({
  selector: u16(),
  base: u64(),
  /** Last valid offset in bytes, granularity applied. */
  limit: u32(),
  /** Access rights: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16 (SDM vol. 3, 25.4.1). */
  rights: u32(),
});

const TABLE_REGISTER = stateTable({ base: u64(), limit: u16() });

/** The MSRs that are part of the architecture here; the local APIC's are its device's. */
const MSRS = stateTable({
  star: u64(),
  lstar: u64(),
  cstar: u64(),
  sfmask: u64(),
  kernelGsBase: u64(),
  sysenterCs: u64(),
  sysenterEsp: u64(),
  sysenterEip: u64(),
  tscAux: u64(),
  tscAdjust: u64(),
  pat: u64(),
  miscEnable: u64(),
  xss: u64(),
  mtrrDefault: u64(),
  /** FIX64K_00000, FIX16K_80000 and A0000, FIX4K_C0000 to F8000. */
  mtrrFixed: array(11, u64()),
  /** PHYSBASE0, PHYSMASK0, PHYSBASE1, … */
  mtrrVariable: array(16, u64()),
});

const OTHER_MSRS_MAX = 256;
/** The largest XSAVE area that a CPU of today asks for is below 12 KiB. */
const XSAVE_MAX = 16_384;

/** More leaves with feature bits than there are. */
const FEATURE_LEAVES_MAX = 64;

/** Feature bits of one CPUID leaf, as the guest sees them. */
const FEATURE_LEAF = stateTable({ leaf: u32(), subleaf: u32(), eax: u32(), ebx: u32(), ecx: u32(), edx: u32() });
export type FeatureLeaf = StateOf<typeof FEATURE_LEAF>;

export const X86_CPU = stateTable({
  /** RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15. */
  general: array(16, u64()),
  rip: u64(),
  rflags: u64(2n),
  segments: stateTable({
    es: SEGMENT,
    cs: SEGMENT,
    ss: SEGMENT,
    ds: SEGMENT,
    fs: SEGMENT,
    gs: SEGMENT,
    ldtr: SEGMENT,
    tr: SEGMENT,
  }),
  gdtr: TABLE_REGISTER,
  idtr: TABLE_REGISTER,
  cr0: u64(),
  cr2: u64(),
  cr3: u64(),
  cr4: u64(),
  efer: u64(),
  xcr0: u64(1n),
  /** DR0 to DR3. */
  breakpoints: array(4, u64()),
  dr6: u64(),
  dr7: u64(),
  msrs: MSRS,
  /** MSRs that only some accelerators or hypervisors know (paravirtual clocks); an accelerator refuses what it does not know. */
  otherMsrs: list(OTHER_MSRS_MAX, stateTable({ index: u32(), value: u64() })),
  /** What RDTSC gives at the moment of the snapshot. */
  tsc: u64(),
  /** How fast it counts. */
  tscHertz: u64(1_000_000_000n),
  /** x87, SSE, AVX and so on: an image of XSAVE's standard form, 64-bit pointers (SDM vol. 1, 13.4). */
  xsave: blob(XSAVE_MAX),
  activity: oneOf('running', 'halted', 'shutdown', 'waiting'),
  /** Who holds interrupts back for one instruction. */
  interruptShadow: oneOf('none', 'sti', 'stack-segment'),
  /** From the delivery of an NMI to the next IRET. */
  nmiBlocked: bool(),
  nmiPending: bool(),
  initPending: bool(),
  /** Of a startup IPI that has not been taken. */
  startupVector: optional(u8()),
  /** DR6 bits of debug traps that are due before the next instruction. */
  pendingDebug: u32(),
  /** The A20 gate is open. */
  a20: bool(true),
  /** What the guest may be using; none where it is not known. */
  features: added(list(FEATURE_LEAVES_MAX, FEATURE_LEAF)),
  /** Of the clock that the hypervisor shows its guest (KVM's); the first CPU's says it. */
  hypervisorClockNanos: added(optional(u64())),
});

export type X86CpuRecord = StateOf<typeof X86_CPU>;
