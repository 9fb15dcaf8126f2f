/** What vCPUs say they are, from a made-up host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidOf } from './cpuid.ts';
import type { CpuidEntry } from './structures.ts';

const entry = (leaf: number, registers: Partial<CpuidEntry> = {}, index = 0): CpuidEntry => ({
  function: leaf,
  index,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...registers,
});
const ALL = 0xffff_ffff;
const HOST = [
  entry(0, { eax: 0x16, ebx: 1, ecx: 2, edx: 3 }),
  entry(1, { eax: 0x806ea, ebx: 0x0510_0800, ecx: ALL & ~(1 << 24) & ~(1 << 31), edx: ALL }),
  entry(7, { ebx: ALL, ecx: ALL, edx: ALL }),
  entry(0xb, { eax: 1, ebx: 8 }),
  entry(0x8000_0001, { ecx: ALL, edx: ALL }),
];
const TSC_DEADLINE = 72;

function of(cpuModel: string, { cpus = 1, index = 0, kernelApic = true, has = [TSC_DEADLINE] } = {}) {
  const capability = (number: number) => (has.includes(number) ? 1 : 0);
  const entries = cpuidOf({ supported: HOST, cpuModel, cpus, index, kernelApic, capability });
  return (leaf: number, subleaf = 0) => entries.find((one) => one.function === leaf && one.index === subleaf);
}
const bit = (value: number | undefined, at: number) => ((value ?? 0) >>> at) & 1;
const [X2APIC, DEADLINE, HYPERVISOR, AVX2, AVX512F] = [21, 24, 31, 5, 16];

test('max and host: all that the host has, in a virtual machine', () => {
  for (const model of ['max', 'host']) {
    const leaf = of(model);
    assert.equal(bit(leaf(1)?.ecx, HYPERVISOR), 1);
    assert.equal(bit(leaf(1)?.ecx, DEADLINE), 1);
    assert.equal(leaf(7)?.ebx, ALL);
  }
  assert.equal(bit(of('max', { has: [] })(1)?.ecx, DEADLINE), 0);
});

test('a feature that is switched off, and a model that has fewer', () => {
  assert.equal(bit(of('max,-avx2')(7)?.ebx, AVX2), 0);
  assert.equal(bit(of('max,-avx2')(7)?.ebx, AVX512F), 1);
  const haswell = of('Haswell');
  assert.deepEqual([bit(haswell(7)?.ebx, AVX2), bit(haswell(7)?.ebx, AVX512F)], [1, 0]);
  assert.equal(haswell(0)?.ebx, 1); // the vendor is the host's
  assert.notEqual(haswell(1)?.eax, 0x806ea);
});

test('places: CPU 2 of 4', () => {
  const leaf = of('max', { cpus: 4, index: 2 });
  assert.equal((leaf(1)?.ebx ?? 0) >>> 24, 2);
  assert.equal(((leaf(1)?.ebx ?? 0) >>> 16) & 0xff, 4);
  assert.deepEqual([leaf(0xb, 0)?.edx, leaf(0xb, 1)?.eax, leaf(0xb, 1)?.ebx], [2, 2, 4]);
});

test('a local APIC that is not the kernel’s has neither x2APIC mode nor the deadline timer', () => {
  const leaf = of('max', { kernelApic: false });
  assert.deepEqual([bit(leaf(1)?.ecx, X2APIC), bit(leaf(1)?.ecx, DEADLINE)], [0, 0]);
});

test('an unknown model', () => {
  assert.throws(() => of('qemu65'), { name: 'UserError', message: /qemu65.*qemu64/ });
});
