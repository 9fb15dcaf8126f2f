/** Jobs while a guest writes, stopped at any moment, with targets that fail, and killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BlockNode } from '../../contract/index.ts';
import { blockNodeSuite, compare, exercise } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { openFileNode } from '../../host/node/index.ts';
import { faultFilter } from '../filters/index.ts';
import type { ImageNode } from '../format.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, qcow2 } from '../qcow2/index.ts';
import { fakeClock } from '../testing/fake-clock.ts';
import { backupJob, commitJob, type LiveNode, liveNode, mirrorJob, streamJob } from './index.ts';

const SIZE = 700_000;

blockNodeSuite('a live disk', { create: async (size) => liveNode(memoryNode(size)) });

/** A qcow2 over another, and what they read as. */
async function chain(seed: number) {
  const random = randomFrom(seed);
  const model = new Uint8Array(SIZE);
  const put = async (node: BlockNode, count: number) => {
    for (let i = 0; i < count; i += 1) {
      const bytes = random.bytes(1 + random.next(30_000));
      const offset = random.next(SIZE - bytes.length);
      await node.write(offset, bytes);
      model.set(bytes, offset);
    }
  };
  const [baseFile, topFile] = [memoryNode(0), memoryNode(0)];
  await createQcow2(baseFile, { sizeBytes: SIZE, clusterBytes: 4096 });
  await createQcow2(topFile, { sizeBytes: SIZE, clusterBytes: 4096, backing: { filename: 'base', format: 'qcow2' } });
  const base = await qcow2.open(baseFile, { name: 'base' });
  await put(base, 12);
  const top = await qcow2.open(topFile, { name: 'top', resolveBacking: async () => base });
  await put(top, 8);
  return { base, top, baseFile, topFile, model };
}

/** A guest that writes until it is told to stop, and lets others run between its requests. */
function guest(live: BlockNode, model: Uint8Array, seed: number) {
  let isOver = false;
  const run = async () => {
    for (let round = 0; !isOver; round += 1) {
      await exercise(live, model, seed * 1000 + round, 5);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const running = run();
  return {
    async stop() {
      isOver = true;
      await running;
    },
  };
}

/** Lets the event loop go round so many times. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function assertSame(node: BlockNode, model: Uint8Array): Promise<void> {
  await compare(node, model);
}

test('mirror: the target is the disk at the moment of completion, and the guest goes on with it', async () => {
  for (let seed = 1; seed <= 4; seed += 1) {
    const { top, model } = await chain(seed);
    const live = liveNode(top, 4096);
    const target = memoryNode(SIZE);
    await target.write(0, new Uint8Array(SIZE).fill(0xee));
    const job = mirrorJob(live, { target });
    const writer = guest(live, model, seed);
    await job.ready;
    assert.equal(job.state, 'ready');
    await turns(seed * 5);
    job.complete();
    assert.equal(await job.done, 'completed');
    assert.equal(live.current, target);
    await turns(5);
    await writer.stop();
    await assertSame(live, model);
    await assertSame(target, model);
  }
});

test('mirror of the top image alone, over a copy of the base', async () => {
  const { base, top, model } = await chain(9);
  const target = memoryNode(SIZE);
  const bytes = new Uint8Array(SIZE);
  await base.read(0, bytes);
  await target.write(0, bytes);
  const live = liveNode(top, 4096);
  const job = mirrorJob(live, { target, sync: 'top', stay: () => 'source' });
  const writer = guest(live, model, 9);
  await job.ready;
  await writer.stop();
  job.complete();
  await job.done;
  assert.equal(live.current, top);
  await assertSame(target, model);
});

test('commit: the base becomes the disk', async () => {
  for (let seed = 1; seed <= 3; seed += 1) {
    const { top, base, model } = await chain(20 + seed);
    const live = liveNode(top, 4096);
    const job = commitJob(live, { base });
    const writer = guest(live, model, 20 + seed);
    await job.ready;
    job.complete();
    assert.equal(await job.done, 'completed');
    await writer.stop();
    await assertSame(base, model);
    assert.equal(live.current, base);
  }
});

test('stream: the top image stands alone', async () => {
  for (let seed = 1; seed <= 3; seed += 1) {
    const { top, topFile, model } = await chain(30 + seed);
    const live = liveNode(top, 4096);
    const job = streamJob(live);
    const writer = guest(live, model, 30 + seed);
    assert.equal(await job.done, 'completed');
    await writer.stop();
    await assertSame(live, model);
    await live.flush();
    const alone = await qcow2.open(topFile, { name: 'alone' });
    assert.equal(alone.info.backing, undefined);
    await assertSame(alone, model);
    assert.equal((await alone.check!('none')).corruptions, 0);
  }
});

test('stream of the images between: the top stands on the lowest', async () => {
  const { base, top, model } = await chain(40);
  const file = memoryNode(0);
  await createQcow2(file, { sizeBytes: SIZE, clusterBytes: 4096, backing: { filename: 'top', format: 'qcow2' } });
  const highest = await qcow2.open(file, { name: 'highest', resolveBacking: async () => top });
  const live = liveNode(highest, 4096);
  await exercise(live, model, 41, 20);
  await streamJob(live, { base: { depth: 2, reference: { filename: 'base', format: 'qcow2' } } }).done;
  await live.flush();
  const found = await qcow2.open(file, { name: 'highest', resolveBacking: async () => base });
  assert.deepEqual(found.info.backing, { filename: 'base', format: 'qcow2' });
  await assertSame(found, model);
});

test('backup: the target is the disk at the moment of the start', async () => {
  for (let seed = 1; seed <= 4; seed += 1) {
    const { top, model } = await chain(50 + seed);
    const live = liveNode(top, 4096);
    const target = memoryNode(SIZE);
    // Drained, so that the moment of the start is known.
    const before = model.slice();
    const job = backupJob(live, { target });
    await turns(1);
    const writer = guest(live, model, 50 + seed);
    assert.equal(await job.done, 'completed');
    await writer.stop();
    await assertSame(target, before);
    await assertSame(live, model);
  }
});

async function withBitmap(seed: number) {
  const { top, model } = await chain(seed);
  const live = liveNode(top, 4096);
  await top.bitmaps!.add({ name: 'b', granularityBytes: 4096 });
  const target = memoryNode(SIZE);
  await backupJob(live, { target }).done;
  await exercise(live, model, seed, 20);
  return { live, top, target, model };
}

test('incremental backup: what the bitmap names, and the bitmap begins anew', async () => {
  const { live, top, target, model } = await withBitmap(61);
  for (let round = 0; round < 3; round += 1) {
    const before = model.slice();
    const job = backupJob(live, { target, sync: 'incremental', bitmap: { bitmaps: top.bitmaps!, name: 'b' } });
    await turns(1);
    const writer = guest(live, model, 62 + round);
    await job.done;
    await writer.stop();
    assert.ok(job.progress.totalBytes <= SIZE + 4096);
    await assertSame(target, before);
  }
});

test('a cancelled incremental backup gives the bitmap its bits back', async () => {
  const { live, top, target, model } = await withBitmap(71);
  const bitmap = { bitmaps: top.bitmaps!, name: 'b' };
  const before = await top.bitmaps!.dirtyRanges('b');
  const job = backupJob(live, { target, sync: 'incremental', bitmap });
  job.pause();
  await job.cancel();
  assert.equal(job.state, 'cancelled');
  assert.deepEqual(await top.bitmaps!.dirtyRanges('b'), before);
  await backupJob(live, { target, sync: 'incremental', bitmap }).done;
  await assertSame(target, model);
});

const JOBS = {
  mirror: (live: LiveNode) => mirrorJob(live, { target: memoryNode(SIZE) }),
  commit: (live: LiveNode, base: ImageNode) => commitJob(live, { base }),
  stream: (live: LiveNode) => streamJob(live),
  backup: (live: LiveNode) => backupJob(live, { target: memoryNode(SIZE) }),
} as const;

for (const [name, start] of Object.entries(JOBS)) {
  test(`${name}: cancelled at any moment, the disk is what the guest wrote`, async () => {
    for (let moment = 0; moment < 6; moment += 1) {
      const { base, top, model } = await chain(80 + moment);
      const live = liveNode(top, 4096);
      const job = start(live, base);
      const writer = guest(live, model, 80 + moment);
      await turns(moment * 6);
      if (moment % 3 === 0) job.pause();
      await job.cancel();
      assert.ok(job.state === 'cancelled' || job.state === 'completed', job.state);
      await writer.stop();
      await assertSame(live, model);
      // Another job can follow.
      if (name === 'mirror') {
        const target = memoryNode(SIZE);
        const again = mirrorJob(live, { target });
        await again.ready;
        again.complete();
        await again.done;
        await assertSame(target, model);
      }
    }
  });
}

test('a target that fails ends the job, and not the guest', async () => {
  for (const start of [mirrorJob, backupJob]) {
    const { top, model } = await chain(95);
    const live = liveNode(top, 4096);
    const target = faultFilter(memoryNode(SIZE), [{ on: 'write', error: 'no-space', after: 6 }]);
    const job = start(live, { target });
    const writer = guest(live, model, 95);
    await assert.rejects(job.done, { code: 'no-space' });
    assert.equal(job.state, 'failed');
    await writer.stop();
    await assertSame(live, model);
  }
});

test('pause, resume, speed and progress', async () => {
  const clock = fakeClock();
  const live = liveNode(memoryNode(SIZE), 4096);
  const job = mirrorJob(live, { target: memoryNode(SIZE), clock, bytesPerSecond: 100_000 });
  job.pause();
  await turns(10);
  assert.deepEqual([job.state, job.progress.doneBytes], ['paused', 0]);
  job.resume();
  await job.ready;
  assert.equal(job.progress.doneBytes, job.progress.totalBytes);
  assert.ok(clock.elapsedNanos > 5e9, `${clock.elapsedNanos} ns for 700 kB at 100 kB/s`);
  assert.throws(() => mirrorJob(live, { target: memoryNode(10) }), /the target has 10 bytes/);
  assert.throws(() => streamJob(live), /only an image with a backing file/);
  job.complete();
  await job.done;
});

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const VICTIM = fileURLToPath(new URL('./testing/victim.ts', import.meta.url));
const KILLS = Number(process.env.VIREO_JOB_KILLS ?? '2');

for (const what of ['stream', 'commit', 'backup'] as const) {
  test(`${what}: killed at any moment, the disk reads the same and is whole`, async () => {
    const random = randomFrom(what.length);
    const size = 8 * 2 ** 20;
    const model = new Uint8Array(size);
    const file = (name: string, create = false) => openFileNode(join(folder, name), { io: 'blocking', create });
    // A stream that was done has left the base behind.
    const resolveBacking = () => qcow2.open(file('base.qcow2'), { name: 'base' });
    const open = () => qcow2.open(file('top.qcow2'), { name: 'top', resolveBacking });
    const make = async (name: string, options: object) => {
      const node = file(name, true);
      await createQcow2(node, { sizeBytes: size, clusterBytes: 4096, ...options });
      await node.close();
    };
    await make('base.qcow2', {});
    await make('top.qcow2', { backing: { filename: 'base.qcow2' } });
    const base = await qcow2.open(file('base.qcow2'), { name: 'base' });
    for (let at = 0; at < size; at += 65536) {
      const bytes = random.bytes(40_000);
      await base.write(at, bytes);
      model.set(bytes, at);
    }
    await base.close();
    const top = await open();
    for (let at = 20_000; at < size; at += 200_000) {
      const bytes = random.bytes(30_000);
      await top.write(at, bytes);
      model.set(bytes, at);
    }
    await top.close();
    const target = file('target.raw', true);
    await target.resize!(size);
    await target.close();
    for (let kill = 0; kill < KILLS; kill += 1) {
      const victim = spawn(process.execPath, [VICTIM, what, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
      // It may be done before it is killed.
      const closed = once(victim, 'close');
      await once(victim.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, random.next(60)));
      victim.kill('SIGKILL');
      await closed;
      const image = await open();
      await compare(image, model);
      assert.equal((await image.check!('all')).corruptions, 0);
      await image.close();
    }
  });
}
