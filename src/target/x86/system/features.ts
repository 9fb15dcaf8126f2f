/** CPUID feature bits by the names that QEMU gives them (SDM vol. 2, CPUID; AMD64 manual vol. 3, appendix E). */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';
export type CpuidResult = Record<CpuidRegister, number>;
export interface FeatureBit {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

/** [leaf, subleaf, register, names from bit 0 on; '-' for none]. */
// biome-ignore format: one register a line
const words: readonly (readonly [number, number, CpuidRegister, string])[] = [
  [1, 0, 'edx', 'fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe'],
  [1, 0, 'ecx', 'pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca sse4-1 sse4-2 x2apic movbe popcnt tsc-deadline aes xsave - avx f16c rdrand hypervisor'],
  [6, 0, 'eax', '- - arat'],
  [7, 0, 'ebx', 'fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl'],
  [7, 0, 'ecx', '- avx512vbmi umip pku - waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni avx512bitalg - avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b - sgxlc pks'],
  [7, 0, 'edx', '- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - tsx-ldtrk - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d arch-capabilities core-capability ssbd'],
  [0xd, 1, 'eax', 'xsaveopt xsavec xgetbv1 xsaves'],
  [0x8000_0001, 0, 'edx', '- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm 3dnowext 3dnow'],
  [0x8000_0001, 0, 'ecx', 'lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb'],
  [0x8000_0007, 0, 'edx', '- - - - - - - - invtsc'],
  [0x8000_0008, 0, 'ebx', 'clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - - - - - - - - amd-ssbd virt-ssbd amd-no-ssb'],
  [0x8000_000a, 0, 'edx', 'npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - pause-filter - pfthreshold avic - v-vmsave-vmload vgif - - - - - - - - - - - svme-addr-chk'],
];

/** Other spellings: QEMU's aliases and the names of Linux and of the instruction tables. */
const aliases: Readonly<Record<string, string>> = {
  sse3: 'pni',
  'sse4.1': 'sse4-1',
  'sse4.2': 'sse4-2',
  lzcnt: 'abm',
  prefetchw: '3dnowprefetch',
  pclmuldq: 'pclmulqdq',
  xd: 'nx',
  i64: 'lm',
  ffxsr: 'fxsr-opt',
};

export const featureBits: ReadonlyMap<string, FeatureBit> = new Map(
  words.flatMap(([leaf, subleaf, register, names]) =>
    names
      .split(' ')
      .map((name, bit): [string, FeatureBit] => [name, { leaf, subleaf, register, bit }])
      .filter(([name]) => name !== '-'),
  ),
);

/** One number for a leaf and a subleaf. */
export const leafKey = (leaf: number, subleaf: number): number => leaf * 16 + subleaf;

/** The words of all leaves that have bits of these features. */
export function wordsOf(features: Iterable<string>): Map<number, CpuidResult> {
  const words = new Map<number, CpuidResult>();
  for (const name of features) {
    const feature = featureBits.get(name);
    if (!feature) continue;
    const key = leafKey(feature.leaf, feature.subleaf);
    const word = words.get(key) ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    word[feature.register] |= 1 << feature.bit;
    words.set(key, word);
  }
  return words;
}

/** A feature's one name here: underscores and dots become dashes, aliases are resolved. */
export function canonicalFeature(name: string): string {
  const dashed = (aliases[name] ?? name).replace(/[_.]/g, '-');
  return aliases[dashed] ?? dashed;
}

/** What this CPU does: CPUID never says more. `nopl` has no bit. */
export const supportedFeatures: ReadonlySet<string> = new Set(
  [
    'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 nopl',
    'pni pclmulqdq ssse3 fma cx16 pcid sse4-1 sse4-2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c rdrand hypervisor',
    'arat fsgsbase tsc-adjust bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb umip la57 rdpid fsrm vaes vpclmulqdq sha-ni',
    'xsaveopt xsavec xgetbv1 xsaves syscall nx pdpe1gb rdtscp lm lahf-lm cmp-legacy abm 3dnowprefetch invtsc',
  ]
    .join(' ')
    .split(' '),
);
