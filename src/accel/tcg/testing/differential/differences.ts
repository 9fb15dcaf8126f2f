/**
 * Where Vireo and the native CPU may differ: each rule with its reason. Flags
 * that the manuals leave undefined are marked in the rows themselves.
 */
import { state } from '../../../../target/index.ts';
import type { Outcome, TestCase } from './record.ts';

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
  /** Error code and CR2. */
  fault: boolean;
  everything: boolean;
}

interface Rule {
  readonly reason: string;
  /** Mnemonics. */
  readonly names?: string;
  readonly when?: (c: TestCase, native: Outcome, vireo: Outcome) => boolean;
  readonly allow: Partial<Allowance>;
}

const C1 = 0x200;
const PE = 0x20;
const UE = 0x10;

const rules: readonly Rule[] = [
  {
    reason: 'transcendental functions: neither manual promises the last bit, nor PE, UE and C1, which follow from it',
    names: 'F2XM1 FYL2X FYL2XP1 FSIN FCOS FSINCOS FPTAN FPATAN',
    allow: { stUlps: 2, fsw: C1 | PE | UE },
  },
];

const rulesByName = new Map<string, Rule[]>();
for (const rule of rules) {
  for (const name of rule.names?.split(' ') ?? ['*']) rulesByName.set(name, [...(rulesByName.get(name) ?? []), rule]);
}

/** Everything that may differ in this case. */
export function allowances(c: TestCase, native: Outcome, vireo: Outcome): Allowance {
  const { row } = c.parsed;
  const sum: Allowance = {
    flags: 0,
    fsw: 0,
    registers: 0,
    stUlps: 0,
    fpuPointers: false,
    memory: false,
    vectors: false,
    fault: false,
    everything: false,
  };
  // Undefined only once the instruction is through: at a fault they are as before it.
  if (native.vector === state.vector.BP || native.vector === state.vector.DB) sum.flags = row.undefinedFlags ?? 0;
  for (const rule of [...(rulesByName.get(row.mnemonic) ?? []), ...(rulesByName.get('*') ?? [])]) {
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
