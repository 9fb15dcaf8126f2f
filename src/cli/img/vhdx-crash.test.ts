/** kill -9 at random moments: the image opens, no blocks overlap, and every flushed write is there. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createVhdx, type VhdxCreateOptions, vhdx } from '../../block/index.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { openFileNode } from '../../host/node/index.ts';

const WRITER = fileURLToPath(new URL('./testing/vhdx-crash-writer.ts', import.meta.url));
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
/** More rounds: VIREO_CRASHES=300 node --test src/cli/img/vhdx-crash.test.ts */
const CRASHES = Number(process.env.VIREO_CRASHES ?? 6);
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

const MIB = 2 ** 20;
const VARIANTS: readonly VhdxCreateOptions[] = [
  { sizeBytes: 3000 * MIB, blockBytes: MIB },
  { sizeBytes: 3000 * MIB, blockBytes: MIB, zeroBlocks: false, logBytes: 3 * MIB },
  { sizeBytes: 2000 * MIB, blockBytes: 8 * MIB },
  { sizeBytes: 24 * MIB, isFixed: true },
];

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
  const last = output.trimEnd().split('\n').at(-1)!;
  return Number(last);
}

test(`vhdx: ${CRASHES} crashes`, async () => {
  const random = randomFrom(8);
  const path = join(folder, 'image.vhdx');
  for (let i = 0; i < CRASHES; i += 1) {
    const file = openFileNode(path, { create: true, io: 'blocking' });
    await createVhdx(file, VARIANTS[i % VARIANTS.length]);
    await file.close();
    const flushed = await runAndKill(path, i + 1, random.next(60));
    const node = await vhdx.open(openFileNode(path), { name: 'image' });
    const stamp = new Uint8Array(4096);
    await node.read((flushed % 2) * node.limits.preferredBytes, stamp);
    const round = new DataView(stamp.buffer).getUint32(0);
    assert.ok(round === flushed || round === flushed + 2, `round ${flushed} was flushed, and ${round} is there`);
    const { corruptions, messages } = await node.check!('none');
    assert.deepEqual({ i, corruptions, messages }, { i, corruptions: 0, messages: [] });
    await node.close();
    if (hasQemu) {
      const { status, stderr } = spawnSync('qemu-img', ['check', '-q', path], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
    unlinkSync(path);
  }
});

test('vhdx: QEMU reads what a killed program left, log and all', {
  skip: hasQemu ? false : 'qemu-img is not installed',
}, async () => {
  const [path, copy] = [join(folder, 'left.vhdx'), join(folder, 'copy.raw')];
  const file = openFileNode(path, { create: true, io: 'blocking' });
  await createVhdx(file, { sizeBytes: 40 * MIB, blockBytes: MIB });
  await file.close();
  await runAndKill(path, 99, 5);
  const node = await vhdx.open(openFileNode(path, { readOnly: true }), { name: 'left', readOnly: true });
  const content = new Uint8Array(node.sizeBytes);
  await node.read(0, content);
  await node.close();
  const raw = openFileNode(copy, { create: true });
  await raw.write(0, content);
  await raw.close();
  // It was not closed, so its log must be applied first; QEMU does this when it may write.
  assert.equal(spawnSync('qemu-img', ['check', '-q', '-r', 'all', path]).status, 0);
  const { status, stdout } = spawnSync('qemu-img', ['compare', '-f', 'vhdx', '-F', 'raw', path, copy], {
    encoding: 'utf8',
  });
  assert.deepEqual({ status, stdout }, { status: 0, stdout: 'Images are identical.\n' });
});
