/** Disks under fio, which verifies what it wrote. */
import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { exec } from '../../src/cli/exec.ts';
import { ENTER_TOOLS } from './debian.ts';
import { skip, toolsShare } from './tools.ts';

const DISK_BYTES = 64 * 2 ** 20;
const JOB = '--direct=1 --ioengine=libaio --size=12M --verify=crc32c --verify_fatal=1 --eta=never';
const DISKS = [
  ['vda', 'virtio'],
  ['sda', 'scsi'],
] as const;

test('fio writes at random and reads everything back, on both buses', { skip }, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const disks = await Promise.all(
    DISKS.map(async ([name, bus]) => {
      const file = join(folder, name);
      await using image = await open(file, 'w');
      await image.truncate(DISK_BYTES);
      return { file, format: 'raw', bus } as const;
    }),
  );
  const jobs = DISKS.map(
    ([name]) => `
      job="--filename=/dev/${name} ${JOB}"
      fio --name=random $job --rw=randwrite --bsrange=4k-128k --iodepth=32 --output=/tmp/1 && echo random ${name}
      fio --name=mixed $job --rw=randrw --bs=4k --iodepth=8 --offset=24M --io_size=2M --output=/tmp/2 && echo mixed ${name}
      grep -h "err=" /tmp/1 /tmp/2 | grep -v "err= 0"`,
  );
  const script = `${ENTER_TOOLS}\n chroot /t bash -c 'cd /tmp; ${jobs.join('')}'`;
  const { stdout, stderr } = await exec(script, { shares: [toolsShare], disks });
  const expected = DISKS.map(([name]) => `random ${name}\nmixed ${name}\n`).join('');
  assert.equal(Buffer.from(stdout).toString(), expected, Buffer.from(stderr).toString());
});
