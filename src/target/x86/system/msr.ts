/** Model-specific registers (SDM vol. 4; AMD64 manual vol. 2, appendix A). What is not listed raises #GP. */
import type { Field } from '../../ir/index.ts';
import {
  cstar,
  efer,
  fs,
  gpr,
  gs,
  kernelGsBase,
  lstar,
  miscEnable,
  mtrrDefault,
  mtrrFixed,
  mtrrVariable,
  pat,
  sfmask,
  star,
  sysenterCs,
  sysenterEip,
  sysenterEsp,
  tscAdjust,
  tscAux,
  tscOffset,
  xss,
} from '../state.ts';
import { type HelperResult, inLongMode, isCanonical, outcome, type SystemContext } from './context.ts';
import { writeEfer } from './control.ts';
import type { X86State } from './cpu.ts';
import { raiseGp } from './fault.ts';
import { requireSupervisor } from './segment.ts';
import { readTsc, writeTsc } from './tsc.ts';

/** `read` puts the value into RDX:RAX by `give`; no `write`: read-only (#GP). Both may raise #GP. */
interface Msr {
  readonly read: (s: SystemContext) => void;
  readonly write?: (s: SystemContext, low: number, high: number) => void;
  /** #GP unless the model has this feature. */
  readonly feature?: string;
  readonly vendor?: 'GenuineIntel' | 'AuthenticAMD';
}

const RAX = gpr[0];
const RDX = gpr[2];

function give(cpu: X86State, low: number, high: number): void {
  cpu.setLow(RAX, low);
  cpu.setLow(RDX, high);
}

/** An MSR that is a field of the state; `check` says whether a value is legal. */
function stored(f: Field, check?: (s: SystemContext, low: number, high: number) => boolean): Msr {
  return {
    read: ({ cpu }) => give(cpu, cpu.get(f), cpu.high(f)),
    write(s, low, high) {
      if (check && !check(s, low, high)) raiseGp();
      s.cpu.setPair(f, low, high);
    },
  };
}

/** Reads as a constant; writes are dropped. */
function fixed(low: number, high = 0): Msr {
  return { read: ({ cpu }) => give(cpu, low, high), write() {} };
}

const canonical = (s: SystemContext, _low: number, high: number): boolean =>
  !s.model.has('lm') || isCanonical(s.cpu, high);
const low32 = (_s: SystemContext, _low: number, high: number): boolean => high === 0;
const isMemoryType = (type: number): boolean => type <= 6 && type !== 2 && type !== 3;
const isPatType = (type: number): boolean => type <= 7 && type !== 2 && type !== 3;
const eachByte = (low: number, high: number, check: (byte: number) => boolean): boolean =>
  [0, 8, 16, 24].every((shift) => check((low >>> shift) & 0xff) && check((high >>> shift) & 0xff));
const withinPhysical = (s: SystemContext, high: number): boolean => {
  const width = s.model.physicalBits - 32;
  return width > 0 ? high >>> width === 0 : high === 0;
};

const mtrrCount = mtrrVariable.length / 2;
/** Fixed-range registers present, write-combining type present. */
const mtrrCapabilities = mtrrCount | (1 << 8) | (1 << 10);
const fixedRangeMsrs = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

const mtrrs: [number, Msr][] = [
  [0xfe, { read: ({ cpu }) => give(cpu, mtrrCapabilities, 0) }],
  [0x2ff, stored(mtrrDefault, (_s, low, high) => high === 0 && (low & ~0xcff) === 0 && isMemoryType(low & 0xff))],
  ...fixedRangeMsrs.map((number, i): [number, Msr] => [
    number,
    stored(mtrrFixed[i], (_s, low, high) => eachByte(low, high, isMemoryType)),
  ]),
  ...mtrrVariable.map((f, i): [number, Msr] => [
    0x200 + i,
    stored(
      f,
      (s, low, high) =>
        withinPhysical(s, high) &&
        (i % 2 === 0 ? (low & 0xf00) === 0 && isMemoryType(low & 0xff) : (low & 0x7ff) === 0),
    ),
  ]),
];

const apicBase: Msr = {
  feature: 'apic',
  read({ cpu, ports }) {
    const { low, high } = ports.apic.readBase();
    give(cpu, low, high);
  },
  write(s, low, high) {
    if (!withinPhysical(s, high) || !s.ports.apic.writeBase(low >>> 0, high >>> 0)) raiseGp();
  },
};

/** The APIC counts the TSC without its offset, so that a write of the TSC moves no timer's deadline in real time. */
const tscDeadline: Msr = {
  feature: 'tsc-deadline',
  read({ cpu, ports }) {
    const { low, high } = ports.apic.readTscDeadline();
    if ((low | high) === 0) give(cpu, 0, 0);
    else giveWithOffset(cpu, low, high);
  },
  write({ cpu, ports }, low, high) {
    if ((low | high) === 0) {
      ports.apic.writeTscDeadline(0, 0);
      return;
    }
    const offsetLow = cpu.get(tscOffset) >>> 0;
    const difference = (low >>> 0) - offsetLow;
    ports.apic.writeTscDeadline(difference >>> 0, (high - cpu.high(tscOffset) - (difference < 0 ? 1 : 0)) >>> 0);
  },
};

function giveWithOffset(cpu: X86State, low: number, high: number): void {
  const sum = (low >>> 0) + (cpu.get(tscOffset) >>> 0);
  give(cpu, sum | 0, (high + cpu.high(tscOffset) + (sum > 0xffff_ffff ? 1 : 0)) | 0);
}

const tsc: Msr = {
  feature: 'tsc',
  read(s) {
    readTsc(s);
  },
  write(s, low, high) {
    writeTsc(s, low, high);
  },
};

/** A write shifts the TSC by the difference (SDM vol. 3, 17.17.3). */
const tscAdjustMsr: Msr = {
  feature: 'tsc-adjust',
  read: ({ cpu }) => give(cpu, cpu.get(tscAdjust), cpu.high(tscAdjust)),
  write({ cpu }, low, high) {
    const value = (BigInt(high) << 32n) | BigInt(low >>> 0);
    cpu.setBig(tscOffset, cpu.getBig(tscOffset) + value - cpu.getBig(tscAdjust));
    cpu.setPair(tscAdjust, low, high);
  },
};

const microcodeRevision: Msr = {
  read: (s) => (s.model.vendor === 'AuthenticAMD' ? give(s.cpu, 0x0100_0065, 0) : give(s.cpu, 0, 1)),
  write() {},
};

const platformInfo: Msr = {
  vendor: 'GenuineIntel',
  // Bits 15:8: the TSC's frequency in units of 100 MHz.
  read: (s) => give(s.cpu, (Math.round(s.ports.tscHertz / 1e8) & 0xff) << 8, 0),
};

const intelOnly = (msr: Msr): Msr => ({ ...msr, vendor: 'GenuineIntel' });
const amdOnly = (msr: Msr): Msr => ({ ...msr, vendor: 'AuthenticAMD' });
const given = (feature: string, msr: Msr): Msr => ({ ...msr, feature });

const table: ReadonlyMap<number, Msr> = new Map<number, Msr>([
  [0x10, tsc],
  [0x1b, apicBase],
  [0x3b, tscAdjustMsr],
  [0x6e0, tscDeadline],
  [0x174, given('sep', stored(sysenterCs))],
  [0x175, given('sep', stored(sysenterEsp, canonical))],
  [0x176, given('sep', stored(sysenterEip, canonical))],
  [0x1a0, stored(miscEnable)],
  [
    0x277,
    given(
      'pat',
      stored(pat, (_s, low, high) => eachByte(low, high, isPatType)),
    ),
  ],
  [0x17, intelOnly(fixed(0))],
  [0x2a, intelOnly(fixed(0))],
  [0x2c, intelOnly(fixed(1 << 24))],
  [0x8b, microcodeRevision],
  [0x79, intelOnly(fixed(0))],
  [0xce, platformInfo],
  [0x179, given('mce', { read: ({ cpu }) => give(cpu, 0, 0) })],
  [0x17a, given('mce', fixed(0))],
  [0x198, intelOnly(fixed(0x1000))],
  [0x199, intelOnly(fixed(0))],
  [0x19a, intelOnly(fixed(0))],
  [0x19b, intelOnly(fixed(0))],
  [0x19c, intelOnly(fixed(0))],
  [0x1d9, fixed(0)],
  [0x1db, fixed(0)],
  [0x1dc, fixed(0)],
  [0x1dd, fixed(0)],
  [0x1de, fixed(0)],
  [
    0xda0,
    given(
      'xsaves',
      stored(xss, (_s, low, high) => (low | high) === 0),
    ),
  ],
  [0xc000_0080, { read: ({ cpu }) => give(cpu, cpu.get(efer), 0), write: writeEfer }],
  [0xc000_0081, given('syscall', stored(star))],
  [0xc000_0082, given('lm', stored(lstar, canonical))],
  [0xc000_0083, given('lm', stored(cstar, canonical))],
  [0xc000_0084, given('syscall', stored(sfmask))],
  [0xc000_0100, given('lm', stored(fs.base, canonical))],
  [0xc000_0101, given('lm', stored(gs.base, canonical))],
  [0xc000_0102, given('lm', stored(kernelGsBase, canonical))],
  [0xc000_0103, given('rdtscp', stored(tscAux, low32))],
  // AMD: SYSCFG, HWCR, northbridge, interrupt-pending message, MMIO configuration base, decode configuration.
  [0xc001_0010, amdOnly(fixed(0))],
  [0xc001_0015, amdOnly(fixed(0))],
  [0xc001_001f, amdOnly(fixed(0))],
  [0xc001_0055, amdOnly(fixed(0))],
  [0xc001_0058, amdOnly(fixed(0))],
  [0xc001_0112, amdOnly(fixed(0))],
  [0xc001_0113, amdOnly(fixed(0))],
  [0xc001_1022, amdOnly(fixed(0))],
  [0xc001_1029, amdOnly(fixed(2))],
  ...mtrrs.map(([number, msr]): [number, Msr] => [number, given('mtrr', msr)]),
]);

function find(s: SystemContext): Msr {
  const msr = table.get(s.cpu.get(gpr[1]) >>> 0);
  const { model } = s;
  if (
    !msr ||
    (msr.feature !== undefined && !model.has(msr.feature)) ||
    (msr.vendor !== undefined && msr.vendor !== model.vendor)
  )
    raiseGp();
  return msr;
}

function x2apicIndex(cpu: X86State): number {
  return cpu.get(gpr[1]) - 0x800;
}

export function rdmsr(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireSupervisor(cpu);
  const index = x2apicIndex(cpu);
  if (index >= 0 && index < 0x100) {
    const value = s.ports.apic.readX2apic(index);
    if (!value) raiseGp();
    give(cpu, value.low, value.high);
    return outcome.next;
  }
  find(s).read(s);
  return outcome.next;
}

export function wrmsr(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireSupervisor(cpu);
  const low = cpu.get(RAX);
  const high = cpu.get(RDX);
  const index = x2apicIndex(cpu);
  if (index >= 0 && index < 0x100) {
    if (!s.ports.apic.writeX2apic(index, low >>> 0, high >>> 0)) raiseGp();
    return outcome.next;
  }
  const { write } = find(s);
  if (!write) raiseGp();
  write(s, low, high);
  // FS and GS bases outside 64-bit mode are part of what code was decoded for.
  if (!inLongMode(cpu)) s.ports.modeChanged();
  return outcome.next;
}
