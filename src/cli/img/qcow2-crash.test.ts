/** kill -9 at random moments: the image opens, has leaks at most, and every flushed write is there. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createQcow2, qcow2 } from '../../block/index.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { nodeCompression, openFileNode } from '../../host/node/index.ts';

const WRITER = fileURLToPath(new URL('./testing/crash-writer.ts', import.meta.url));
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
/** More rounds: VIREO_CRASHES=300 node --test src/cli/img/qcow2-crash.test.ts */
const CRASHES = Number(process.env.VIREO_CRASHES ?? 5);
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

/** Runs the writer and kills it soon after its first flush; returns the last round that it said was flushed. */
async function runAndKill(path: string, seed: number, millis: number): Promise<number> {
  const child = spawn(process.execPath, [WRITER, path, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await once(child.stdout, 'data');
  await delay(millis);
  child.kill('SIGKILL');
  await once(child, 'close');
  return Number(output.trimEnd().split('\n').at(-1));
}

async function isDirty(path: string): Promise<boolean> {
  const node = await qcow2.open(openFileNode(path, { readOnly: true }), { name: 'image', readOnly: true });
  await node.close();
  return node.info.dirty === true;
}

for (const lazyRefcounts of [false, true])
  test(`${CRASHES} crashes, ${lazyRefcounts ? 'lazy' : 'kept'} counts`, async () => {
    const random = randomFrom(Date.now());
    const path = join(folder, lazyRefcounts ? 'lazy' : 'image');
    const file = openFileNode(path, { create: true });
    await createQcow2(file, { sizeBytes: 24 * 2 ** 20, lazyRefcounts });
    await file.close();
    for (let i = 0; i < CRASHES; i += 1) {
      const flushed = await runAndKill(path, i + 1, random.next(60));
      const isMarked = await isDirty(path);
      // Only the first round is sure to need new clusters.
      if (i === 0 || !lazyRefcounts) assert.equal(isMarked, lazyRefcounts);
      // Lazy counts are made again here, where the image is opened for writing.
      const node = await qcow2.open(openFileNode(path), { name: 'image', compression: nodeCompression });
      const stamp = new Uint8Array(4096);
      await node.read((flushed % 2) * 4096, stamp);
      const round = new DataView(stamp.buffer).getUint32(0);
      assert.ok(round === flushed || round === flushed + 2, `round ${flushed} was flushed, and ${round} is there`);
      const found = await node.check!('none');
      assert.deepEqual({ corruptions: found.corruptions, errors: found.checkErrors }, { corruptions: 0, errors: 0 });
      await node.check!('leaks');
      const repaired = await node.check!('none');
      assert.equal(repaired.leaks + repaired.corruptions, 0);
      await node.read(0, new Uint8Array(node.sizeBytes));
      await node.close();
      assert.equal(await isDirty(path), false);
      if (hasQemu) assert.equal(spawnSync('qemu-img', ['check', '-q', path]).status, 0);
    }
  });
