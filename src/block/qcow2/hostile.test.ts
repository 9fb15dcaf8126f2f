/** Images with broken metadata: a clear error or plain content, bounded time and memory, no write outside the image. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, qcow2 } from './index.ts';

const SIZE = 2 ** 20;
const FILE_MAX_BYTES = 16 * 2 ** 20;

/** A sound image with data, a snapshot and zeros in it, as bytes. */
async function soundImage(): Promise<Uint8Array> {
  const file = memoryNode(0);
  await createQcow2(file, { sizeBytes: SIZE, clusterBytes: 4096 });
  const node = await qcow2.open(file, { name: 'sound' });
  await node.write(0, new Uint8Array(100_000).fill(1));
  await node.snapshots!.create({ name: 's', dateSeconds: 0, dateNanos: 0 });
  await node.write(50_000, new Uint8Array(100_000).fill(2));
  await node.writeZeroes!(20_000, 30_000);
  await node.close();
  const bytes = new Uint8Array(file.sizeBytes);
  await file.read(0, bytes);
  return bytes;
}

/** Puts a number that is likely to hurt where the metadata is. */
function damage(bytes: Uint8Array, random: Random): void {
  const view = new DataView(bytes.buffer);
  const metadata = [0, 0, 4096, 8192, 12_288, bytes.length - 4096, random.next(bytes.length / 4096) * 4096];
  for (let i = 1 + random.next(3); i > 0; i -= 1) {
    const page = metadata[random.next(metadata.length)];
    const at = page + random.next(page === 0 ? 14 : 60) * 8;
    const values = [
      0n,
      1n,
      2n ** 63n,
      2n ** 64n - 1n,
      0x8000_0000_0000_0000n | 4096n,
      (2n ** 62n) | 4095n,
      4096n,
      1n << 55n,
    ];
    const value = random.next(3) === 0 ? BigInt(random.next(2 ** 32)) : values[random.next(values.length)];
    if (random.next(2) === 0) view.setBigUint64(at, value);
    else view.setUint32(at, Number(value & 0xffffffffn));
  }
}

async function use(file: BlockNode): Promise<void> {
  const node = await qcow2.open(file, { name: 'hostile', withoutBacking: true });
  const length = Math.min(node.sizeBytes, SIZE);
  await node.read(0, new Uint8Array(length));
  await node.extents(0, length);
  await node.write(0, new Uint8Array(Math.min(30_000, length)));
  await node.discard!(0, length);
  await node.check!('all');
  for (const { name } of node.snapshots!.list()) await node.snapshots!.delete(name);
  await node.close();
}

test('damaged metadata gives an error of ours or content, never anything else', async () => {
  const sound = await soundImage();
  const random = randomFrom(11);
  let refused = 0;
  for (let i = 0; i < 150; i += 1) {
    const bytes = sound.slice();
    damage(bytes, random);
    const file = memoryNode(0, { name: 'hostile', maxBytes: FILE_MAX_BYTES });
    await file.write(0, bytes);
    try {
      await use(file);
    } catch (error) {
      assert.ok(error instanceof UserError, `round ${i}: ${error instanceof Error ? error.stack : error}`);
      assert.match(error.message, /hostile/);
      refused += 1;
    }
  }
  assert.ok(refused > 15, `${refused} of 150 were refused`);
});

test('a repair of damaged metadata gives an error of ours, or an image in which nothing is wrong any more', async () => {
  const sound = await soundImage();
  const random = randomFrom(12);
  let mended = 0;
  for (let i = 0; i < 150; i += 1) {
    const bytes = sound.slice();
    damage(bytes, random);
    const file = memoryNode(0, { name: 'hostile', maxBytes: FILE_MAX_BYTES });
    await file.write(0, bytes);
    try {
      const node = await qcow2.open(file, { name: 'hostile', withoutBacking: true, forCheck: true });
      const first = await node.check!('all');
      if (first.corruptions + first.checkErrors > 0) continue;
      const { corruptions, leaks, checkErrors, messages } = await node.check!('none');
      assert.deepEqual(
        { i, corruptions, leaks, checkErrors },
        { i, corruptions: 0, leaks: 0, checkErrors: 0 },
        messages[0],
      );
      mended += 1;
    } catch (error) {
      assert.ok(error instanceof UserError, `round ${i}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  assert.ok(mended > 15, `${mended} of 150 were mended`);
});

test('limits are named', async () => {
  const sound = await soundImage();
  const cases: readonly (readonly [offset: number, value: number, message: RegExp])[] = [
    [4, 9, /version is 9/],
    [20, 40, /cluster_bits is 40/],
    [24, 0xffffffff, /larger than 2\^53/],
    [36, 0x7fffffff, /the L1 table has/],
    [56, 0x7fffffff, /the refcount table has/],
    [60, 0x7fffffff, /snapshots; at most 65536/],
    [96, 60, /refcount_order is 60/],
    [76, 0x80, /incompatible bits/],
  ];
  for (const [offset, value, message] of cases) {
    const file = memoryNode(0);
    const bytes = sound.slice();
    new DataView(bytes.buffer).setUint32(offset, value);
    await file.write(0, bytes);
    await assert.rejects(qcow2.open(file, { name: 'limits' }), message);
  }
});

test('a table that counts as free is not overwritten: the image is marked corrupt', async () => {
  const file = memoryNode(0);
  await file.write(0, await soundImage());
  const node = await qcow2.open(file, { name: 'overlap' });
  // The refcount block says that clusters 0 to 9 are free.
  const header = new Uint8Array(112);
  await file.read(0, header);
  const table = new Uint8Array(8);
  await file.read(Number(new DataView(header.buffer).getBigUint64(48)), table);
  await file.write(Number(new DataView(table.buffer).getBigUint64(0)), new Uint8Array(20));
  await assert.rejects(
    node.write(900_000, new Uint8Array(4096)),
    /overlap: the image is corrupt: cluster \d+ counts as free/,
  );
  await assert.rejects(qcow2.open(file, { name: 'overlap' }), /marked corrupt/);
  await qcow2.open(file, { name: 'overlap', readOnly: true });
});
