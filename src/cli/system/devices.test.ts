/** The small devices and tables, as a Debian guest sees them. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { bzImage } from '../../hw/testing/kernels.ts';
import { runImg } from '../img/program.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';
import { guestOrReason } from './testing/guest.ts';

const { guest, skip } = await guestOrReason();

async function boot(words: readonly string[]) {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'kernel'), guest!.kernel);
  await writeFile(join(folder, 'initrd'), guest!.initramfs);
  const emulator = startEmulator(
    [
      ...['-nodefaults', '-m', '128', '-accel', 'tcg', '-display', 'none', '-serial', 'stdio'],
      ...['-kernel', 'kernel', '-initrd', 'initrd', '-append', guest!.commandLine],
      ...['-qmp', 'unix:qmp,server=on,wait=off', ...words],
    ],
    folder,
  );
  const qmp = await connectQmp(join(folder, 'qmp'));
  await emulator.until('~ # ');
  return { folder, emulator, qmp, type: (line: string) => emulator.child.stdin!.write(`${line}\n`) };
}

test('SMBIOS tables, and small devices on PCI and in ACPI', { skip }, async () => {
  const { emulator, qmp, type } = await boot([
    ...['-machine', 'pc', '-smbios', 'type=1,product=OpenStack Nova,serial=abc'],
    ...['-device', 'pvpanic-pci', '-device', 'i6300esb,addr=0x7', '-device', 'edu,addr=0x9', '-device', 'pvpanic'],
    ...['-fw_cfg', 'name=opt/test,string=hello', '-device', 'vmcoreinfo'],
  ]);
  await using _emulator = emulator;
  using _qmp = qmp;
  type('for f in sys_vendor product_name; do cat /sys/class/dmi/id/$f; done; cat /sys/bus/pci/devices/*/device');
  await emulator.until('OpenStack Nova');
  for (const device of ['0x0011', '0x25ab', '0x11e8']) await emulator.until(device);
  type('for d in /sys/bus/acpi/devices/*; do cat $d/hid; done 2> /dev/null | grep QEMU000; echo the list is o\\ver');
  await emulator.until('the list is over');
  assert.match(emulator.output(), /QEMU0001/);
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
});

/** Writes what the processor says to the panic device, then stands still. */
const PANICS = Uint8Array.of(0x66, 0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd); // mov dx, 505h; mov al, 1; out; hlt

test('a panic that the guest reports: paused, and with exit status 1', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'kernel'), bzImage(PANICS));
  const line = ['-nodefaults', '-S', '-m', '64', '-kernel', 'kernel', '-display', 'none', '-device', 'pvpanic'];
  await using emulator = startEmulator(
    [...line, '-action', 'panic=pause', '-qmp', 'unix:qmp,server=on,wait=off'],
    folder,
  );
  using qmp = await connectQmp(join(folder, 'qmp'));
  await qmp.call('cont');
  assert.deepEqual((await qmp.event('GUEST_PANICKED')).data, { action: 'pause' });
  await qmp.event('STOP');
  assert.equal((await qmp.call('query-status')).status, 'guest-panicked');
  await assert.rejects(qmp.call('cont'), /Resetting the Virtual Machine is required/);
  await qmp.call('set-action', { panic: 'exit-failure' });
  await qmp.call('system_reset');
  await qmp.call('cont');
  assert.equal((await qmp.event('SHUTDOWN')).data.reason, 'guest-panic');
  assert.equal(await emulator.ended, 1);
});

/** A disk and a card from the start, so that the guest has their drivers. */
const COLD = ['-blockdev', 'null-co,node-name=null0,size=1M', '-device', 'virtio-blk-pci,drive=null0', '-nic', 'user'];

async function plugDisk({ folder, qmp, emulator, type }: Awaited<ReturnType<typeof boot>>, bus: object): Promise<void> {
  const disk = join(folder, 'hot.qcow2');
  assert.equal(await runImg(['create', '-q', '-f', 'qcow2', disk, '8M']), 0);
  const file = { driver: 'file', filename: disk };
  await qmp.call('blockdev-add', { driver: 'qcow2', 'node-name': 'hot', file });
  await qmp.call('device_add', { driver: 'virtio-blk-pci', id: 'vd9', drive: 'hot', ...bus });
  await assert.rejects(qmp.call('blockdev-del', { 'node-name': 'hot' }), /busy/);
  type('while [ ! -b /dev/vdb ]; do sleep 0.1; done; echo plugged > /dev/vdb; sync; echo the disk is th\\ere');
  await emulator.until('the disk is there');
  const disks: { qdev: string; inserted: { 'node-name': string } }[] = await qmp.call('query-block');
  assert.equal(disks.find(({ qdev }) => qdev.includes('vd9'))?.inserted['node-name'], 'hot');
  await qmp.call('device_del', { id: 'vd9' });
  const { data } = await qmp.event('DEVICE_DELETED');
  assert.deepEqual(data, { device: 'vd9', path: '/machine/peripheral/vd9' });
  type('while [ -b /dev/vdb ]; do sleep 0.1; done; echo the disk is g\\one');
  await emulator.until('the disk is gone');
  await qmp.call('blockdev-del', { 'node-name': 'hot' });
}

test('pc: a disk and a network card come and go while the guest runs, by ACPI', { skip }, async () => {
  const machine = await boot(['-machine', 'pc', ...COLD]);
  const { emulator, qmp, type } = machine;
  await using _emulator = emulator;
  using _qmp = qmp;
  await plugDisk(machine, {});
  await qmp.call('netdev_add', { type: 'user', id: 'n9' });
  await qmp.call('device_add', { driver: 'virtio-net-pci', id: 'nic9', netdev: 'n9', mac: '52:54:00:00:00:09' });
  type('while ! grep -q 00:09 /sys/class/net/*/address; do sleep 0.1; done; echo the card is th\\ere');
  await emulator.until('the card is there');
  await assert.rejects(qmp.call('netdev_del', { id: 'n9' }), /in use/);
  await qmp.call('device_del', { id: 'nic9' });
  await qmp.until(({ event, data }) => event === 'DEVICE_DELETED' && data.device === 'nic9');
  await qmp.call('netdev_del', { id: 'n9' });
  await assert.rejects(qmp.call('device_del', { id: 'nic9' }), /DeviceNotFound/);
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
});

test('q35: a disk comes and goes in a root port', { skip }, async () => {
  const machine = await boot(['-machine', 'q35', '-device', 'pcie-root-port,id=rp0', ...COLD]);
  const { emulator, qmp } = machine;
  await using _emulator = emulator;
  using _qmp = qmp;
  const onRoot = qmp.call('device_add', { driver: 'virtio-rng-pci', id: 'rng9' });
  await assert.rejects(onRoot, /Bus 'pcie.0' does not support hotplugging/);
  await plugDisk(machine, { bus: 'rp0' });
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
});
