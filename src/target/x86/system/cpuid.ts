/** CPUID: leaves from the model, with the few bits that follow the CPU's state. */
import { cr4, gpr, xcr0, xss } from '../state.ts';
import { cr4Bits, type HelperResult, outcome, type SystemContext } from './context.ts';
import { type CpuidResult, leafKey } from './features.ts';
import type { CpuModel } from './models.ts';
import { compactedSize, standardSize, ymmOffset, ymmSize } from './xsave.ts';

const hypervisorBase = 0x4000_0000;
const extendedBase = 0x8000_0000;
const apicEnabled = 1 << 9;
const osxsave = 1 << 27;
/** Width of linear addresses that leaf 8000_0008 gives. */
const linearBits = (model: CpuModel): number => (model.has('lm') ? (model.has('la57') ? 57 : 48) : 32);

export function cpuid(s: SystemContext): HelperResult {
  const { cpu } = s;
  const result = cpuidLeaf(s, cpu.get(gpr[0]) >>> 0, cpu.get(gpr[1]) >>> 0);
  cpu.setLow(gpr[0], result.eax);
  cpu.setLow(gpr[3], result.ebx);
  cpu.setLow(gpr[1], result.ecx);
  cpu.setLow(gpr[2], result.edx);
  return outcome.next;
}

/** The leaf as software sees it now; a leaf beyond the highest one gives the highest basic leaf (Intel) or zeros (AMD). */
export function cpuidLeaf(s: SystemContext, leaf: number, subleaf: number): CpuidResult {
  const { model } = s;
  if (leaf >= hypervisorBase && leaf < hypervisorBase + 0x100 && model.has('hypervisor')) return hypervisorLeaf(leaf);
  if (leaf >= extendedBase && leaf <= model.extendedLevel) return extendedLeaf(model, leaf);
  if (leaf <= model.level) return basicLeaf(s, leaf, subleaf);
  return model.vendor === 'GenuineIntel' ? basicLeaf(s, model.level, subleaf) : zeros();
}

function zeros(): CpuidResult {
  return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
}

/** The model's feature bits in a leaf, other bits 0. */
function featureWords(model: CpuModel, leaf: number, subleaf = 0): CpuidResult {
  const words = model.featureWords.get(leafKey(leaf, subleaf));
  return words ? { ...words } : zeros();
}

/** Four characters as a little-endian word. */
function word(text: string, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value |= (text.charCodeAt(at + i) || 0) << (8 * i);
  return value;
}

function vendorLeaf(eax: number, vendor: string): CpuidResult {
  return { eax, ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) };
}

/** Family, model and stepping as leaf 1 packs them. */
export function signature(model: CpuModel): number {
  const family = Math.min(model.family, 15);
  return (
    model.stepping |
    ((model.model & 15) << 4) |
    (family << 8) |
    ((model.model >> 4) << 16) |
    ((model.family - family) << 20)
  );
}

function basicLeaf(s: SystemContext, leaf: number, subleaf: number): CpuidResult {
  const { cpu, model, ports } = s;
  const { topology } = model;
  switch (leaf) {
    case 0:
      return vendorLeaf(model.level, model.vendor);
    case 1: {
      const r = featureWords(model, 1);
      r.eax = signature(model);
      r.ebx = (model.has('clflush') ? 8 << 8 : 0) | (topology.cpus << 16) | (topology.index << 24);
      if (topology.cpus > 1) r.edx |= 1 << 28;
      if ((ports.apic.readBase().low & (1 << 11)) === 0) r.edx &= ~apicEnabled;
      if (cpu.get(cr4) & cr4Bits.OSXSAVE) r.ecx |= osxsave;
      return r;
    }
    case 2:
      // Descriptor FF: caches are in leaf 4.
      return model.vendor === 'GenuineIntel' ? { ...zeros(), eax: 0xff01 } : zeros();
    case 4:
      return model.vendor === 'GenuineIntel' ? cacheLeaf(model, subleaf) : zeros();
    case 7:
      return subleaf === 0 ? { ...featureWords(model, 7), eax: 0 } : zeros();
    case 0xb:
      return topologyLeaf(model, subleaf);
    case 0xd:
      return xsaveLeaf(s, subleaf);
    case 0x15:
      return { eax: 1, ebx: 1, ecx: ports.tscHertz, edx: 0 };
    case 0x16:
      return { eax: Math.round(ports.tscHertz / 1e6), ebx: Math.round(ports.tscHertz / 1e6), ecx: 100, edx: 0 };
    default:
      return featureWords(model, leaf, subleaf);
  }
}

/** [type 1 data, 2 code, 3 both; level; sets; ways; shared by all]; lines of 64 bytes. */
const caches = [
  [1, 1, 64, 8, false],
  [2, 1, 64, 8, false],
  [3, 2, 4096, 16, false],
  [3, 3, 16384, 16, true],
] as const;

/** Leaf 4. */
function cacheLeaf(model: CpuModel, subleaf: number): CpuidResult {
  const cache = caches[subleaf];
  if (!cache) return zeros();
  const [type, level, sets, ways, isShared] = cache;
  const { cpus } = model.topology;
  return {
    eax: type | (level << 5) | (1 << 8) | (isShared ? (cpus - 1) << 14 : 0) | ((cpus - 1) << 26),
    ebx: 63 | ((ways - 1) << 22),
    ecx: sets - 1,
    edx: 1,
  };
}

function topologyLeaf(model: CpuModel, subleaf: number): CpuidResult {
  const { cpus, index } = model.topology;
  const coreBits = 32 - Math.clz32(cpus - 1);
  const base = { ecx: subleaf & 0xff, edx: index };
  if (subleaf === 0) return { eax: 0, ebx: 1, ...base, ecx: base.ecx | 0x100 };
  if (subleaf === 1) return { eax: coreBits, ebx: cpus, ...base, ecx: base.ecx | 0x200 };
  return { eax: 0, ebx: 0, ...base };
}

function xsaveLeaf(s: SystemContext, subleaf: number): CpuidResult {
  const { cpu, model } = s;
  if (!model.has('xsave')) return zeros();
  if (subleaf === 0)
    return { eax: model.xcr0Mask, ebx: standardSize(cpu.get(xcr0)), ecx: standardSize(model.xcr0Mask), edx: 0 };
  if (subleaf === 1) {
    const { eax } = featureWords(model, 0xd, 1);
    return { ...zeros(), eax, ebx: eax & 0xa ? compactedSize(cpu.get(xcr0) | cpu.get(xss)) : 0 };
  }
  if (subleaf === 2 && model.has('avx')) return { eax: ymmSize, ebx: ymmOffset, ecx: 0, edx: 0 };
  return zeros();
}

function extendedLeaf(model: CpuModel, leaf: number): CpuidResult {
  const isAmd = model.vendor === 'AuthenticAMD';
  switch (leaf - extendedBase) {
    case 0:
      return isAmd ? vendorLeaf(model.extendedLevel, model.vendor) : { ...zeros(), eax: model.extendedLevel };
    case 1:
      return extendedFeatures(model);
    case 2:
    case 3:
    case 4: {
      const at = (leaf - extendedBase - 2) * 16;
      return {
        eax: word(model.brand, at),
        ebx: word(model.brand, at + 4),
        ecx: word(model.brand, at + 8),
        edx: word(model.brand, at + 12),
      };
    }
    case 5:
      // L1: 64-KiB caches of 2 ways would be AMD's; these are the ones of `caches`: 32 KiB, 8 ways, 64-byte lines.
      return isAmd ? { eax: 0x01ff01ff, ebx: 0x01ff01ff, ecx: 0x20080140, edx: 0x20080140 } : zeros();
    case 6:
      // L2: 4 MiB, 16 ways (code 8); L3: 16 MiB, 16 ways, in units of 512 KiB.
      return isAmd
        ? { eax: 0, ebx: 0x42004200, ecx: (4096 << 16) | 0x8140, edx: (32 << 18) | 0x8140 }
        : { ...zeros(), ecx: (4096 << 16) | 0x8040 };
    case 8:
      return {
        ...featureWords(model, leaf),
        eax: model.physicalBits | (linearBits(model) << 8),
        ecx: isAmd ? model.topology.cpus - 1 : 0,
      };
    default:
      return featureWords(model, leaf);
  }
}

/** On AMD, EDX of leaf 8000_0001 repeats the bits of leaf 1 that both have. */
function extendedFeatures(model: CpuModel): CpuidResult {
  const r = featureWords(model, 0x8000_0001);
  if (model.vendor === 'AuthenticAMD') {
    r.eax = signature(model);
    r.edx |= featureWords(model, 1).edx & 0x0183_f3ff;
  }
  return r;
}

/** QEMU's signature without KVM, by which guest tools know a virtual machine; no interface comes with it. */
function hypervisorLeaf(leaf: number): CpuidResult {
  return leaf === hypervisorBase ? vendorLeaf(hypervisorBase + 1, 'TCGTCGTCGTCG') : zeros();
}
