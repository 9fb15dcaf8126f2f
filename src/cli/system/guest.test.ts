/** The command lines of OpenStack Nova and of people boot a Debian guest. */
import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runImg } from '../img/program.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';
import { guestOrReason } from './testing/guest.ts';

const { guest, skip } = await guestOrReason();

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

/** libvirt's command line of a q35 guest, without its VNC server, and with a path where its monitor's socket is inherited. */
const LIBVIRT = [
  ...['-name', 'guest=demo,debug-threads=on', '-S', '-object', '{"qom-type":"secret","id":"s0","data":"x"}'],
  ...['-machine', 'pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram', '-accel', 'tcg', '-cpu', 'max'],
  ...['-m', '256', '-object', '{"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}'],
  ...['-overcommit', 'mem-lock=off', '-smp', '1,sockets=1,cores=1,threads=1', '-no-user-config', '-nodefaults'],
  ...[
    '-uuid',
    '5e5c2b3a-0f7e-4f0e-9a36-6c7b7c2f4c11',
    '-chardev',
    'socket,id=charmonitor,path=monitor.sock,server=on,wait=off',
  ],
  ...['-mon', 'chardev=charmonitor,id=monitor,mode=control', '-rtc', 'base=utc', '-no-shutdown', '-boot', 'strict=on'],
  ...[
    '-device',
    '{"driver":"pcie-root-port","port":8,"chassis":1,"id":"pci.1","bus":"pcie.0","multifunction":true,"addr":"0x1"}',
  ],
  ...['-device', '{"driver":"pcie-root-port","port":9,"chassis":2,"id":"pci.2","bus":"pcie.0","addr":"0x1.0x1"}'],
  ...['-device', '{"driver":"pcie-root-port","port":10,"chassis":3,"id":"pci.3","bus":"pcie.0","addr":"0x1.0x2"}'],
  ...['-device', '{"driver":"virtio-serial-pci","id":"virtio-serial0","bus":"pci.3","addr":"0x0"}'],
  ...[
    '-blockdev',
    '{"driver":"file","filename":"disk.qcow2","node-name":"l1s","auto-read-only":true,"discard":"unmap"}',
  ],
  ...['-blockdev', '{"node-name":"l1f","read-only":false,"driver":"qcow2","file":"l1s","backing":null}'],
  ...[
    '-device',
    '{"driver":"virtio-blk-pci","bus":"pci.1","addr":"0x0","drive":"l1f","id":"virtio-disk0","bootindex":1}',
  ],
  ...['-netdev', '{"type":"user","id":"hostnet0"}'],
  ...[
    '-device',
    '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0","mac":"52:54:00:6b:3c:58","bus":"pci.2","addr":"0x0"}',
  ],
  ...[
    '-chardev',
    'file,id=charserial0,path=console.log',
    '-device',
    '{"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0}',
  ],
  ...[
    '-audiodev',
    '{"id":"audio1","driver":"none"}',
    '-sandbox',
    'on,obsolete=deny,spawn=deny',
    '-msg',
    'timestamp=on',
  ],
];

test('libvirt: a q35 guest of root ports, block nodes and JSON', { skip }, async () => {
  const { folder, boot } = await bootFolder();
  assert.equal(await runImg(['create', '-q', '-f', 'qcow2', join(folder, 'disk.qcow2'), '64M']), 0);
  await using emulator = startEmulator([...LIBVIRT, ...boot], folder);
  using qmp = await connectQmp(join(folder, 'monitor.sock'));
  await qmp.call('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
  const [block] = await qmp.call('query-block');
  assert.equal(block.qdev, '/machine/peripheral/virtio-disk0/virtio-backend');
  assert.equal((await qmp.call('query-named-block-nodes', { flat: true })).length, 2);
  await qmp.call('cont');
  const console = () => readFile(join(folder, 'console.log'), 'latin1');
  while (!(await console()).includes('~ # ')) await qmp.call('query-status');
  const [stats] = await qmp.call('query-blockstats');
  assert.equal(stats['node-name'], 'l1f');
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
});
