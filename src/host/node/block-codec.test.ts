import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { deflateRawSync, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { randomFrom } from '../../contract/testing/random.ts';
import { openCodec } from './block-codec.ts';
import { codecPool } from './block-codec-pool.ts';
import { codecSlots, SLOT_BYTES, SLOTS } from './block-codec-slots.ts';

const codec = openCodec();
const skip = codec === undefined ? 'this Node exports no zlib and zstd' : false;
const KINDS = ['zlib', 'zstd'] as const;
const reference = {
  zlib: { pack: deflateRawSync, unpack: inflateRawSync },
  zstd: { pack: zstdCompressSync, unpack: zstdDecompressSync },
};

function cluster(seed: number): Uint8Array {
  const random = randomFrom(seed);
  const bytes = new Uint8Array(65_536);
  for (let at = 0; at < bytes.length; at += 64) bytes.fill(random.next(256), at, at + 32 + random.next(32));
  return bytes;
}

for (const kind of KINDS) {
  test(`${kind}: what the codec packs others unpack, and the reverse`, { skip }, () => {
    const source = cluster(1);
    const packed = new Uint8Array(SLOT_BYTES);
    const length = codec!.compress(kind, source, packed);
    assert.ok(length > 0 && length < source.length);
    assert.deepEqual(new Uint8Array(reference[kind].unpack(packed.subarray(0, length))), source);
    const target = new Uint8Array(source.length);
    assert.equal(codec!.decompress(kind, new Uint8Array(reference[kind].pack(source)), target), true);
    assert.deepEqual(target, source);
  });

  test(`${kind}: what does not fit, is short, long or broken is refused, and the next one is not harmed`, {
    skip,
  }, () => {
    const source = cluster(2);
    const packed = new Uint8Array(reference[kind].pack(source));
    const target = new Uint8Array(source.length);
    assert.equal(codec!.compress(kind, randomFrom(3).bytes(4096), new Uint8Array(4095)), 0);
    assert.equal(codec!.decompress(kind, packed.subarray(0, packed.length / 2), target), false);
    assert.equal(codec!.decompress(kind, packed, target.subarray(1)), false);
    assert.equal(codec!.decompress(kind, packed, new Uint8Array(source.length + 1)), false);
    assert.equal(codec!.decompress(kind, new Uint8Array(1000).fill(0xff), target), false);
    assert.equal(codec!.decompress(kind, packed, target), true);
    assert.deepEqual(target, source);
  });
}

test('the pool packs and unpacks many clusters at once, each its own', { skip }, async () => {
  const pool = codecPool(0);
  const sources = Array.from({ length: 3 * SLOTS }, (_, i) => cluster(i));
  // The first calls find the threads still starting, and are not taken.
  while (pool.compress('zlib', sources[0]) === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const kind of KINDS) {
    const packed = await Promise.all(sources.map((source) => pool.compress(kind, source)));
    const targets = sources.map((source) => new Uint8Array(source.length));
    const done = await Promise.all(packed.map((bytes, i) => pool.decompress(kind, bytes!, targets[i])));
    assert.ok(done.every((isDone) => isDone === true));
    assert.deepEqual(targets, sources);
    for (const bytes of packed) pool.giveBack(bytes!);
  }
  assert.equal(await pool.compress('zstd', randomFrom(9).bytes(65_536)), undefined);
  assert.equal(await pool.decompress('zlib', new Uint8Array(100).fill(0xff), new Uint8Array(65_536)), false);
  assert.equal(pool.compress('zlib', new Uint8Array(SLOT_BYTES + 1)), undefined);
});

test('threads that have nothing to do do not keep a program', { skip }, async () => {
  const url = new URL('./block-codec-pool.ts', import.meta.url).href;
  const code = `import('${url}').then(({ codecPool }) => codecPool(0).compress('zlib', new Uint8Array(100)));`;
  const [exitCode] = await once(new Worker(code, { eval: true }), 'exit');
  assert.equal(exitCode, 0);
});

test('jobs are taken in their order, each once, round the ring', () => {
  const pool = codecSlots();
  const other = codecSlots(pool.memory);
  for (let round = 0; round < 200; round += 1) {
    const slot = round % SLOTS;
    pool.submit(slot, 'unpack zstd', round, 7);
    assert.deepEqual(other.take(), { slot, job: 'unpack zstd', sourceBytes: round, targetBytes: 7 });
    assert.equal(other.finish(slot, round), true);
    const collected: number[][] = [];
    pool.collect((...result) => collected.push(result));
    assert.deepEqual(collected, [[slot, round]]);
  }
});
