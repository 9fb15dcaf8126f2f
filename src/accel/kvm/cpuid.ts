/** What a vCPU says it is: what KVM can show of the host's processor, cut to the CPU model. */
import { featureBits, leafKey, resolveModel, wordsOf } from '../../target/index.ts';
import { CAP } from './ioctls.ts';
import type { CpuidEntry } from './structures.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

export interface CpuidOptions {
  readonly supported: readonly CpuidEntry[];
  /** As QEMU writes it: `max`, `host`, `Skylake-Client,-avx2`. */
  readonly cpuModel: string;
  readonly cpus: number;
  readonly index: number;
  /** The local APIC is the kernel's; a device of ours has neither x2APIC mode nor the deadline timer here. */
  readonly kernelApic?: boolean;
  /** What a capability of KVM is. */
  capability(number: number): number;
}

const HYPERVISOR = { leaf: 1, register: 'ecx', bit: 31 } as const;
const TSC_DEADLINE_BIT = 24;
const X2APIC_BIT = 21;
const HTT_BIT = 28;
const TOPOLOGY_LEAVES: readonly number[] = [0xb, 0x1f];

/** Throws UserError for an unknown model. */
export function cpuidOf(options: CpuidOptions): CpuidEntry[] {
  const { supported, capability, kernelApic = true } = options;
  const model = modelName(options.cpuModel);
  const deadline = kernelApic && capability(CAP.TSC_DEADLINE_TIMER) > 0;
  const { showsKvm } = resolveModel(model);
  const able = supported
    .filter((entry) => !TOPOLOGY_LEAVES.includes(entry.function) && (showsKvm || !isHypervisorLeaf(entry.function)))
    .map((entry) => {
      if (entry.function !== HYPERVISOR.leaf) return { ...entry };
      const extra = (1 << HYPERVISOR.bit) | (deadline ? 1 << TSC_DEADLINE_BIT : 0);
      const missing = kernelApic ? 0 : 1 << X2APIC_BIT;
      return { ...entry, ecx: ((entry.ecx | extra) & ~missing) >>> 0 };
    });
  return withTopology(cutToModel(able, model), options);
}

/** `host` is all that the processor can, as `max` is. */
export function modelName(description: string): string {
  return description.replace(/^host(?=,|$)/, 'max');
}

function isHypervisorLeaf(leaf: number): boolean {
  return leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff;
}

function cutToModel(entries: CpuidEntry[], description: string): CpuidEntry[] {
  const model = resolveModel(description);
  const everything = resolveModel('max');
  if (model.name === everything.name) {
    // All that the host has, but for what is switched off.
    const off = wordsOf([...everything.features].filter((feature) => !model.features.has(feature)));
    return entries.map((entry) => masked(entry, (register) => ~(wordAt(off, entry, register) ?? 0)));
  }
  const wanted = wordsOf([...model.features, ...model.missing]);
  const described = new Set(
    [...featureBits.values()].map(({ leaf, subleaf, register }) => key(leaf, subleaf, register)),
  );
  const identity = identityOf(model);
  return entries.map((entry) => {
    const cut = masked(entry, (register) =>
      described.has(key(entry.function, entry.index, register)) ? (wordAt(wanted, entry, register) ?? 0) : -1,
    );
    return { ...cut, ...identity.get(entry.function) };
  });
}

const key = (leaf: number, subleaf: number, register: Register) => `${leaf}.${subleaf}.${register}`;

function wordAt(words: ReturnType<typeof wordsOf>, { function: leaf, index }: CpuidEntry, register: Register) {
  return words.get(leafKey(leaf, index))?.[register];
}

function masked(entry: CpuidEntry, mask: (register: Register) => number): CpuidEntry {
  const cut = (register: Register) => (entry[register] & mask(register)) >>> 0;
  return { ...entry, eax: cut('eax'), ebx: cut('ebx'), ecx: cut('ecx'), edx: cut('edx') };
}

/** Family, model and brand, by leaf. The vendor stays the host's: code chooses instructions by it that the other has not. */
function identityOf(model: ReturnType<typeof resolveModel>): Map<number, Partial<CpuidEntry>> {
  const word = (text: string, at: number) =>
    [0, 1, 2, 3].reduce((sum, i) => (sum | ((text.charCodeAt(at + i) || 0) << (8 * i))) >>> 0, 0);
  const { brand, stepping } = model;
  const family = Math.min(model.family, 15);
  const signature =
    (stepping |
      ((model.model & 15) << 4) |
      (family << 8) |
      ((model.model >> 4) << 16) |
      ((model.family - family) << 20)) >>>
    0;
  const brandWords = (at: number) => ({
    eax: word(brand, at),
    ebx: word(brand, at + 4),
    ecx: word(brand, at + 8),
    edx: word(brand, at + 12),
  });
  return new Map<number, Partial<CpuidEntry>>([
    [1, { eax: signature }],
    ...(brand === '' ? [] : [0, 1, 2].map((i): [number, Partial<CpuidEntry>] => [0x8000_0002 + i, brandWords(i * 16)])),
  ]);
}

/** One socket of `cpus` cores; APIC ids are indices. */
function withTopology(entries: CpuidEntry[], { cpus, index }: CpuidOptions): CpuidEntry[] {
  const coreBits = 32 - Math.clz32(cpus - 1);
  const placed = entries.map((entry): CpuidEntry => {
    switch (entry.function) {
      case 1: {
        const count = Math.min(cpus, 255);
        const edx = cpus > 1 ? entry.edx | (1 << HTT_BIT) : entry.edx & ~(1 << HTT_BIT);
        return { ...entry, ebx: ((entry.ebx & 0xffff) | (count << 16) | (index << 24)) >>> 0, edx: edx >>> 0 };
      }
      case 4: {
        // Cores in the package; the last level is shared by all, the others by none.
        const shared = ((entry.eax >>> 5) & 7) >= 3 ? cpus - 1 : 0;
        if ((entry.eax & 31) === 0) return entry;
        return { ...entry, eax: ((entry.eax & 0x3fff) | (shared << 14) | (Math.min(cpus - 1, 63) << 26)) >>> 0 };
      }
      case 0x8000_0008:
        return { ...entry, ecx: cpus > 1 ? ((coreBits << 12) | Math.min(cpus - 1, 255)) >>> 0 : 0 };
      case 0x8000_001e:
        return { ...entry, eax: index, ebx: index & 0xff, ecx: 0 };
      default:
        return entry;
    }
  });
  const highest = placed.find(({ function: leaf }) => leaf === 0)?.eax ?? 0;
  if (highest < 0xb) return placed;
  const SIGNIFICANT_INDEX = 1;
  const level = (subleaf: number, eax: number, ebx: number, type: number): CpuidEntry => ({
    function: 0xb,
    index: subleaf,
    flags: SIGNIFICANT_INDEX,
    eax,
    ebx,
    ecx: subleaf | (type << 8),
    edx: index,
  });
  return [...placed, level(0, 0, 1, 1), level(1, coreBits, cpus, 2), level(2, 0, 0, 0)];
}
