/** The CPU models, by QEMU's names: identification and features as that model's CPUID gives them, before the cut to what works. */

export interface ModelData {
  readonly name: string;
  readonly vendor: 'GenuineIntel' | 'AuthenticAMD';
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  /** Highest basic and extended leaf. */
  readonly level: number;
  readonly extendedLevel: number;
  readonly brand: string;
  readonly features: string;
}

const common32 = 'fpu de pse tsc msr pae mce cx8 sep pge cmov pat mmx fxsr sse sse2';
const common64 = `${common32} mtrr mca pse36 clflush pni syscall nx lm`;
const core2 = `${common64} ssse3 lahf-lm`;
const nehalem = `${core2} cx16 sse4-1 sse4-2 popcnt`;
const westmere = `${nehalem} aes pclmulqdq arat`;
const sandyBridge = `${westmere} avx xsave xsaveopt rdtscp tsc-deadline x2apic`;
const ivyBridge = `${sandyBridge} erms f16c fsgsbase rdrand smep`;
const haswell = `${ivyBridge} abm avx2 bmi1 bmi2 fma invpcid movbe pcid`;
const broadwell = `${haswell} 3dnowprefetch adx rdseed smap`;
const skylake = `${broadwell} xgetbv1 xsavec`;
const skylakeServerIbrs = `${skylake} avx512bw avx512cd avx512dq avx512f avx512vl clwb pdpe1gb pku spec-ctrl`;
const skylakeServer = `${skylake} avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pdpe1gb pku`;
const icelakeServer = `${skylakeServer} avx512-vpopcntdq avx512bitalg avx512vbmi avx512vbmi2 avx512vnni gfni la57 umip vaes vpclmulqdq wbnoinvd spec-ctrl ssbd`;
const opteron3 = `${common64} cx16 lahf-lm svm abm misalignsse monitor popcnt rdtscp sse4a`;
const opteron4 = `${common64} cx16 lahf-lm svm 3dnowprefetch abm aes avx fma4 misalignsse npt nrip-save pclmulqdq pdpe1gb popcnt rdtscp sse4-1 sse4-2 sse4a ssse3 xop xsave`;
const epyc = `${common64} 3dnowprefetch abm adx aes arat avx avx2 bmi1 bmi2 clflushopt cr8legacy cx16 f16c fma fsgsbase fxsr-opt lahf-lm misalignsse mmxext monitor movbe npt nrip-save osvw pclmulqdq pdpe1gb popcnt rdrand rdseed rdtscp sha-ni smap smep sse4-1 sse4-2 sse4a ssse3 svm topoext xgetbv1 xsave xsavec xsaveopt`;
const epycRome = `${epyc} amd-stibp clwb clzero ibpb perfctr-core rdpid umip wbnoinvd xsaveerptr xsaves`;

const intel = 'GenuineIntel';
const amd = 'AuthenticAMD';
/** name, vendor, family, model, stepping, level, extended level, brand, features. */
type Line = readonly [string, 'GenuineIntel' | 'AuthenticAMD', number, number, number, number, number, string, string];

// biome-ignore format: one model a line
const lines: readonly Line[] = [
  ['486', intel, 4, 8, 0, 1, 0, '', 'fpu pse'],
  ['pentium', intel, 5, 4, 3, 1, 0, '', 'fpu de pse tsc msr mce cx8 mmx'],
  ['pentium2', intel, 6, 5, 2, 2, 0, '', 'fpu de pse tsc msr pae mce cx8 sep mtrr pge mca cmov pat pse36 mmx fxsr'],
  ['pentium3', intel, 6, 7, 3, 3, 0, '', 'fpu de pse tsc msr pae mce cx8 sep mtrr pge mca cmov pat pse36 mmx fxsr sse'],
  ['athlon', amd, 6, 2, 3, 2, 0x8000_0008, 'QEMU Virtual CPU version 2.5+', `${common32} mtrr mca pse36 3dnow 3dnowext mmxext`],
  ['qemu32', intel, 6, 6, 3, 4, 0x8000_0004, 'QEMU Virtual CPU version 2.5+', `${common32} pni`],
  ['kvm32', intel, 15, 6, 1, 5, 0x8000_0008, 'Common 32-bit KVM processor', `${common32} mtrr mca pse36 clflush pni`],
  ['coreduo', intel, 6, 14, 8, 10, 0x8000_0008, 'Genuine Intel(R) CPU           T2600  @ 2.16GHz', `${common32} acpi clflush mca monitor mtrr nx pni ss`],
  ['n270', intel, 6, 28, 2, 10, 0x8000_0008, 'Intel(R) Atom(TM) CPU N270   @ 1.60GHz', `${common32} acpi clflush lahf-lm mca monitor movbe mtrr nx pni ss ssse3`],
  ['qemu64', amd, 15, 107, 1, 13, 0x8000_000a, 'QEMU Virtual CPU version 2.5+', `${common64} cx16 lahf-lm svm`],
  ['kvm64', intel, 15, 6, 1, 13, 0x8000_0008, 'Common KVM processor', `${common64} cx16`],
  ['core2duo', intel, 6, 15, 11, 10, 0x8000_0008, 'Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz', `${core2} acpi cx16 monitor ss`],
  ['Conroe', intel, 6, 15, 3, 10, 0x8000_0008, 'Intel Celeron_4x0 (Conroe/Merom Class Core 2)', core2],
  ['Penryn', intel, 6, 23, 3, 10, 0x8000_0008, 'Intel Core 2 Duo P9xxx (Penryn Class Core 2)', `${core2} cx16 sse4-1`],
  ['Nehalem', intel, 6, 26, 3, 11, 0x8000_0008, 'Intel Core i7 9xx (Nehalem Class Core i7)', nehalem],
  ['Nehalem-IBRS', intel, 6, 26, 3, 11, 0x8000_0008, 'Intel Core i7 9xx (Nehalem Core i7, IBRS update)', `${nehalem} spec-ctrl`],
  ['Westmere', intel, 6, 44, 1, 11, 0x8000_0008, 'Westmere E56xx/L56xx/X56xx (Nehalem-C)', westmere],
  ['Westmere-IBRS', intel, 6, 44, 1, 11, 0x8000_0008, 'Westmere E56xx/L56xx/X56xx (IBRS update)', `${westmere} spec-ctrl`],
  ['SandyBridge', intel, 6, 42, 1, 13, 0x8000_0008, 'Intel Xeon E312xx (Sandy Bridge)', sandyBridge],
  ['SandyBridge-IBRS', intel, 6, 42, 1, 13, 0x8000_0008, 'Intel Xeon E312xx (Sandy Bridge, IBRS update)', `${sandyBridge} spec-ctrl`],
  ['IvyBridge', intel, 6, 58, 9, 13, 0x8000_0008, 'Intel Xeon E3-12xx v2 (Ivy Bridge)', ivyBridge],
  ['IvyBridge-IBRS', intel, 6, 58, 9, 13, 0x8000_0008, 'Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)', `${ivyBridge} spec-ctrl`],
  ['Haswell', intel, 6, 60, 4, 13, 0x8000_0008, 'Intel Core Processor (Haswell)', `${haswell} hle rtm`],
  ['Haswell-IBRS', intel, 6, 60, 4, 13, 0x8000_0008, 'Intel Core Processor (Haswell, IBRS)', `${haswell} hle rtm spec-ctrl`],
  ['Haswell-noTSX', intel, 6, 60, 1, 13, 0x8000_0008, 'Intel Core Processor (Haswell, no TSX)', haswell],
  ['Haswell-noTSX-IBRS', intel, 6, 60, 1, 13, 0x8000_0008, 'Intel Core Processor (Haswell, no TSX, IBRS)', `${haswell} spec-ctrl`],
  ['Broadwell', intel, 6, 61, 2, 13, 0x8000_0008, 'Intel Core Processor (Broadwell)', `${broadwell} hle rtm`],
  ['Broadwell-IBRS', intel, 6, 61, 2, 13, 0x8000_0008, 'Intel Core Processor (Broadwell, IBRS)', `${broadwell} hle rtm spec-ctrl`],
  ['Broadwell-noTSX', intel, 6, 61, 2, 13, 0x8000_0008, 'Intel Core Processor (Broadwell, no TSX)', broadwell],
  ['Broadwell-noTSX-IBRS', intel, 6, 61, 2, 13, 0x8000_0008, 'Intel Core Processor (Broadwell, no TSX, IBRS)', `${broadwell} spec-ctrl`],
  ['Skylake-Client', intel, 6, 94, 3, 13, 0x8000_0008, 'Intel Core Processor (Skylake)', `${skylake} hle rtm`],
  ['Skylake-Client-IBRS', intel, 6, 94, 3, 13, 0x8000_0008, 'Intel Core Processor (Skylake, IBRS)', `${skylake} hle rtm spec-ctrl`],
  ['Skylake-Client-noTSX-IBRS', intel, 6, 94, 3, 13, 0x8000_0008, 'Intel Core Processor (Skylake, IBRS, no TSX)', `${skylake} spec-ctrl`],
  ['Skylake-Server', intel, 6, 85, 4, 13, 0x8000_0008, 'Intel Xeon Processor (Skylake)', `${skylakeServer} hle rtm`],
  ['Skylake-Server-IBRS', intel, 6, 85, 4, 13, 0x8000_0008, 'Intel Xeon Processor (Skylake, IBRS)', `${skylakeServerIbrs} hle rtm`],
  ['Skylake-Server-noTSX-IBRS', intel, 6, 85, 4, 13, 0x8000_0008, 'Intel Xeon Processor (Skylake, IBRS, no TSX)', skylakeServerIbrs],
  ['Cascadelake-Server', intel, 6, 85, 6, 13, 0x8000_0008, 'Intel Xeon Processor (Cascadelake)', `${skylakeServer} avx512vnni hle rtm spec-ctrl ssbd`],
  ['Cascadelake-Server-noTSX', intel, 6, 85, 6, 13, 0x8000_0008, 'Intel Xeon Processor (Cascadelake)', `${skylakeServer} arch-capabilities avx512vnni spec-ctrl ssbd`],
  ['Cooperlake', intel, 6, 85, 10, 13, 0x8000_0008, 'Intel Xeon Processor (Cooperlake)', `${skylakeServer} arch-capabilities avx512vnni hle rtm spec-ctrl ssbd stibp`],
  ['Icelake-Server', intel, 6, 134, 0, 13, 0x8000_0008, 'Intel Xeon Processor (Icelake)', `${icelakeServer} hle rtm`],
  ['Icelake-Server-noTSX', intel, 6, 134, 0, 13, 0x8000_0008, 'Intel Xeon Processor (Icelake)', icelakeServer],
  ['phenom', amd, 16, 2, 3, 5, 0x8000_001a, 'AMD Phenom(tm) 9550 Quad-Core Processor', `${common64} 3dnow 3dnowext abm cx16 fxsr-opt lahf-lm mmxext monitor npt pdpe1gb popcnt rdtscp sse4a svm`],
  ['Opteron_G1', amd, 15, 6, 1, 5, 0x8000_0008, 'AMD Opteron 240 (Gen 1 Class Opteron)', common64],
  ['Opteron_G2', amd, 15, 6, 1, 5, 0x8000_000a, 'AMD Opteron 22xx (Gen 2 Class Opteron)', `${common64} cx16 lahf-lm svm`],
  ['Opteron_G3', amd, 16, 2, 3, 5, 0x8000_000a, 'AMD Opteron 23xx (Gen 3 Class Opteron)', opteron3],
  ['Opteron_G4', amd, 21, 1, 2, 13, 0x8000_001a, 'AMD Opteron 62xx class CPU', opteron4],
  ['Opteron_G5', amd, 21, 2, 0, 13, 0x8000_001a, 'AMD Opteron 63xx class CPU', `${opteron4} f16c fma tbm`],
  ['EPYC', amd, 23, 1, 2, 13, 0x8000_001e, 'AMD EPYC Processor', epyc],
  ['EPYC-IBPB', amd, 23, 1, 2, 13, 0x8000_001e, 'AMD EPYC Processor (with IBPB)', `${epyc} ibpb`],
  ['EPYC-Rome', amd, 23, 49, 0, 13, 0x8000_001e, 'AMD EPYC-Rome Processor', epycRome],
  ['EPYC-Milan', amd, 25, 1, 1, 13, 0x8000_001e, 'AMD EPYC-Milan Processor', `${epycRome} amd-ssbd erms fsrm ibrs invpcid pcid pku svme-addr-chk`],
  ['max', amd, 15, 107, 1, 13, 0x8000_000a, 'QEMU TCG CPU version 2.5+', '*'],
];

export const modelData: readonly ModelData[] = lines.map(
  ([name, vendor, family, model, stepping, level, extendedLevel, brand, features]) => ({
    name,
    vendor,
    family,
    model,
    stepping,
    level,
    extendedLevel,
    brand,
    features,
  }),
);
