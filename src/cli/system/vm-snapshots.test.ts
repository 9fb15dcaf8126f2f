/** savevm, loadvm and QMP's snapshot jobs on a guest that looks whether its memory is what it wrote. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertUnbroken, MEMORY_CHECKER } from '../../machine/testing/memory-checker.ts';
import { runImg } from '../img/program.ts';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';

const withoutQemu = spawnSync('qemu-img', ['--version']).status !== 0 && 'there is no qemu-img';

async function startSide(folder: string, name: string, ...more: string[]) {
  const line = `-m 16 -nodefaults -display none -accel tcg -kernel kernel
    -blockdev file,node-name=f0,filename=a.qcow2 -blockdev qcow2,node-name=a,file=f0 -device virtio-blk-pci,drive=a
    -blockdev file,node-name=f1,filename=b.qcow2 -blockdev qcow2,node-name=b,file=f1 -device virtio-blk-pci,drive=b
    -serial file:out-${name} -qmp unix:qmp-${name},server=on,wait=off`;
  const emulator = startEmulator([...line.trim().split(/\s+/), ...more], folder, false);
  const qmp = await connectQmp(join(folder, `qmp-${name}`));
  const letters = () => readFile(join(folder, `out-${name}`), 'latin1');
  return {
    emulator,
    qmp,
    letters,
    async more(count: number) {
      const wanted = (await letters()).length + count;
      while ((await letters()).length < wanted) await qmp.call('query-status');
    },
    hmp: (text: string): Promise<string> => qmp.call('human-monitor-command', { 'command-line': text }),
    async job(command: string, args: object) {
      await qmp.call(command, { 'job-id': 'job', ...args });
      for (;;) {
        const [job] = await qmp.call('query-jobs');
        if (job.status !== 'concluded') continue;
        await qmp.call('job-dismiss', { id: 'job' });
        return job.error as string | undefined;
      }
    },
    async [Symbol.asyncDispose]() {
      qmp[Symbol.dispose]();
      await emulator[Symbol.asyncDispose]();
    },
  };
}

/** How often a letter does not follow the one before it. */
function countJumps(letters: string): number {
  let jumps = 0;
  for (let i = 1; i < letters.length; i++)
    if (((letters.charCodeAt(i - 1) - 96) & 15) !== letters.charCodeAt(i) - 97) jumps++;
  return jumps;
}

test('a machine is saved, goes on, goes back, and begins again from there', async (t) => {
  const folder = await temporaryFolder();
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'kernel'), MEMORY_CHECKER);
  for (const name of ['a', 'b'])
    assert.equal(await runImg(['create', '-q', '-f', 'qcow2', join(folder, `${name}.qcow2`), '8M']), 0);
  {
    await using side = await startSide(folder, '1');
    await side.more(3);
    assert.equal(await side.hmp('info snapshots'), 'There is no snapshot available.\r\n');
    assert.equal(await side.hmp('savevm first'), '');
    assert.match(
      await side.hmp('info snapshots'),
      /^List of snapshots present on all disks:\r\nID +TAG[^\n]*\n-- +first +[\d.]+ MiB /,
    );
    assert.equal((await side.qmp.call('query-status')).status, 'running');
    await side.more(3);
    assert.equal(await side.hmp('loadvm first'), '');
    await side.more(3);
    assert.equal(await side.hmp('loadvm second'), "Error: Snapshot 'second' does not exist in one or more devices\r\n");
    const scope = { tag: 'second', vmstate: 'b', devices: ['a', 'b'] };
    await side.qmp.call('stop');
    assert.equal(await side.job('snapshot-save', scope), undefined);
    assert.equal(await side.job('snapshot-save', scope), "Snapshot 'second' already exists in one or more devices");
    assert.equal((await side.qmp.call('query-status')).status, 'paused');
    await side.qmp.call('cont');
    await side.more(3);
    await side.qmp.call('stop');
    assert.equal(await side.job('snapshot-load', scope), undefined);
    const jobs = side.qmp.messages.filter(
      ({ event, data }) => event === 'JOB_STATUS_CHANGE' && data.status === 'concluded',
    );
    assert.equal(jobs.length, 3);
    await side.qmp.call('cont');
    await side.more(3);
    // It went back twice, and at no other time was a letter out of turn; where its memory was not its own there is an X.
    const letters = await side.letters();
    assert.ok(countJumps(letters) <= 2, letters);
    assert.doesNotMatch(await side.letters(), /X/);
    await side.qmp.call('quit');
    assert.equal(await side.emulator.ended, 0);
  }
  for (const name of ['a', 'b']) assert.equal(await runImg(['check', '-q', join(folder, `${name}.qcow2`)]), 0);
  {
    await using side = await startSide(folder, '2', '-loadvm', 'first');
    await side.more(3);
    assertUnbroken(await side.letters());
    assert.equal(await side.hmp('savevm first'), '');
    assert.equal(await side.hmp('delvm second'), '');
    assert.equal(await side.job('snapshot-delete', { tag: 'first', devices: ['a', 'b'] }), undefined);
    assert.equal(await side.hmp('info snapshots'), 'There is no snapshot available.\r\n');
    await side.more(3);
    assert.equal(await side.hmp('savevm third'), '');
  }
  for (const name of ['a', 'b']) assert.equal(await runImg(['check', '-q', join(folder, `${name}.qcow2`)]), 0);
  const line =
    '-m 16 -nodefaults -display none -accel tcg -kernel kernel -drive file=a.qcow2,if=virtio -loadvm nothing';
  await using other = startEmulator(line.split(' '), folder, false);
  assert.equal(await other.ended, 1);
  assert.match(other.errors(), /Snapshot 'nothing' does not exist/);
});

test('qemu-img sees the snapshots and finds no fault', { skip: withoutQemu }, async (t) => {
  const folder = await temporaryFolder();
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'kernel'), MEMORY_CHECKER);
  for (const name of ['a', 'b']) spawnSync('qemu-img', ['create', '-f', 'qcow2', join(folder, `${name}.qcow2`), '8M']);
  {
    await using side = await startSide(folder, '1');
    await side.more(2);
    for (const name of ['one', 'two']) assert.equal(await side.hmp(`savevm ${name}`), '');
    await side.qmp.call('quit');
    await side.emulator.ended;
  }
  const run = (...args: string[]) => spawnSync('qemu-img', args, { cwd: folder, encoding: 'latin1' });
  assert.match(run('snapshot', '-l', 'a.qcow2').stdout, /1 +one +[\d.]+ MiB(.|\n)*2 +two +[\d.]+ MiB/);
  assert.match(run('snapshot', '-l', 'b.qcow2').stdout, /1 +one +0 B/);
  for (const name of ['a', 'b']) assert.equal(run('check', `${name}.qcow2`).status, 0);
  assert.equal(run('snapshot', '-d', 'one', 'a.qcow2').status, 0);
  assert.equal(run('check', 'a.qcow2').status, 0);
});
