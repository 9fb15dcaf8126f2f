/**
 * Rows that are not compared with the native CPU, each with its reason. They
 * are tested by guests (tests/guests) or by tests of their own.
 */
import type { Feature, ParsedRow } from '../../../../target/index.ts';

interface Exclusion {
  /** Mnemonics. */
  readonly names: string;
  readonly reason: string;
}

const exclusions: readonly Exclusion[] = [
  { names: 'CPUID XGETBV', reason: 'tell about the CPU itself' },
  { names: 'RDTSC RDTSCP RDPMC RDRAND RDSEED RDPID', reason: 'give another value every time' },
  {
    names: 'SYSCALL SYSENTER SYSEXIT SYSRET',
    reason: 'enter the host kernel, or differ between AMD and Intel in long mode',
  },
  { names: 'SGDT SIDT SLDT STR SMSW', reason: 'UMIP: the host kernel emulates them' },
  { names: 'MONITOR MWAIT', reason: 'depend on what the hypervisor lets through' },
  { names: 'XSAVEOPT XSAVEC', reason: 'what they write depends on which components the CPU knows to be in use' },
  { names: 'JMPF CALLF RETF IRET INT', reason: 'far transfers between host segments; done by guests' },
  { names: 'INT1', reason: 'where it leaves RIP depends on the hypervisor' },
  { names: 'CLFLUSH CLFLUSHOPT CLWB', reason: 'no effect but faults, which hypervisors handle differently' },
];

/** All mnemonics that are left out. */
export const excludedNames: readonly string[] = exclusions.flatMap(({ names }) => names.split(' '));

const reasons = new Map(exclusions.flatMap(({ names, reason }) => names.split(' ').map((name) => [name, reason])));

/** Why `parsed` is not compared on a host with the features `host`, for a CPU model with those of `model`; undefined when it is. */
export function exclusion(
  parsed: ParsedRow,
  host: ReadonlySet<Feature>,
  model: ReadonlySet<Feature>,
): string | undefined {
  const { row } = parsed;
  if (row.cpuid && !host.has(row.cpuid)) return `the host has no ${row.cpuid}`;
  if (row.cpuid && !model.has(row.cpuid)) return `the CPU model has no ${row.cpuid}`;
  return reasons.get(row.mnemonic);
}
