/** What is left when a program ends without closing an image: the marks in it, and what the other side makes of them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { openImage } from './images.ts';
import { openSides, placeless, type Side, skipWithoutQemu } from './testing/sides.ts';

const skip = skipWithoutQemu;
const sides = skip === false ? openSides() : undefined;

const MIB = 2 ** 20;

/** QEMU writes, flushes and is killed. */
function killTheirs(format: string, image: string): void {
  const lines = ['write -P 1 0 3M', 'write -P 2 1500k 100k', 'flush', 'write -P 3 5M 64k', 'flush', 'sigraise 9'];
  const args = ['-f', format, ...lines.flatMap((line) => ['-c', line]), image];
  const { signal, stderr } = spawnSync('qemu-io', args, { cwd: sides!.path('theirs', '.'), encoding: 'utf8' });
  assert.equal(signal, 'SIGKILL', stderr);
}

/** The same by us; the file as it is before the image is closed is what a killed program leaves. */
async function killOurs(format: string, image: string): Promise<void> {
  const { node } = await openImage(sides!.path('ours', image), { format, writable: true });
  const put = (pattern: number, offset: number, length: number) =>
    node.write(offset, new Uint8Array(length).fill(pattern));
  await put(1, 0, 3 * MIB);
  await put(2, 1500 * 1024, 100 * 1024);
  await node.flush();
  await put(3, 5 * MIB, 65_536);
  await node.flush();
  const left = readFileSync(sides!.path('ours', image));
  await node.close();
  writeFileSync(sides!.path('ours', image), left);
}

function written(): Uint8Array {
  const disk = new Uint8Array(8 * MIB);
  disk
    .fill(1, 0, 3 * MIB)
    .fill(2, 1500 * 1024, 1600 * 1024)
    .fill(3, 5 * MIB, 5 * MIB + 65_536);
  return disk;
}

for (const [format, options] of [
  ['qcow2', 'lazy_refcounts=on'],
  ['vhdx', 'block_size=1M'],
]) {
  test(`${format}: what one side left open, both put right`, { skip }, async () => {
    const { run, path, put } = sides!;
    const image = `left.${format}`;
    put('written.raw', written());
    for (const side of ['ours', 'theirs'] as const) await run(side, `create -q -f ${format} -o ${options} ${image} 8M`);
    killTheirs(format, image);
    await killOurs(format, image);
    for (const from of ['ours', 'theirs'] as const) {
      for (const to of ['ours', 'theirs'] as const) {
        const copy = `${from}-left.${format}`;
        copyFileSync(path(from, image), path(to, copy));
        // QEMU replays no log where it may not write.
        if (to === 'ours') await run(to, `compare -f ${format} -F raw ${copy} written.raw`);
        await run(to, `check -r all -f ${format} ${copy}`);
        await run(to, `compare -f ${format} -F raw ${copy} written.raw`);
        await run(to, `check -f ${format} ${copy}`);
      }
    }
  });
}

/** Sets a bit of a qcow2 header's incompatible features. */
function mark(side: Side, image: string, bit: number): void {
  const bytes = readFileSync(sides!.path(side, image));
  bytes[79] |= bit;
  writeFileSync(sides!.path(side, image), bytes);
}

test('qcow2: an image marked corrupt is read, not written, until it is repaired', { skip }, async () => {
  const { both, ours, theirs } = sides!;
  const CORRUPT = 2;
  await both('create -q -f qcow2 marked.qcow2 2M');
  for (const side of ['ours', 'theirs'] as const) mark(side, 'marked.qcow2', CORRUPT);
  await both('info marked.qcow2', placeless);
  await both('check marked.qcow2');
  await both('convert -O raw marked.qcow2 out.raw');
  const line = 'convert -n -O qcow2 out.raw marked.qcow2';
  assert.equal(theirs(line).status, 1);
  const refused = await ours(line);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^vireo-img: [^\n]*marked.qcow2[^\n]*marked corrupt[^\n]*\n$/);
  await both('check -r all marked.qcow2', placeless);
  await both('info marked.qcow2', placeless);
  await both(line);
});

test('qcow2: what is marked dirty is told and put right', { skip }, async () => {
  const { both } = sides!;
  const DIRTY = 1;
  await both('create -q -f qcow2 -o lazy_refcounts=on dirty.qcow2 2M');
  for (const side of ['ours', 'theirs'] as const) mark(side, 'dirty.qcow2', DIRTY);
  await both('info --output=json dirty.qcow2', (text) => JSON.parse(text)['dirty-flag']);
  await both('check -r all dirty.qcow2', placeless);
  await both('info --output=json dirty.qcow2', (text) => JSON.parse(text)['dirty-flag']);
});
