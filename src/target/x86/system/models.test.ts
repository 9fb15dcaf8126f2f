import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../../base/index.ts';
import * as st from '../state.ts';
import { x86Rows } from '../table/index.ts';
import { cr4Bits } from './context.ts';
import { canonicalFeature, featureBits, supportedFeatures } from './features.ts';
import { modelData } from './model-data.ts';
import { modelNames, resolveModel } from './models.ts';
import { longMode, Machine } from './testing/machine.ts';

function cpuid(m: Machine, leaf: number, subleaf = 0): { eax: number; ebx: number; ecx: number; edx: number } {
  m.cpu.setLow(st.gpr[0], leaf | 0);
  m.cpu.setLow(st.gpr[1], subleaf);
  assert.equal(m.run('cpuid'), 0);
  const of = (i: number) => m.cpu.get(st.gpr[i]) >>> 0;
  return { eax: of(0), ebx: of(3), ecx: of(1), edx: of(2) };
}

function text(...words: number[]): string {
  return words
    .map((w) => [0, 8, 16, 24].map((shift) => String.fromCharCode((w >>> shift) & 0xff)).join(''))
    .join('')
    .replace(/\0+$/, '');
}

test('every model resolves, and its features are known names', () => {
  for (const { name, features } of modelData) {
    const model = resolveModel(name);
    assert.ok(model.features.size > 0, name);
    if (features === '*') continue;
    for (const feature of features.split(' ')) assert.ok(featureBits.has(feature), `${name}: ${feature}`);
  }
  for (const feature of supportedFeatures) assert.ok(featureBits.has(feature) || feature === 'nopl', feature);
});

test('qemu64 as QEMU 7.2 gives it, without what does not work', () => {
  const m = new Machine('qemu64');
  const leaf0 = cpuid(m, 0);
  assert.equal(text(leaf0.ebx, leaf0.edx, leaf0.ecx), 'AuthenticAMD');
  const leaf1 = cpuid(m, 1);
  assert.equal(leaf1.eax, 0x60fb1);
  assert.equal(leaf1.edx, 0x078bfbfd);
  assert.equal(leaf1.ecx, 0x80002001);
  assert.equal(cpuid(m, 0x8000_0001).ecx, 1, 'LAHF, and no SVM');
  const brand = [2, 3, 4]
    .map((i) => cpuid(m, 0x8000_0000 + i))
    .map((r) => text(r.eax, r.ebx, r.ecx, r.edx))
    .join('');
  assert.equal(brand, 'QEMU Virtual CPU version 2.5+');
  assert.equal(cpuid(m, 0x8000_0008).eax, 0x3028);
  assert.deepEqual(cpuid(m, 0xd), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('features are added, removed and depend on each other', () => {
  assert.ok(resolveModel('qemu64,+avx').features.has('avx') === false, 'AVX needs XSAVE and SSE4.2');
  const model = resolveModel('Haswell-noTSX,-avx2,+rdseed,rdrand=off');
  assert.deepEqual(
    ['avx2', 'rdseed', 'rdrand', 'avx'].map((f) => model.has(f)),
    [false, true, false, true],
  );
  assert.ok(!resolveModel('max,-xsave').has('avx2'));
  assert.ok(resolveModel('Nehalem').has('sse4_2') && resolveModel('Nehalem').has('sse4.2'));
  assert.deepEqual(resolveModel('Haswell').missing, ['hle', 'rtm']);
  assert.ok(resolveModel('qemu32,+bmi1').level >= 7, 'the level follows the features');
});

test('unknown names: the nearest one is named', () => {
  assert.throws(
    () => resolveModel('qemu65'),
    (e: unknown) => e instanceof UserError && /unknown CPU model 'qemu65' \(did you mean 'qemu64'\?\)/.test(e.message),
  );
  assert.throws(() => resolveModel('skylake-client'), /did you mean 'Skylake-Client'/);
  assert.throws(() => resolveModel('max,+avx22'), /unknown CPU feature 'avx22' \(did you mean 'avx2'\?\)/);
  assert.throws(() => resolveModel('max,avx2'), /must be \+name, -name, name=on or name=off/);
  assert.ok(modelNames.includes('max'));
  assert.equal(resolveModel('EPYC-v3').name, 'EPYC');
});

test('OSXSAVE follows CR4, the APIC bit follows its base register', () => {
  const m = longMode();
  assert.equal(cpuid(m, 1).ecx & (1 << 27), 0);
  m.run('moveToCr', 4, cr4Bits.PAE | cr4Bits.OSXSAVE);
  assert.notEqual(cpuid(m, 1).ecx & (1 << 27), 0);
  assert.notEqual(cpuid(m, 1).edx & (1 << 9), 0);
  m.apic.base = { low: 0xfee0_0100, high: 0 };
  assert.equal(cpuid(m, 1).edx & (1 << 9), 0);
});

test('leaf D: sizes by XCR0', () => {
  const m = longMode('max');
  assert.deepEqual(cpuid(m, 0xd), { eax: 7, ebx: 576, ecx: 832, edx: 0 });
  m.cpu.setLow(st.xcr0, 7);
  assert.equal(cpuid(m, 0xd).ebx, 832);
  assert.deepEqual(cpuid(m, 0xd, 2), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
});

test('Intel caches and topology', () => {
  const m = new Machine('Skylake-Client');
  const l1 = cpuid(m, 4, 0);
  const size = ((l1.ebx >>> 22) + 1) * ((l1.ebx & 0xfff) + 1) * (l1.ecx + 1);
  assert.equal(size, 32 << 10);
  assert.equal(cpuid(m, 4, 4).eax, 0);
  assert.deepEqual(cpuid(m, 0xb, 1), { eax: 0, ebx: 1, ecx: 0x201, edx: 0 });
  assert.equal(cpuid(m, 0x16).eax, cpuid(m, m.system.model.level).eax, 'beyond the last leaf: the last leaf');
});

test('the hypervisor leaf', () => {
  const m = new Machine('max');
  const r = cpuid(m, 0x4000_0000);
  assert.equal(text(r.ebx, r.ecx, r.edx).length, 12);
  assert.ok(cpuid(m, 1).ecx >>> 31);
  assert.equal(cpuid(new Machine('max,-hypervisor'), 1).ecx >>> 31, 0);
});

test('CPUID says what works: a feature with instructions is announced exactly when the tables have them', () => {
  const withRows = new Set(x86Rows.flatMap(({ cpuid }) => (cpuid ? [canonicalFeature(cpuid)] : [])));
  // MONITOR and MWAIT decode, but a halted CPU here wakes by interrupts alone.
  withRows.delete('monitor');
  for (const feature of withRows)
    assert.ok(supportedFeatures.has(feature), `${feature} has instructions but is not announced`);
  const instructionFeatures = [
    'cx8',
    'cmov',
    'mmx',
    'fxsr',
    'sse',
    'sse2',
    'pni',
    'ssse3',
    'sse4-1',
    'sse4-2',
    'popcnt',
    'cx16',
    'movbe',
    'aes',
    'pclmulqdq',
    'xsave',
    'avx',
    'f16c',
    'fma',
    'avx2',
    'bmi1',
    'bmi2',
    'abm',
    'adx',
    'rdrand',
    'rdseed',
    'syscall',
    'sep',
    'rdtscp',
    'fsgsbase',
    'invpcid',
    'smap',
    'clflush',
    'clflushopt',
    'clwb',
    'xsaveopt',
    'xsavec',
    'xsaves',
    'rdpid',
    'sse4a',
    'sha-ni',
    'vaes',
    'vpclmulqdq',
  ];
  for (const feature of instructionFeatures)
    assert.equal(supportedFeatures.has(feature), withRows.has(feature), feature);
});
