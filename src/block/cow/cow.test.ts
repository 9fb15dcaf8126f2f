import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { cow, createCow } from './index.ts';

for (const backingFile of ['', 'zeros']) {
  let file = memoryNode(0);
  const how = { name: 'test', resolveBacking: async () => memoryNode(0) };
  blockNodeSuite(`cow${backingFile === '' ? '' : ', with a backing file'}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createCow(file, { sizeBytes, backingFile });
      return cow.open(file, how);
    },
    reopen: () => cow.open(file, how),
  });
}

/** An image byte by byte, as block/cow.c of QEMU 2.1 lays it out: 20 sectors, of which 3 and 9 are its own. */
function sample(): Uint8Array {
  const bytes = new Uint8Array(1536 + 20 * 512);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x4f4f4f4d);
  view.setUint32(4, 2);
  bytes.set(new TextEncoder().encode('base.raw'), 8);
  view.setBigUint64(1040, BigInt(20 * 512));
  view.setUint32(1048, 512);
  bytes[1056] = 1 << 3;
  bytes[1057] = 1 << 1;
  bytes.fill(0x33, 1536 + 3 * 512, 1536 + 4 * 512);
  bytes.fill(0x99, 1536 + 9 * 512, 1536 + 10 * 512);
  return bytes;
}

test('cow: a sample made by hand', async () => {
  const file = memoryNode(0);
  await file.write(0, sample());
  assert.equal(cow.probe(sample(), ''), 100);
  const base = memoryNode(20 * 512);
  await base.write(0, new Uint8Array(20 * 512).fill(0xbb));
  const node = await cow.open(file, { name: 'sample', resolveBacking: async () => base });
  assert.deepEqual([node.sizeBytes, node.info.backing], [20 * 512, { filename: 'base.raw' }]);
  const content = new Uint8Array(20 * 512);
  await node.read(0, content);
  const sectors = Array.from({ length: 20 }, (_, i) => content[i * 512]);
  assert.deepEqual(
    sectors,
    sectors.map((_, i) => (i === 3 ? 0x33 : i === 9 ? 0x99 : 0xbb)),
  );
  await node.write(12 * 512 + 5, Uint8Array.of(1));
  await node.flush();
  const bit = new Uint8Array(1);
  await file.read(1057, bit);
  assert.equal(bit[0], (1 << 1) | (1 << 4));
  const sector = new Uint8Array(512);
  await file.read(1536 + 12 * 512, sector);
  assert.deepEqual([sector[4], sector[5], sector[6]], [0xbb, 1, 0xbb]);
  await assert.rejects(cow.open(file, { name: 'sample' }), /it has the backing file base.raw, and none may be opened/);
});

hostileSuite('cow', {
  async sound() {
    const file = memoryNode(0);
    await file.write(0, sample());
    return file;
  },
  open: (file) => cow.open(file, { name: 'hostile', resolveBacking: async () => memoryNode(0) }),
  metadata: () => [
    [0, 16],
    [1036, 1060],
    [1036, 1060],
  ],
  littleEndian: false,
  // The disk lies in the file as it is, behind its bits.
  fileMaxBytes: 2 ** 51,
  refusedMin: 60,
});
