/** Disks of a running Debian guest, changed through QMP while it writes to them. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runImg } from '../img/program.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';
import { guestOrReason } from './testing/guest.ts';

const { guest, skip } = await guestOrReason();

/** Writes a number into every MiB of the disk, again and again; `stop` ends it with what is there to be checked. */
const WRITER = `n=0; while [ ! -e /stop ]; do n=$((n+1)); for i in 0 1 2 3 4 5 6 7; do
  echo round $n place $i | dd of=/dev/vda bs=1M seek=$i conv=notrunc 2> /dev/null; done; done; sync`;

test('snapshots, mirror, commit, backup, resize and an export while the guest writes', { skip }, async () => {
  const folder = await temporaryFolder();
  const disk = join(folder, 'disk.qcow2');
  assert.equal(await runImg(['create', '-q', '-f', 'qcow2', disk, '16M']), 0);
  await writeFile(join(folder, 'kernel'), guest!.kernel);
  await writeFile(join(folder, 'initrd'), guest!.initramfs);
  await using emulator = startEmulator(
    [
      ...['-nodefaults', '-m', '128', '-accel', 'tcg', '-display', 'none', '-serial', 'stdio'],
      ...['-kernel', 'kernel', '-initrd', 'initrd', '-append', guest!.commandLine],
      ...['-blockdev', 'file,node-name=f0,filename=disk.qcow2', '-blockdev', 'qcow2,node-name=d0,file=f0'],
      ...['-device', 'virtio-blk-pci,drive=d0,id=vd0', '-qmp', 'unix:qmp,server=on,wait=off'],
    ],
    folder,
  );
  using qmp = await connectQmp(join(folder, 'qmp'));
  await emulator.until('~ # ');
  const type = (line: string) => emulator.child.stdin!.write(`${line}\n`);
  type(`(${WRITER.replaceAll('\n', ' ')}; echo the writer is d\\one) &`);
  const over = async (id: string) => {
    const { data } = await qmp.until(
      ({ event, data }) => /^BLOCK_JOB_(COMPLETED|CANCELLED)$/.test(event) && data.device === id,
    );
    assert.equal(data.error, undefined);
  };
  const ready = (id: string) => qmp.until(({ event, data }) => event === 'BLOCK_JOB_READY' && data.device === id);

  const snapshot = { 'node-name': 'd0', 'snapshot-file': join(folder, 'over.qcow2'), 'snapshot-node-name': 'over' };
  await qmp.call('blockdev-snapshot-sync', snapshot);
  const backup = {
    'job-id': 'backup',
    device: 'over',
    target: join(folder, 'backup.raw'),
    sync: 'full',
    format: 'raw',
  };
  await qmp.call('drive-backup', backup);
  await over('backup');
  await qmp.call('block-commit', { 'job-id': 'commit', device: 'over' });
  await ready('commit');
  await qmp.call('block-job-complete', { device: 'commit' });
  await over('commit');
  const mirror = {
    'job-id': 'mirror',
    device: 'd0',
    target: join(folder, 'copy.qcow2'),
    sync: 'full',
    format: 'qcow2',
  };
  await qmp.call('drive-mirror', { ...mirror, 'node-name': 'copy' });
  await ready('mirror');
  await qmp.call('block-job-complete', { device: 'mirror' });
  await over('mirror');
  await qmp.call('blockdev-del', { 'node-name': 'd0' });
  await qmp.call('blockdev-del', { 'node-name': 'f0' });
  await qmp.call('block_resize', { 'node-name': 'copy', size: 32 * 2 ** 20 });
  type('touch /stop');
  await emulator.until('the writer is done');
  type('while [ $(cat /sys/block/vda/size) != 65536 ]; do sleep 0.1; done; echo the size is n\\ew');
  await emulator.until('the size is new');
  // What the guest wrote last is what a client of an export reads, and what is in the copy.
  const address = { type: 'unix', data: { path: join(folder, 'nbd') } };
  await qmp.call('nbd-server-start', { addr: address });
  await qmp.call('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'copy', name: 'disk' });
  const uri = `nbd+unix:///disk?socket=${join(folder, 'nbd')}`;
  assert.equal(await runImg(['convert', '-f', 'raw', '-O', 'raw', uri, join(folder, 'export.raw')]), 0);
  await qmp.call('nbd-server-stop');
  await qmp.call('quit');
  assert.equal(await emulator.ended, 0);
  assert.equal(
    await runImg(['compare', '-f', 'raw', '-F', 'qcow2', join(folder, 'export.raw'), join(folder, 'copy.qcow2')]),
    0,
  );
  assert.equal(await runImg(['check', '-q', join(folder, 'copy.qcow2')]), 0);
  assert.equal(await runImg(['check', '-q', disk]), 0);
});
