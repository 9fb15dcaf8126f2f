/** Options of vireo-img that go beyond the plain use of each command, beside qemu-img's. */
import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { randomFrom } from '../../contract/testing/random.ts';
import { mapShape, openSides, placeless, skipWithoutQemu as skip } from './testing/sides.ts';

const sides = openSides();
const { both, ours, run } = sides;
const MIB = 2 ** 20;

function shape(text: string): string {
  return placeless(text)
    .replace(/\d+\.\d+% fragmented/g, '')
    .replace(/"date-n?sec": \d+/g, '');
}

/** Data, zeros and holes. */
function content(size: number, seed: number): Uint8Array {
  const random = randomFrom(seed);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 100_000) bytes.set(random.bytes(Math.min(60_000, size - at)), at);
  return bytes;
}

test('convert takes bitmaps along', { skip }, async () => {
  sides.put('a.raw', content(3 * MIB, 1));
  for (const line of [
    'create -q -f qcow2 a.qcow2 3M',
    'bitmap --add a.qcow2 first',
    'bitmap --add -g 4k a.qcow2 second',
    'convert -n -O qcow2 a.raw a.qcow2',
    'bitmap --disable a.qcow2 second',
    'convert --bitmaps -O qcow2 a.qcow2 b.qcow2',
    'info b.qcow2',
    'check b.qcow2',
    'convert --bitmaps -O raw a.qcow2 b.raw',
    'convert --bitmaps -O qcow2 a.raw c.qcow2',
    'convert --bitmaps -O qcow2 a.qcow2 a.qcow2 c.qcow2',
    'convert --skip-broken-bitmaps -O qcow2 a.qcow2 c.qcow2',
  ]) {
    await both(line, shape);
  }
  // A map of what the bitmap has: QEMU's own, of both copies.
  sides.send('ours', 'b.', 'sent');
  for (const name of ['first', 'second']) {
    const line = `bitmap --merge ${name} -b sent/b.qcow2 -F qcow2 b.qcow2 ${name}`;
    assert.equal(sides.theirs(line).status, 0, line);
  }
});

test('bitmaps go along when a disk changes its size', { skip }, async () => {
  for (const line of [
    'resize a.qcow2 5M',
    'info a.qcow2',
    'check a.qcow2',
    'resize --shrink a.qcow2 2M',
    'info a.qcow2',
    'check a.qcow2',
    'compare a.raw a.qcow2',
  ]) {
    await both(line, shape);
  }
});

test('a larger disk may get its place at once', { skip }, async () => {
  for (const mode of ['metadata', 'falloc', 'full']) {
    await both(`create -q -f qcow2 grown-${mode}.qcow2 1M`);
    await both(`resize --preallocation=${mode} grown-${mode}.qcow2 3M`);
    await both(`map --output=json grown-${mode}.qcow2`, mapShape);
    await both(`check grown-${mode}.qcow2`, shape);
  }
  await both('create -q -f raw grown.raw 1M');
  await both('resize -f raw --preallocation=full grown.raw 2M');
  await both('resize -f raw --shrink --preallocation=full grown.raw 1M');
});

test('commit to an image further down', { skip }, async () => {
  sides.put('base.raw', content(2 * MIB, 2));
  sides.put('new.raw', content(MIB, 3));
  sides.put('newer.raw', content(MIB / 2, 4));
  for (const line of [
    'create -q -f qcow2 -b base.raw -F raw mid.qcow2',
    'convert -n -O qcow2 new.raw mid.qcow2',
    'create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2',
    'convert -n -O qcow2 newer.raw top.qcow2',
    'commit -b base.raw top.qcow2',
    'compare -f qcow2 -F raw top.qcow2 base.raw',
    'map --output=json top.qcow2',
    'commit -b none.raw top.qcow2',
    'commit -d top.qcow2',
    'map --output=json top.qcow2',
    'commit top.qcow2',
    'map --output=json top.qcow2',
  ]) {
    await both(line, line.startsWith('map') ? mapShape : shape);
  }
  assert.deepEqual(readFileSync(sides.path('ours', 'base.raw')), readFileSync(sides.path('theirs', 'base.raw')));
});

test('what cannot be read is passed over when asked', { skip }, async () => {
  await both('create -q -f qcow2 cut.qcow2 1M');
  await both('convert -n -c -O qcow2 a.raw cut.qcow2', () => '');
  await both('convert -c -O qcow2 base.raw torn.qcow2');
  // The last compressed clusters lose their end.
  for (const side of ['ours', 'theirs'] as const) truncateSync(sides.path(side, 'torn.qcow2'), MIB + 4096);
  assert.equal((await ours('convert -O raw torn.qcow2 torn.raw')).status, 1);
  const { status, stderr } = await ours('convert --salvage -O raw torn.qcow2 torn.raw');
  assert.equal(status, 0);
  assert.match(stderr, /^vireo-img: warning: error while reading offset \d+: /);
  const [whole, saved] = ['base.raw', 'torn.raw'].map((name) => readFileSync(sides.path('ours', name)));
  assert.equal(saved.length, whole.length);
  assert.ok(saved.subarray(0, MIB / 2).equals(whole.subarray(0, MIB / 2)));
});

test('cache modes and copies by the host', { skip }, async () => {
  for (const mode of ['none', 'directsync', 'writethrough', 'writeback', 'unsafe']) {
    await both(`convert -t ${mode} -T ${mode} -O qcow2 a.raw cached.qcow2`);
    await both('compare a.raw cached.qcow2');
    await both('check cached.qcow2', shape);
  }
  assert.match((await ours('convert -t fast a.raw out.raw')).stderr, /Invalid cache option: fast/);
  await both('convert -C -O raw cached.qcow2 copied.raw');
  await both('compare a.raw copied.raw');
  await both('convert -C -S 4k a.raw copied.raw');
  await both('convert -C -c -O qcow2 a.raw copied.raw');
});

test('options of nodes inside one another', { skip }, async () => {
  await run('ours', 'convert -O qcow2 a.raw plain.qcow2');
  await run('theirs', 'convert -O qcow2 a.raw plain.qcow2');
  for (const name of [
    'json:{"driver":"qcow2","file":{"driver":"file","filename":"plain.qcow2"}}',
    'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"plain.qcow2"}}}',
    'json:{"driver":"qcow2","backing":null,"file.driver":"file","file":{"filename":"top.qcow2"}}',
  ]) {
    await both(`map --output=json ${name}`, mapShape);
  }
  await both('convert -n --target-image-opts a.raw driver=qcow2,file.filename=plain.qcow2');
  await both('compare a.raw plain.qcow2');
  await both('compare --image-opts driver=raw,file.filename=a.raw driver=qcow2,file.filename=plain.qcow2');
});

test('counts that are lost are made anew', { skip }, async () => {
  const kinds: Readonly<Record<string, (bytes: Buffer) => void>> = {
    'a block at no cluster': (bytes) => bytes.writeBigUInt64BE(12_345n, Number(bytes.readBigUInt64BE(48))),
    'a block beyond the end': (bytes) => bytes.writeBigUInt64BE(2n ** 40n, Number(bytes.readBigUInt64BE(48))),
    'a block where data is': (bytes) => bytes.writeBigUInt64BE(6n * 65536n, Number(bytes.readBigUInt64BE(48))),
    'a table beyond the end': (bytes) => bytes.writeBigUInt64BE(2n ** 40n, 48),
  };
  await run('ours', 'convert -O qcow2 a.raw counted.qcow2');
  await run('ours', 'snapshot -c one counted.qcow2');
  const sound = readFileSync(sides.path('ours', 'counted.qcow2'));
  for (const [name, damage] of Object.entries(kinds)) {
    const bytes = Buffer.from(sound);
    damage(bytes);
    writeFileSync(sides.path('ours', 'counted.qcow2'), bytes);
    assert.equal((await ours('check counted.qcow2')).status, 2, name);
    const { status, stderr } = await ours('check -r all counted.qcow2');
    assert.equal(status, 0, `${name}: ${stderr}`);
    assert.match(stderr, /^Rebuilding refcount structure$/m, name);
    await run('ours', 'check counted.qcow2');
    sides.send('ours', 'counted.', 'mended');
    assert.equal(sides.theirs('check mended/counted.qcow2').status, 0, name);
    assert.equal(sides.theirs('compare -f qcow2 -F raw mended/counted.qcow2 a.raw').status, 0, name);
    await run('ours', 'snapshot -a one counted.qcow2');
    await run('ours', 'compare counted.qcow2 a.raw');
  }
});
