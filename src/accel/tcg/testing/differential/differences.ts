/**
 * Where Vireo and the native CPU may differ: each rule with its reason. Flags
 * that the manuals leave undefined are marked in the rows themselves.
 */
import { state } from '../../../../target/index.ts';
import { at, type Outcome, type TestCase } from './record.ts';

/** What is not compared in one case. */
export interface Allowance {
  /** Masks of RFLAGS, FSW and of general registers by number. */
  flags: number;
  fsw: number;
  registers: number;
  /** x87 registers may differ in this many units of the last place. */
  stUlps: number;
  fpuPointers: boolean;
  memory: boolean;
  vectors: boolean;
  /** x87 registers, status and tags. */
  x87: boolean;
  /** Bits 32 to 63 of general registers. */
  upperHalf: boolean;
  /** Bits 16 to 19 of general registers. */
  larBits: boolean;
  /** The dword 28 bytes into a saved state. */
  mxcsrMask: boolean;
  /** Single floats may differ as two estimates with 11 good bits do. */
  estimates: boolean;
  cr2: boolean;
  /** CR2 and the error code. */
  fault: boolean;
  /** FS and GS base. */
  bases: boolean;
  everything: boolean;
}

interface Rule {
  readonly reason: string;
  /** Mnemonics. */
  readonly names?: string;
  /** CPUID's vendor string of the native CPU. */
  readonly vendor?: string;
  readonly when?: (c: TestCase, native: Outcome, vireo: Outcome) => boolean;
  readonly allow: Partial<Allowance>;
}

const C1 = 0x200;
const PE = 0x20;
const UE = 0x10;

const rules: readonly Rule[] = [
  {
    reason: 'AMD CPUs save the x87 pointers and opcode only while an exception is pending (AMD APM vol. 2, 11.4.4)',
    vendor: 'AuthenticAMD',
    when: (_, native) => (native.state.getUint16(at.fsw, true) & 0x80) === 0,
    allow: { fpuPointers: true },
  },
  {
    reason: 'transcendental functions: neither manual promises the last bit, nor PE, UE and C1, which follow from it',
    names: 'F2XM1 FYL2X FYL2XP1 FSIN FCOS FSINCOS FPTAN FPATAN',
    allow: { stUlps: 1, fsw: C1 | PE | UE },
  },
  {
    reason: 'estimates: the manuals promise a relative error, not bits',
    names: 'RCPPS RCPSS RSQRTPS RSQRTSS VRCPPS VRCPSS VRSQRTPS VRSQRTSS',
    allow: { estimates: true },
  },
  {
    reason: 'alignment checks (EFLAGS.AC with CR0.AM) are not modelled',
    when: (_, native) => native.vector === state.vector.AC,
    allow: { everything: true },
  },
  {
    reason: 'which byte of a masked store faults is up to the CPU',
    names: 'MASKMOVQ MASKMOVDQU VMASKMOVDQU',
    allow: { cr2: true },
  },
  {
    reason: 'whether a long operand is first looked at for alignment or for being canonical is up to the CPU',
    names: 'FXSAVE FXRSTOR XSAVE XRSTOR',
    when: (_, native, vireo) => native.vector === state.vector.SS && vireo.vector === state.vector.GP,
    allow: { everything: true },
  },
  {
    reason: 'which byte of a long operand faults first is up to the CPU',
    names: 'FXSAVE FXRSTOR XSAVE XRSTOR FNSAVE FRSTOR FNSTENV FLDENV',
    allow: { fault: true },
  },
  {
    reason: 'a failed compare leaves the upper half of a 32-bit destination register alone on AMD',
    names: 'CMPXCHG',
    vendor: 'AuthenticAMD',
    when: (c) => c.instruction?.variant.osize === 4 && !c.instruction.memory,
    allow: { upperHalf: true },
  },
  {
    reason: 'a masked store may fault on a page that it stores nothing to',
    names: 'MASKMOVQ MASKMOVDQU VMASKMOVDQU',
    when: (_, native, vireo) => native.vector === state.vector.PF && vireo.vector !== state.vector.PF,
    allow: { everything: true },
  },
  {
    reason: 'MASKMOVQ enters the MMX state before it faults on AMD',
    names: 'MASKMOVQ',
    vendor: 'AuthenticAMD',
    when: (_, native) => native.vector === state.vector.PF,
    allow: { x87: true },
  },
  {
    reason: 'which element a gather faults at is up to the CPU',
    names: 'VGATHERDPS VGATHERDPD VGATHERQPS VGATHERQPD VPGATHERDD VPGATHERDQ VPGATHERQD VPGATHERQQ',
    when: (c, native, vireo) => native.vector !== vireo.vector && isFault(c, native) && isFault(c, vireo),
    allow: { everything: true },
  },
  {
    reason: 'when a gather faults, how many elements it has loaded is up to the CPU; Vireo loads none',
    names: 'VGATHERDPS VGATHERDPD VGATHERQPS VGATHERQPD VPGATHERDD VPGATHERDQ VPGATHERQD VPGATHERQQ',
    when: (_, native) => native.vector === state.vector.PF,
    allow: { vectors: true },
  },
  {
    reason: 'bits 16 to 19 of what LAR gives are undefined',
    names: 'LAR',
    allow: { larBits: true },
  },
  {
    reason: 'MXCSR_MASK: AMD has the misaligned SSE mode, bit 17',
    names: 'FXSAVE XSAVE',
    vendor: 'AuthenticAMD',
    allow: { mxcsrMask: true },
  },
  {
    reason: 'AMD does not check the alignment of SHA operands',
    names: 'SHA1MSG1 SHA1MSG2 SHA1NEXTE SHA1RNDS4 SHA256MSG1 SHA256MSG2 SHA256RNDS2',
    vendor: 'AuthenticAMD',
    when: (_, native, vireo) => vireo.vector === state.vector.GP && native.vector !== state.vector.GP,
    allow: { everything: true },
  },
  {
    reason: 'how many bits of the x87 instruction and data pointers are kept is up to the CPU',
    names: 'FXRSTOR XRSTOR',
    allow: { fpuPointers: true },
  },
  {
    reason: 'shifts of 16-bit operands by more than 16: result and flags are undefined',
    names: 'SHLD SHRD',
    when: (c) => c.instruction?.variant.osize === 2 && shiftCount(c) > 16,
    allow: { everything: true },
  },
  {
    reason: 'far pointers with a 64-bit offset are Intel only',
    names: 'LSS LFS LGS',
    vendor: 'AuthenticAMD',
    when: (c) => c.instruction?.variant.osize === 8,
    allow: { everything: true },
  },
  {
    reason: 'F2 and F3 before LOOPE and LOOPNE change the condition on AMD',
    names: 'LOOPE LOOPNE',
    vendor: 'AuthenticAMD',
    when: (c) => c.instruction?.variant.rep !== 0,
    allow: { everything: true },
  },
  {
    reason: 'how much PUSHA has stored when it faults, and so where it does, is up to the CPU',
    names: 'PUSHA',
    when: (c, native, vireo) => isFault(c, native) && isFault(c, vireo),
    allow: { everything: true },
  },
  {
    reason: 'how much POPA has loaded when it faults is up to the CPU',
    names: 'POPA',
    when: (_, native) => native.vector === state.vector.PF,
    allow: { registers: 0xff },
  },
  {
    reason: 'LOCK where it is not allowed: AMD looks at the operand of some instructions before',
    vendor: 'AuthenticAMD',
    when: (c, native, vireo) =>
      c.instruction === undefined && c.code.includes(0xf0) && isFault(c, native) && vireo.vector === state.vector.UD,
    allow: { everything: true },
  },
  {
    reason: 'a call to a non-canonical target with a bad stack: AMD looks at the stack first',
    names: 'CALL',
    vendor: 'AuthenticAMD',
    when: (c, native, vireo) => isFault(c, native) && vireo.vector === state.vector.GP,
    allow: { everything: true },
  },
  {
    reason: 'UD1 takes no ModRM byte on AMD, which shows when that byte can not be fetched',
    names: 'UD1',
    vendor: 'AuthenticAMD',
    when: (_, native, vireo) => native.vector === state.vector.UD && vireo.vector === state.vector.PF,
    allow: { everything: true },
  },
  {
    reason: 'PREFETCHW with a register is #UD on AMD, a NOP on Intel',
    names: 'NOP',
    vendor: 'AuthenticAMD',
    when: (c) => c.parsed.pattern.opcode === 0x0d && c.instruction?.memory === undefined,
    allow: { everything: true },
  },
  {
    reason: 'a null selector in FS or GS clears the base on Intel, keeps it on AMD',
    names: 'MOV POP LFS LGS',
    vendor: 'AuthenticAMD',
    allow: { bases: true },
  },
];

/** It ended before the instruction had done anything. */
const isFault = (c: TestCase, { vector, state: after }: Outcome): boolean =>
  after.getBigUint64(at.rip, true) === c.state.getBigUint64(at.rip, true) && vector !== state.vector.DB;

function shiftCount(c: TestCase): number {
  const immediate = c.parsed.operands[2]?.type === 'I';
  return (immediate ? Number(c.instruction?.immediate) : c.state.getUint8(at.gpr + 8)) & 31;
}

/** All mnemonics that rules speak of. */
export const ruleNames: readonly string[] = rules.flatMap((rule) => rule.names?.split(' ') ?? []);

const rulesByName = new Map<string, Rule[]>();
for (const rule of rules) {
  for (const name of rule.names?.split(' ') ?? ['*']) rulesByName.set(name, [...(rulesByName.get(name) ?? []), rule]);
}

const nothing: Allowance = {
  flags: 0,
  fsw: 0,
  registers: 0,
  stUlps: 0,
  fpuPointers: false,
  memory: false,
  vectors: false,
  x87: false,
  upperHalf: false,
  larBits: false,
  mxcsrMask: false,
  estimates: false,
  cr2: false,
  fault: false,
  bases: false,
  everything: false,
};

/** Everything that may differ in this case. */
export function allowances(c: TestCase, native: Outcome, vireo: Outcome, vendor: string): Allowance {
  const { row } = c.parsed;
  const sum: Allowance = { ...nothing };
  // Undefined only once the instruction is through: when it faults they are as before it.
  const rip = native.state.getBigUint64(at.rip, true);
  if (rip !== c.state.getBigUint64(at.rip, true)) sum.flags = row.undefinedFlags ?? 0;
  for (const rule of [...(rulesByName.get(row.mnemonic) ?? []), ...(rulesByName.get('*') ?? [])]) {
    if (rule.vendor && rule.vendor !== vendor) continue;
    if (rule.when && !rule.when(c, native, vireo)) continue;
    const { flags = 0, fsw = 0, registers = 0, stUlps = 0, ...booleans } = rule.allow;
    Object.assign(sum, booleans, {
      flags: sum.flags | flags,
      fsw: sum.fsw | fsw,
      registers: sum.registers | registers,
      stUlps: Math.max(sum.stUlps, stUlps),
    });
  }
  return sum;
}
