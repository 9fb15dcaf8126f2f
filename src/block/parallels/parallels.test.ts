import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { createParallels, parallels } from './index.ts';

for (const clusterBytes of [4096, 2 ** 20]) {
  let file = memoryNode(0);
  blockNodeSuite(`parallels, clusters of ${clusterBytes}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createParallels(file, { sizeBytes, clusterBytes });
      return parallels.open(file, { name: 'test' });
    },
    reopen: () => parallels.open(file, { name: 'test' }),
  });
}

async function small() {
  const file = memoryNode(0);
  await createParallels(file, { sizeBytes: 2 ** 20, clusterBytes: 65_536 });
  const node = await parallels.open(file, { name: 'small' });
  await node.write(100_000, new Uint8Array(100_000).fill(1));
  return { file, node };
}

test('parallels: it is marked while it is changed, and opened again all the same when it is sound', async () => {
  const { file, node } = await small();
  const mark = async () => {
    const bytes = new Uint8Array(4);
    await file.read(44, bytes);
    return new TextDecoder().decode(bytes);
  };
  await node.flush();
  assert.equal(await mark(), 'Ynot');
  // The program ends here without closing it.
  const again = await parallels.open(file, { name: 'small' });
  await again.close();
  const { corruptions, allocatedClusters } = await again.check!('none');
  assert.deepEqual({ corruptions, allocatedClusters }, { corruptions: 0, allocatedClusters: 3 });
  await node.close();
  assert.equal(await mark(), '\0\0\0\0');
});

test('parallels: the older kind counts sectors in its table', async () => {
  const { file, node } = await small();
  await node.close();
  await file.write(0, new TextEncoder().encode('WithoutFreeSpace'));
  const table = new Uint8Array(64);
  await file.read(64, table);
  const view = new DataView(table.buffer);
  for (let i = 0; i < 16; i += 1) view.setUint32(i * 4, view.getUint32(i * 4, true) * 128, true);
  await file.write(64, table);
  const old = await parallels.open(file, { name: 'old' });
  const found = new Uint8Array(100_002);
  await old.read(99_999, found);
  assert.deepEqual([found[0], found[1], found[100_000], found[100_001]], [0, 1, 1, 0]);
});

hostileSuite('parallels', {
  async sound() {
    const { file, node } = await small();
    await node.close();
    return file;
  },
  open: (file) => parallels.open(file, { name: 'hostile' }),
  metadata: () => [
    [0, 64],
    [16, 64],
    [64, 128],
    [64, 128],
  ],
  littleEndian: true,
  fileMaxBytes: 2 ** 34,
  refusedMin: 60,
});
