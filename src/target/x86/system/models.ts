/**
 * CPU models: from a QEMU-style description (`qemu64`, `Haswell,-avx2`,
 * `max,+la57`) to what this CPU is. CPUID says only what works.
 */
import { UserError } from '../../../base/index.ts';
import { cr4Bits, eferBits } from './context.ts';
import { type CpuidResult, canonicalFeature, featureBits, supportedFeatures, wordsOf } from './features.ts';
import { type ModelData, modelData } from './model-data.ts';

/** Where this CPU is among the machine's. */
export interface Topology {
  readonly cpus: number;
  /** Also the initial APIC ID. */
  readonly index: number;
}

export interface CpuModel extends Omit<ModelData, 'features'> {
  readonly features: ReadonlySet<string>;
  /** Feature bits by CPUID leaf (`leafKey`). */
  readonly featureWords: ReadonlyMap<number, Readonly<CpuidResult>>;
  /** Features that were asked for and do not work here. */
  readonly missing: readonly string[];
  readonly physicalBits: number;
  /** False: a KVM hides that it is one (`kvm=off`). */
  readonly showsKvm: boolean;
  /** How fast the TSC is to run; undefined: as the accelerator has it. */
  readonly tscHertz: number | undefined;
  readonly topology: Topology;
  /** Bits that CR4, EFER and XCR0 may have. */
  readonly cr4Mask: number;
  readonly eferMask: number;
  readonly xcr0Mask: number;
  /** Accepts QEMU's and Linux's spellings. */
  has(feature: string): boolean;
}

/** Bits of control registers that a feature brings. */
const cr4Features: readonly (readonly [string, number])[] = [
  ['tsc', cr4Bits.TSD],
  ['de', cr4Bits.DE],
  ['pse', cr4Bits.PSE],
  ['pae', cr4Bits.PAE],
  ['mce', cr4Bits.MCE],
  ['pge', cr4Bits.PGE],
  ['fxsr', cr4Bits.OSFXSR],
  ['sse', cr4Bits.OSXMMEXCPT],
  ['umip', cr4Bits.UMIP],
  ['la57', cr4Bits.LA57],
  ['fsgsbase', cr4Bits.FSGSBASE],
  ['pcid', cr4Bits.PCIDE],
  ['xsave', cr4Bits.OSXSAVE],
  ['smep', cr4Bits.SMEP],
  ['smap', cr4Bits.SMAP],
];
const eferFeatures: readonly (readonly [string, number])[] = [
  ['syscall', eferBits.SCE],
  ['lm', eferBits.LME | eferBits.LMA],
  ['nx', eferBits.NXE],
  ['fxsr-opt', eferBits.FFXSR],
];

/** Features that make no sense without another one. */
const needs: readonly (readonly [string, string])[] = [
  ['sse2', 'sse'],
  ['pni', 'sse2'],
  ['ssse3', 'pni'],
  ['sse4-1', 'ssse3'],
  ['sse4-2', 'sse4-1'],
  ['avx', 'xsave'],
  ['avx', 'sse4-2'],
  ['avx2', 'avx'],
  ['fma', 'avx'],
  ['f16c', 'avx'],
  ['xsaveopt', 'xsave'],
  ['xsavec', 'xsave'],
  ['xgetbv1', 'xsave'],
  ['xsaves', 'xsavec'],
  ['lm', 'pae'],
  ['nx', 'pae'],
  ['la57', 'lm'],
  ['pdpe1gb', 'lm'],
  ['pcid', 'lm'],
  ['fsgsbase', 'lm'],
  ['x2apic', 'apic'],
  ['tsc-deadline', 'apic'],
];

export const modelNames: readonly string[] = modelData.map((m) => m.name);

/**
 * @param description model name, then `,+feature`, `,-feature`, `,feature=on` or `,feature=off`, and QEMU's properties
 * `kvm=off` (KVM's own leaves are hidden) and `tsc-frequency=HERTZ`
 * Throws a UserError that names an unknown model or feature and the nearest known one.
 */
export function resolveModel(description: string, topology: Topology = { cpus: 1, index: 0 }): CpuModel {
  const [name, ...changes] = description.split(',').map((part) => part.trim());
  // QEMU's numbered versions differ in features that do not work here, or in TSX.
  const plainName = name.replace(/-v\d{1,2}$/, '');
  const data = modelData.find((m) => m.name === plainName);
  if (!data) {
    throw new UserError(
      `unknown CPU model '${name}' (did you mean '${nearest(name, modelNames)}'?); models: ${modelNames.join(', ')}`,
    );
  }
  const wanted = new Set(data.features === '*' ? supportedFeatures : data.features.split(' '));
  for (const feature of ['apic', 'hypervisor', 'nopl']) wanted.add(feature);
  for (const change of changes.filter((one) => !isProperty(one))) applyChange(wanted, change);
  const missing = [...wanted].filter((f) => !supportedFeatures.has(f));
  const features = new Set([...wanted].filter((f) => supportedFeatures.has(f)));
  for (const [feature, base] of [...needs, ...needs]) if (!features.has(base)) features.delete(feature);
  const maskOf = (rows: readonly (readonly [string, number])[]) =>
    rows.reduce((mask, [f, bits]) => (features.has(f) ? mask | bits : mask), 0);
  const { features: _, ...identity } = data;
  return {
    ...identity,
    level: highestLeaf(features, data.level, false),
    extendedLevel: highestLeaf(features, data.extendedLevel, true),
    features,
    featureWords: wordsOf(features),
    missing,
    showsKvm: !changes.includes('kvm=off'),
    tscHertz: frequencyOf(changes),
    physicalBits: features.has('lm') ? 40 : features.has('pae') || features.has('pse36') ? 36 : 32,
    topology,
    cr4Mask: maskOf(cr4Features) | cr4Bits.PCE,
    eferMask: maskOf(eferFeatures),
    xcr0Mask: features.has('xsave') ? (features.has('avx') ? 7 : 3) : 0,
    has: (feature) => features.has(feature) || features.has(canonicalFeature(feature)),
  };
}

/** The model's level, raised to the highest leaf that one of its features needs. */
function highestLeaf(features: ReadonlySet<string>, level: number, extended: boolean): number {
  const leaves = [...features]
    .map((f) => featureBits.get(f)?.leaf ?? 0)
    .filter((leaf) => leaf >= 0x8000_0000 === extended);
  return Math.max(level, ...leaves);
}

function isProperty(change: string): boolean {
  return change === 'kvm=on' || change === 'kvm=off' || change.startsWith(FREQUENCY);
}

const FREQUENCY = 'tsc-frequency=';
const TSC_HERTZ = { min: 1e6, max: 1e11 } as const;

/** @throws UserError */
function frequencyOf(changes: readonly string[]): number | undefined {
  const text = changes.findLast((change) => change.startsWith(FREQUENCY))?.slice(FREQUENCY.length);
  if (text === undefined) return undefined;
  const hertz = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (isTscFrequency(hertz)) return hertz;
  throw new UserError(`CPU property '${FREQUENCY}${text}' must be from ${TSC_HERTZ.min} to ${TSC_HERTZ.max} Hz`);
}

export function isTscFrequency(hertz: number): boolean {
  return hertz >= TSC_HERTZ.min && hertz <= TSC_HERTZ.max;
}

function applyChange(wanted: Set<string>, change: string): void {
  const match = /^([+-])(.+)$|^(.+)=(on|off)$/.exec(change);
  const rawName = match?.[2] ?? match?.[3];
  if (!match || rawName === undefined)
    throw new UserError(`CPU feature '${change}' must be +name, -name, name=on or name=off`);
  const name = canonicalFeature(rawName);
  if (!featureBits.has(name)) {
    throw new UserError(`unknown CPU feature '${rawName}' (did you mean '${nearest(name, [...featureBits.keys()])}'?)`);
  }
  if (match[1] === '+' || match[4] === 'on') wanted.add(name);
  else wanted.delete(name);
}

/** The candidate with the smallest edit distance, letter case aside. */
function nearest(name: string, candidates: readonly string[]): string {
  const scored = candidates.map((c) => ({ c, d: editDistance(name.slice(0, 64).toLowerCase(), c.toLowerCase()) }));
  return scored.reduce((best, x) => (x.d < best.d ? x : best)).c;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
