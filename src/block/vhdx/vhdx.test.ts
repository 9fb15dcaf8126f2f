import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { crc32c } from '../crc32c.ts';
import { memoryNode } from '../memory.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { createVhdx, type VhdxCreateOptions, vhdx } from './index.ts';
import { seal } from './layout.ts';

const VARIANTS: readonly Omit<VhdxCreateOptions, 'sizeBytes'>[] = [
  { blockBytes: 2 ** 20 },
  { blockBytes: 2 ** 20, zeroBlocks: false, logBytes: 2 ** 21 },
  { isFixed: true },
];

for (const variant of VARIANTS) {
  let file = memoryNode(0);
  blockNodeSuite(`vhdx, ${JSON.stringify(variant)}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createVhdx(file, { ...variant, sizeBytes });
      return vhdx.open(file, { name: 'test' });
    },
    reopen: () => vhdx.open(file, { name: 'test' }),
  });
}

test('crc32c: the examples of RFC 3720, B.4', () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  const bytes = new TextEncoder().encode('123456789');
  assert.equal(crc32c(bytes), 0xe3069283);
  assert.equal(crc32c(bytes.subarray(4), crc32c(bytes.subarray(0, 4))), 0xe3069283);
});

hostileSuite('vhdx', {
  async sound() {
    const file = memoryNode(0);
    await createVhdx(file, { sizeBytes: 2 ** 22, blockBytes: 2 ** 20 });
    const node = await vhdx.open(file, { name: 'sound' });
    await node.write(100_000, new Uint8Array(1_500_000).fill(1));
    await node.close();
    return file;
  },
  open: (file) => vhdx.open(file, { name: 'hostile' }),
  metadata: () => [
    [65_536 + 8, 65_536 + 80],
    [131_072 + 8, 131_072 + 80],
    [196_608 + 8, 196_608 + 80],
    [262_144 + 8, 262_144 + 80],
    [2 * 2 ** 20, 2 * 2 ** 20 + 200],
    [2 * 2 ** 20 + 65_536, 2 * 2 ** 20 + 65_536 + 48],
    [3 * 2 ** 20, 3 * 2 ** 20 + 32],
    [3 * 2 ** 20, 3 * 2 ** 20 + 32],
  ],
  mend(bytes) {
    for (const offset of [65_536, 131_072]) seal(bytes.subarray(offset, offset + 4096));
    for (const offset of [196_608, 262_144]) seal(bytes.subarray(offset, offset + 65_536));
  },
  littleEndian: true,
  fileMaxBytes: 2 ** 29 + 2 ** 25,
  refusedMin: 60,
});
