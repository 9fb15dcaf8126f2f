/** Which accelerator is had on which host, and what is said: hosts that there are not here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAP, ERRNO } from '../accel/index.ts';
import { type FakeKvm, fakeKvmHost } from '../accel/testing/fake-kvm-host.ts';
import { UserError } from '../base/index.ts';
import type { AcceleratorChoice } from '../machine/index.ts';
import { chooseAccelerator, whyNotKvm } from './create-accelerator.ts';

const MIB = 1024 * 1024;
const HOSTS: readonly (readonly [name: string, host: FakeKvm, complaint: RegExp])[] = [
  [
    'no permission',
    { open: -ERRNO.EACCES },
    /no permission for \/dev\/kvm: join the group kvm with sudo usermod -aG kvm/,
  ],
  [
    'no /dev/kvm',
    { open: -ERRNO.ENOENT },
    /there is no \/dev\/kvm: load its module with modprobe kvm_intel or kvm_amd/,
  ],
  ['no module', { open: -ERRNO.ENODEV }, /no module behind it: load it with modprobe/],
  ['another hypervisor', { createVm: -ERRNO.EBUSY }, /in use by another hypervisor \(VirtualBox, VMware\)/],
  ['no permission by a policy', { open: -ERRNO.EPERM }, /no permission for \/dev\/kvm: .*log in again/],
  ['a device without its driver', { open: -ERRNO.ENXIO }, /no module behind it: load it with modprobe/],
  ['a hypervisor that keeps /dev/kvm', { open: -ERRNO.EBUSY }, /\/dev\/kvm is in use by another hypervisor: end its/],
  ['too many open files', { open: -ERRNO.EMFILE }, /too many open files: raise ulimit -n/],
  ['another error', { open: -ERRNO.EFAULT }, /\/dev\/kvm does not open \(EFAULT\)/],
  ['no memory for a VM', { createVm: -ERRNO.ENOMEM }, /cannot make a VM: the host has not enough memory/],
  ['too many open files for a VM', { createVm: -ERRNO.EMFILE }, /cannot make a VM: .*raise ulimit -n/],
  ['a VM that is refused', { createVm: -ERRNO.EINVAL }, /cannot make a VM: EINVAL/],
  ['too old a kernel', { without: [CAP.IMMEDIATE_EXIT] }, /kernel is too old: it has no KVM_CAP_IMMEDIATE_EXIT/],
  ['another interface', { apiVersion: 11 }, /speaks version 11 of its interface, not 12/],
];

const choose = (accel: readonly AcceleratorChoice[], host: FakeKvm) =>
  chooseAccelerator({ cpuModel: 'max', ramRanges: [{ base: 0, size: MIB }], accel }, () => fakeKvmHost(host));

for (const [name, host, complaint] of HOSTS) {
  test(`${name}: kvm says what mends it, auto and a list take the software CPU and say why`, async () => {
    await assert.rejects(choose(['kvm'], host), (error) => error instanceof UserError && complaint.test(error.message));
    for (const accel of [['auto'], ['kvm', 'tcg']] as const) {
      const accelerator = await choose(accel, host);
      assert.equal(accelerator.name, 'tcg');
      assert.match(accelerator.note ?? '', complaint);
      assert.match(accelerator.note ?? '', /^the software CPU \(tcg\) runs this guest \(/);
    }
  });
}

test('a PVM host: auto takes the software CPU and says why', async () => {
  const { name, note } = await choose(['auto'], { isPvm: true });
  assert.equal(name, 'tcg');
  assert.match(
    note ?? '',
    /KVM without hardware virtualization \(PVM\), which runs small guests and no unmodified kernel/,
  );
  assert.equal(await whyNotKvm('kvm', () => fakeKvmHost({ isPvm: true })), undefined);
});

test('a Node that cannot call KVM, and an order in which the software CPU comes first', async () => {
  const none = () => {
    throw new UserError('KVM needs Linux and a Node with node:ffi');
  };
  const options = { cpuModel: 'max', ramRanges: [{ base: 0, size: MIB }] };
  assert.match((await chooseAccelerator(options, none)).note ?? '', /KVM needs Linux/);
  const first = await chooseAccelerator({ ...options, accel: ['tcg', 'kvm'] }, none);
  assert.deepEqual([first.name, first.note], ['tcg', undefined]);
  await assert.rejects(chooseAccelerator({ ...options, accel: ['kvm'] }, none), { message: /KVM needs Linux/ });
});
