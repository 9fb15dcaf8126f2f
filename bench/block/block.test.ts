/** The block benchmark, as far as it goes without measuring. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CASES } from './cases.ts';
import { writeDisk } from './data.ts';
import { renderTable } from './report.ts';
import { peakOf, run } from './run.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

test('the disk is the same each time, with holes in it', async () => {
  const sums: string[] = [];
  for (const name of ['one', 'two']) {
    const path = join(folder, name);
    await writeDisk(path, 16 * 2 ** 20);
    sums.push(createHash('sha256').update(readFileSync(path)).digest('hex'));
    assert.ok(statSync(path).blocks * 512 < 16 * 2 ** 20);
  }
  assert.equal(sums[0], sums[1]);
});

test('a program is run to its end, and complaints are passed on', async () => {
  const { stdout, seconds } = await run([process.execPath, '-e', 'console.log(7)'], folder);
  assert.equal(stdout, '7\n');
  assert.ok(seconds > 0);
  await assert.rejects(run([process.execPath, '-e', 'console.error("no"); process.exit(3)'], folder), /: no$/);
});

test('the peak of a process is known', { skip: process.platform !== 'linux' }, () => {
  const before = peakOf(process.pid);
  const block = Buffer.alloc(100e6, 1);
  assert.ok(peakOf(process.pid) > Math.max(before, block.length));
  assert.equal(peakOf(undefined), 0);
});

test('the table has ratios of medians and of the best, and says what misses its target', () => {
  const text = renderTable([
    { name: 'fast', seconds: { vireo: [1, 2, 4], qemu: [4, 4, 4] }, peakBytes: { vireo: [2 ** 20], qemu: [2 ** 20] } },
    { name: 'slow', seconds: { vireo: [2], qemu: [1] }, peakBytes: { vireo: [2 ** 28] } },
    { name: 'none', seconds: {}, peakBytes: {}, skipped: 'no format' },
  ]);
  assert.match(text, /^fast +2\.000 s +4\.000 s +2\.00 +4\.00 +1 +1 +met$/m);
  assert.match(text, /^slow +2\.000 s +1\.000 s +0\.50 +0\.50 +256 +- +slower, memory$/m);
  assert.match(text, /^none +skipped: no format$/m);
});

test('names of cases are all different, and wrong options get one line', () => {
  assert.equal(new Set(CASES.map(({ name }) => name)).size, CASES.length);
  for (const [args, message] of [
    [['--runs', '0'], /^bench:block: --runs 0 is not a number from 1 to 99\n$/],
    [['--only', 'chekc'], /^bench:block: there is no case "chekc"; did you mean check\?\n$/],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
    assert.match(stderr, message);
    assert.equal(status, 2);
  }
});
