import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { createVdi, vdi } from './index.ts';

const uuids = { imageUuid: new Uint8Array(16).fill(1), snapshotUuid: new Uint8Array(16).fill(2) };

for (const isStatic of [false, true]) {
  let file = memoryNode(0);
  blockNodeSuite(`vdi, ${isStatic ? 'static' : 'dynamic'}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createVdi(file, { ...uuids, sizeBytes, isStatic });
      return vdi.open(file, { name: 'test' });
    },
    reopen: () => vdi.open(file, { name: 'test' }),
  });
}

test('vdi: fields that cannot be right are named', async () => {
  const cases: readonly (readonly [offset: number, value: number, message: RegExp])[] = [
    [64, 1, /signature/],
    [76, 9, /image type 9/],
    [340, 77, /not at a sector/],
    [340, 0, /overlaps the header/],
    [368, 0xffffffff, /larger than its 5 blocks/],
    [376, 4096, /blocks have 4096 bytes/],
    [384, 0xffffffff, /at most 16777216/],
    [388, 6, /6 of its 5 blocks/],
  ];
  for (const [offset, value, message] of cases) {
    const file = memoryNode(0);
    await createVdi(file, { ...uuids, sizeBytes: 5 * 2 ** 20 });
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await file.write(offset, bytes);
    await assert.rejects(vdi.open(file, { name: 'broken' }), message);
  }
});

test('vdi: check finds a block that two entries share', async () => {
  const file = memoryNode(0);
  await createVdi(file, { ...uuids, sizeBytes: 5 * 2 ** 20 });
  await file.write(512, new Uint8Array(8));
  await file.write(388, Uint8Array.of(2));
  const { corruptions, messages } = await (await vdi.open(file, { name: 'shared' })).check!('none');
  assert.deepEqual({ corruptions, messages }, { corruptions: 1, messages: ['ERROR: block index 0 also used twice'] });
});

hostileSuite('vdi', {
  async sound() {
    const file = memoryNode(0);
    await createVdi(file, { ...uuids, sizeBytes: 5 * 2 ** 20 });
    const node = await vdi.open(file, { name: 'sound' });
    await node.write(1000, new Uint8Array(2 ** 20).fill(1));
    await node.close();
    return file;
  },
  open: (file) => vdi.open(file, { name: 'hostile' }),
  metadata: () => [
    [64, 80],
    [340, 400],
    [340, 400],
    [512, 512 + 24],
  ],
  littleEndian: true,
  fileMaxBytes: 2 ** 34,
  refusedMin: 60,
});

test('vdi: a new block never takes the place of one that the map has, whatever is counted', async () => {
  const file = memoryNode(0);
  await createVdi(file, { ...uuids, sizeBytes: 5 * 2 ** 20 });
  const node = await vdi.open(file, { name: 'count' });
  await node.write(0, new Uint8Array(2 ** 20).fill(1));
  await node.close();
  await file.write(388, Uint8Array.of(0));
  const again = await vdi.open(file, { name: 'count' });
  assert.equal((await again.check!('none')).corruptions, 1 + 1);
  await again.write(2 ** 21, Uint8Array.of(2));
  const found = new Uint8Array(1);
  await again.read(5, found);
  assert.equal(found[0], 1);
});
