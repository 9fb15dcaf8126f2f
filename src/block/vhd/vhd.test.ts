import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { createVhd, vhd } from './index.ts';

const options = { uuid: new Uint8Array(16).fill(1), nowSeconds: 1_700_000_000 };

for (const isFixed of [false, true]) {
  let file = memoryNode(0);
  blockNodeSuite(`vhd, ${isFixed ? 'fixed' : 'dynamic'}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createVhd(file, { ...options, sizeBytes, isFixed });
      return vhd.open(file, { name: 'test' });
    },
    reopen: () => vhd.open(file, { name: 'test' }),
  });
}

test('vhd: one wrong byte in the footer or the header is noticed', async () => {
  for (const offset of [40, 60, 100, 512 + 20, 512 + 28, 512 + 33]) {
    const file = memoryNode(0);
    await createVhd(file, { ...options, sizeBytes: 2 ** 22 });
    const byte = new Uint8Array(1);
    await file.read(offset, byte);
    await file.write(offset, Uint8Array.of(byte[0] ^ 0x10));
    await assert.rejects(vhd.open(file, { name: 'broken' }), /broken: not a usable VHD image: the checksum/);
  }
});

test('vhd: a block that lies over the table is refused', async () => {
  const file = memoryNode(0);
  await createVhd(file, { ...options, sizeBytes: 2 ** 22 });
  await file.write(1536, Uint8Array.of(0, 0, 0, 1));
  await assert.rejects(vhd.open(file, { name: 'broken' }), /block 0 lies over its table/);
});
