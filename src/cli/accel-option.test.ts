import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accelOptions } from './accel-option.ts';

test('a list of accelerators, as several options or with colons', () => {
  assert.deepEqual(accelOptions({ accel: ['kvm', 'tcg'] }).accel, ['kvm', 'tcg']);
  assert.deepEqual(accelOptions({ accel: ['kvm:tcg'] }).accel, ['kvm', 'tcg']);
  assert.equal(accelOptions({}).accel, undefined);
});

test('what the memory is made of', () => {
  const { ram, cpus } = accelOptions({ smp: '4', 'mem-path': 'hugepages', 'mem-merge': 'on', 'mem-lock': true });
  assert.equal(cpus, 4);
  assert.deepEqual([ram?.backing, ram?.merge, ram?.lock, ram?.preallocate], ['hugepages', true, true, undefined]);
});

for (const [values, message] of [
  [{ accel: ['xen'] }, /^--accel xen is not one of kvm, tcg, auto/],
  [{ smp: '0' }, /^--smp 0: a machine has from 1 to 255 CPUs$/],
  [{ smp: '2x' }, /^--smp 2x/],
  [{ 'mem-path': 'disk' }, /^--mem-path disk is not one of memfd, hugepages/],
  [{ 'kernel-irqchip': 'half' }, /^--kernel-irqchip half is not one of on, split, off/],
] as const) {
  test(`refused: ${JSON.stringify(values)}`, () => {
    assert.throws(() => accelOptions(values), { name: 'UsageError', message });
  });
}
