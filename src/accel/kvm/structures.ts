/** The structures of the KVM API on x86 (linux/kvm.h and asm/kvm.h), by their names there without `kvm_`. */
import { array, bytes, i32, i64, struct, u8, u16, u32, u64, type ValueOf } from './struct.ts';

export const regs = struct({
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});
export type Regs = ValueOf<typeof regs>;

export const segment = struct({
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});
export type Segment = ValueOf<typeof segment>;

export const dtable = struct({ base: u64, limit: u16, padding: array(3, u16) });

export const sregs = struct({
  cs: segment,
  ds: segment,
  es: segment,
  fs: segment,
  gs: segment,
  ss: segment,
  tr: segment,
  ldt: segment,
  gdt: dtable,
  idt: dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apicBase: u64,
  interruptBitmap: array(4, u64),
});
export type Sregs = ValueOf<typeof sregs>;

export const fpu = struct({
  fpr: array(8, bytes(16)),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  padding1: u8,
  lastOpcode: u16,
  lastIp: u64,
  lastDp: u64,
  xmm: array(16, bytes(16)),
  mxcsr: u32,
  padding2: u32,
});
export type Fpu = ValueOf<typeof fpu>;

/** The XSAVE area in its standard format; larger than this only for features that Vireo does not ask for. */
export const xsave = struct({ region: bytes(4096) });

export const XCRS_MAX = 16;
export const xcrs = struct({
  count: u32,
  flags: u32,
  entries: array(XCRS_MAX, struct({ xcr: u32, reserved: u32, value: u64 })),
  padding: array(16, u64),
});

export const msrEntry = struct({ index: u32, reserved: u32, data: u64 });
/** Head of `msrs`, `cpuid2` and `irq_routing`: a count, and what follows it. */
export const listHead = struct({ count: u32, padding: u32 });

export const cpuidEntry = struct({
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(3, u32),
});
export type CpuidEntry = Omit<ValueOf<typeof cpuidEntry>, 'padding'>;

export const lapicState = struct({ registers: bytes(0x400) });
export const mpState = struct({ state: u32 });

export const vcpuEvents = struct({
  exceptionInjected: u8,
  exceptionVector: u8,
  exceptionHasErrorCode: u8,
  exceptionPending: u8,
  exceptionErrorCode: u32,
  interruptInjected: u8,
  interruptVector: u8,
  interruptSoft: u8,
  interruptShadow: u8,
  nmiInjected: u8,
  nmiPending: u8,
  nmiMasked: u8,
  nmiPadding: u8,
  sipiVector: u32,
  flags: u32,
  smiActive: u8,
  smiPending: u8,
  smiInsideNmi: u8,
  smiLatchedInit: u8,
  tripleFaultPending: u8,
  reserved: bytes(26),
  exceptionHasPayload: u8,
  exceptionPayload: u64,
});
export type VcpuEvents = ValueOf<typeof vcpuEvents>;

export const debugregs = struct({ db: array(4, u64), dr6: u64, dr7: u64, flags: u64, reserved: array(9, u64) });
export type Debugregs = ValueOf<typeof debugregs>;

export const guestDebug = struct({ control: u32, padding: u32, debugreg: array(8, u64) });

export const clockData = struct({
  clock: u64,
  flags: u32,
  padding0: u32,
  realtime: u64,
  hostTsc: u64,
  padding: array(4, u32),
});

const pitChannel = struct({
  count: u32,
  latchedCount: u16,
  countLatched: u8,
  statusLatched: u8,
  status: u8,
  readState: u8,
  writeState: u8,
  writeLatch: u8,
  rwMode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  countLoadTime: i64,
});
export type PitChannel = ValueOf<typeof pitChannel>;
export const pitState2 = struct({ channels: array<PitChannel>(3, pitChannel), flags: u32, reserved: array(9, u32) });
export const pitConfig = struct({ flags: u32, padding: array(15, u32) });
export const PIT_SPEAKER = 1;

export const picState = struct({
  lastIrr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priorityAdd: u8,
  irqBase: u8,
  readRegSelect: u8,
  poll: u8,
  specialMask: u8,
  initState: u8,
  autoEoi: u8,
  rotateOnAutoEoi: u8,
  specialFullyNestedMode: u8,
  init4: u8,
  elcr: u8,
  elcrMask: u8,
});
export const ioapicState = struct({
  baseAddress: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  padding: u32,
  redirection: array(24, u64),
});
/** `chip`: one of picState and ioapicState in 512 bytes. */
export const irqchip = struct({ chipId: u32, padding: u32, chip: bytes(512) });
export const IRQCHIP = { picMaster: 0, picSlave: 1, ioapic: 2 } as const;

export const userspaceMemoryRegion = struct({
  slot: u32,
  flags: u32,
  guestPhysAddr: u64,
  memorySize: u64,
  userspaceAddr: u64,
});
export const MEMORY_FLAG = { logDirtyPages: 1, readOnly: 2 } as const;

/** `bitmap`: the address of one bit a page. */
export const dirtyLog = struct({ slot: u32, padding: u32, bitmap: u64 });
export const dirtyGfn = struct({ flags: u32, slot: u32, offset: u64 });
export const DIRTY_GFN = { dirty: 1, reset: 2 } as const;

export const irqLevel = struct({ irq: u32, level: u32 });
export const interrupt = struct({ irq: u32 });
export const msi = struct({
  addressLow: u32,
  addressHigh: u32,
  data: u32,
  flags: u32,
  deviceId: u32,
  padding: bytes(12),
});
export const irqfd = struct({ fd: u32, gsi: u32, flags: u32, resamplefd: u32, padding: bytes(16) });
export const IRQFD_FLAG = { deassign: 1, resample: 2 } as const;
export const ioeventfd = struct({ datamatch: u64, addr: u64, length: u32, fd: i32, flags: u32, padding: bytes(36) });
export const IOEVENTFD_FLAG = { datamatch: 1, pio: 2, deassign: 4 } as const;

/** Routing entries: type 1 has irqchip and pin, type 2 a message. */
export const irqRoutingEntry = struct({
  gsi: u32,
  type: u32,
  flags: u32,
  padding: u32,
  words: array(8, u32),
});
export const ROUTING_TYPE = { irqchip: 1, msi: 2 } as const;

/** Ranges of MSRs and a bit for each: 1 lets the guest have it. `bitmap` is an address. */
const msrFilterRange = struct({ flags: u32, count: u32, base: u32, bitmap: u64 });
export const msrFilter = struct({ flags: u32, ranges: array(16, msrFilterRange) });
export const MSR_FILTER = { read: 1, write: 2, maxRanges: 16, reasonFilter: 4 } as const;

export const enableCap = struct({ cap: u32, flags: u32, args: array(4, u64), padding: bytes(64) });
export const coalescedZone = struct({ addr: u64, size: u32, pio: u32 });
export const coalescedEntry = struct({ physAddr: u64, length: u32, pio: u32, data: bytes(8) });
/** A mask of 64 signals, packed: 12 bytes. */
export const SIGNAL_MASK_BYTES = 12;

/** The fixed head of `struct kvm_run`; what follows at RUN_DATA depends on the exit. */
export const runHead = struct({
  requestInterruptWindow: u8,
  immediateExit: u8,
  padding: bytes(6),
  exitReason: u32,
  readyForInterruptInjection: u8,
  ifFlag: u8,
  flags: u16,
  cr8: u64,
  apicBase: u64,
});
export const RUN_DATA: number = runHead.size;

export const exitIo = struct({ direction: u8, size: u8, port: u16, count: u32, dataOffset: u64 });
export const exitMmio = struct({ physAddr: u64, data: bytes(8), length: u32, isWrite: u8 });
export const exitHypercall = struct({ nr: u64, args: array(6, u64), ret: u64, longMode: u32, padding: u32 });
export const exitInternal = struct({ suberror: u32, ndata: u32, data: array(16, u64) });
export const exitEmulation = struct({ suberror: u32, ndata: u32, flags: u64, size: u8, bytes: bytes(15) });
export const exitFailEntry = struct({ reason: u64, cpu: u32 });
export const exitException = struct({ exception: u32, errorCode: u32 });
export const exitDebug = struct({ exception: u32, padding: u32, pc: u64, dr6: u64, dr7: u64 });
export const exitSystemEvent = struct({ type: u32, ndata: u32, data: array(16, u64) });
export const exitMsr = struct({ error: u8, padding: bytes(7), reason: u32, index: u32, data: u64 });
export const exitEoi = struct({ vector: u8 });
