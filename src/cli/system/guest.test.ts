/** The command lines of OpenStack Nova and of people boot a Debian guest. */
import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type DefaultGuest, defaultGuest } from '../../host/node/index.ts';
import { runImg } from '../img/program.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';

let guest: DefaultGuest | undefined;
const skip = await defaultGuest().then(
  (found) => {
    guest = found;
    return false as const;
  },
  (error: Error) => error.message,
);

/** A folder with the guest's kernel and RAM disk, and the options that boot them. */
async function bootFolder() {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'kernel'), guest!.kernel);
  await writeFile(join(folder, 'initrd'), guest!.initramfs);
  return { folder, boot: ['-kernel', 'kernel', '-initrd', 'initrd', '-append', guest!.commandLine] };
}

const NOVA = `-name instance-00000074 -S -machine pc -accel kvm -accel tcg -m 2048 -smp 2,sockets=2,cores=1,threads=1
  -uuid f8450270-9d96-4dba-b1c2-8ebcef1ff012 -no-user-config -nodefaults
  -chardev socket,id=charmonitor,path=monitor.sock,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control
  -rtc base=utc,driftfix=slew -no-shutdown
  -drive file=disk.qcow2,if=none,id=drive-virtio-disk0,format=qcow2,cache=none
  -device virtio-blk-pci,bus=pci.0,addr=0x4,drive=drive-virtio-disk0,id=virtio-disk0,bootindex=1
  -netdev user,id=hostnet0 -device virtio-net-pci,netdev=hostnet0,id=net0,mac=fa:16:3e:7b:8b:b6,bus=pci.0,addr=0x3
  -chardev file,id=charserial0,path=console.log -device isa-serial,chardev=charserial0,id=serial0
  -chardev pty,id=charserial1 -device isa-serial,chardev=charserial1,id=serial1
  -device virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x5`;

test('OpenStack Nova: driven through its monitor from the first instruction to the end', { skip }, async () => {
  const { folder, boot } = await bootFolder();
  const disk = join(folder, 'disk.qcow2');
  assert.equal(await runImg(['create', '-q', '-f', 'qcow2', disk, '64M']), 0);
  await using emulator = startEmulator([...NOVA.trim().split(/\s+/), ...boot], folder);
  using qmp = await connectQmp(join(folder, 'monitor.sock'));
  assert.equal((await qmp.call('query-status')).status, 'prelaunch');
  const chardevs: { label: string; filename: string }[] = await qmp.call('query-chardev');
  assert.match(chardevs.find(({ label }) => label === 'charserial1')!.filename, /^pty:\/dev\/pts\/\d+$/);
  await qmp.call('cont');
  await qmp.event('RESUME');
  const console = () => readFile(join(folder, 'console.log'), 'latin1');
  while (!(await console()).includes('~ # ')) await qmp.call('query-status');
  // The guest's drivers found the devices and read from the disk.
  const [stats] = await qmp.call('query-blockstats');
  assert.equal(stats.device, 'drive-virtio-disk0');
  const [block] = await qmp.call('query-block');
  assert.equal(block.inserted.image['virtual-size'], 64 * 1024 * 1024);
  assert.equal((await qmp.call('query-balloon')).actual, 2048 * 1024 * 1024);
  await qmp.call('stop');
  await qmp.event('STOP');
  assert.match(await qmp.call('human-monitor-command', { 'command-line': 'info registers' }), /RIP=/);
  await qmp.call('system_reset');
  await qmp.event('RESET');
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
  assert.match(emulator.errors(), /-accel kvm: failed to initialize kvm: .*\n.*warning: falling back to tcg\n/);
});

test('people: a terminal with the console and the monitor, until the guest powers off', { skip }, async () => {
  const { folder, boot } = await bootFolder();
  await writeFile(join(folder, 'disk0.raw'), '');
  await truncate(join(folder, 'disk0.raw'), 64 * 1024 * 1024);
  const line = `-m 1024 -smp 2 -drive file=disk0.raw,if=virtio,index=0,media=disk,format=raw
    -nic user,model=virtio,mac=52:54:00:05:11:11 -device virtio-balloon -nographic`;
  await using emulator = startEmulator([...line.trim().split(/\s+/), ...boot], folder);
  await emulator.until('~ # ');
  emulator.child.stdin!.write('\x01c');
  await emulator.until('(qemu) ');
  emulator.child.stdin!.write('info network\n');
  await emulator.until('macaddr=52:54:00:05:11:11');
  emulator.child.stdin!.write('\x01ccat /sys/class/net/*/address; echo disk > /dev/vda; sync; poweroff -f\n');
  assert.equal(await emulator.ended, 0);
  assert.match(emulator.output(), /52:54:00:05:11:11\r\n/);
  assert.equal((await readFile(join(folder, 'disk0.raw'))).subarray(0, 5).toString(), 'disk\n');
});
