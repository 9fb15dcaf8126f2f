/** Disks of a real guest: Debian's own virtio and ext4 drivers on images that the host's tools made and check. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaultGuest } from '../host/node/index.ts';
import { exec } from './exec.ts';
import { openDisk } from './open-disk.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const MIB = 1024 * 1024;
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

const missing = ['mkfs.ext4', 'e2fsck', 'debugfs'].find((name) => run(name, '-V').status === null);
const skip = missing
  ? `${missing} is not installed`
  : await defaultGuest().then(
      () => false as const,
      (error: Error) => error.message,
    );

function run(program: string, ...args: string[]) {
  return spawnSync(program, args, { env: { ...process.env, PATH }, encoding: 'latin1' });
}

async function folder(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function ext4Image(path: string): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(64 * MIB);
  assert.equal(run('mkfs.ext4', '-q', '-F', path).status, 0);
}

function fsck(path: string): void {
  const { status, stdout } = run('e2fsck', '-f', '-n', path);
  assert.equal(status, 0, stdout);
}

test('a file system made by the host, written by the guest, is clean after power-off', { skip }, async (context) => {
  const path = join(await folder(context), 'disk.img');
  await ext4Image(path);
  const script = `
    mount /dev/vda /mnt && mkdir -p /mnt/many && cd /mnt/many
    for i in 0 1 2 3 4 5 6 7 8 9; do head -c 300000 /dev/urandom > $i; done; rm 3 4; cat * > all; sha256sum all
    cat /sys/block/vda/serial; cd /; umount /mnt; blockdev --getro /dev/vda; blockdev --getsize64 /dev/vda`;
  const { exitCode, stdout } = await exec(script, { disks: [{ file: path, format: 'raw', serial: 'vireo 1' }] });
  const [sum, serialAndReadOnly, size] = Buffer.from(stdout).toString().trim().split('\n');
  assert.deepEqual([exitCode, serialAndReadOnly, size], [0, 'vireo 10', `${64 * MIB}`]);
  fsck(path);
  const copy = `${path}.all`;
  run('debugfs', '-R', `dump many/all ${copy}`, path);
  const found = createHash('sha256')
    .update(await readFile(copy))
    .digest('hex');
  assert.equal(sum, `${found}  all`);
});

test('a machine that is killed leaves a file system that its journal mends, with what was synced', {
  skip,
}, async (context) => {
  const path = join(await folder(context), 'disk.img');
  await ext4Image(path);
  const script = `mount /dev/vda /mnt; echo safe > /mnt/file; sync; echo synced
    while :; do head -c 100000 /dev/urandom > /mnt/$((n++ % 20)); done`;
  const child = spawn(process.execPath, [MAIN, 'run', '--disk', `${path},format=raw`, '--exec', script]);
  await once(child.stdout, 'data');
  await new Promise((resolve) => setTimeout(resolve, 500));
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.ok((run('e2fsck', '-p', path).status ?? 8) <= 1); // replays the journal
  fsck(path);
  assert.equal(run('debugfs', '-R', 'cat file', path).stdout, 'safe\n');
});

test('a read-only disk stays as it is, and a wrong file is named', { skip }, async (context) => {
  const path = join(await folder(context), 'disk.img');
  await ext4Image(path);
  const before = await readFile(path);
  const disks = [{ file: path, format: 'raw', readOnly: true }];
  const { stdout } = await exec('blockdev --getro /dev/vda; mount -o ro /dev/vda /mnt && ls /mnt; echo x > /dev/vda', {
    disks,
  });
  assert.equal(Buffer.from(stdout).toString(), '1\nlost+found\n');
  assert.deepEqual(await readFile(path), before);
  await assert.rejects(exec('true', { disks: [{ file: join(path, 'none') }] }), /none/);
});

test('disks on the SCSI host, a disc in a drive, and drivers taken off and put back', { skip }, async (context) => {
  const path = await folder(context);
  const [disk, disc] = [join(path, 'disk.img'), join(path, 'disc.iso')];
  await ext4Image(disk);
  const content = new Uint8Array(2048 * 300).map((_, i) => (i >> 11) * 7 + i);
  await writeFile(disc, content);
  const script = `
    mount /dev/sda /mnt && head -c 2000000 /dev/urandom > /mnt/file; sync; sum=$(sha256sum < /mnt/file); umount /mnt
    for name in virtio_scsi/sda virtio_blk/vda; do
      cd /sys/bus/virtio/drivers/\${name%/*}; device=$(ls -d virtio*); echo $device > unbind
      [ -e /dev/\${name#*/} ] || echo \${name#*/} is gone; echo $device > bind
    done
    while [ ! -e /dev/sda ]; do sleep 0.1; done
    mount /dev/sda /mnt && [ "$sum" = "$(sha256sum < /mnt/file)" ] && echo same; umount /mnt
    sha256sum < /dev/sr0; dd if=/dev/vda bs=1M count=1 2>/dev/null | wc -c`;
  const disks = [
    { file: disk, format: 'raw', bus: 'scsi' },
    { file: disc, format: 'raw', readOnly: true, media: 'cdrom' },
    { file: disk.replace('disk', 'other'), format: 'raw' },
  ] as const;
  await ext4Image(disks[2].file);
  const { stdout } = await exec(script, { disks });
  const sum = createHash('sha256').update(content).digest('hex');
  assert.equal(Buffer.from(stdout).toString(), `sda is gone\nvda is gone\nsame\n${sum}  -\n${MIB}\n`);
  fsck(disk);
});

test('an image whose format nobody stated may not lead to other files', async (context) => {
  const path = await folder(context);
  const [base, overlay] = [join(path, 'base.img'), join(path, 'overlay.qcow2')];
  await writeFile(base, new Uint8Array(MIB).fill(7));
  const made = run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', overlay);
  if (made.status !== 0) return context.skip('qemu-img is not installed');
  await assert.rejects(
    openDisk({ file: overlay }),
    /overlay.qcow2 stands on .*base.img: to allow that, say format=qcow2/,
  );
  const node = await openDisk({ file: overlay, format: 'qcow2' });
  const bytes = new Uint8Array(3);
  await node.read(MIB - 3, bytes);
  await node.close();
  assert.deepEqual(bytes, Uint8Array.of(7, 7, 7));
});
