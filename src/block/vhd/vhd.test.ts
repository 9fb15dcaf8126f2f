import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { memoryNode } from '../memory.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { createVhd, vhd, vhdGeometrySize } from './index.ts';
import { checksumOf } from './layout.ts';

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

test('vhd: a block that lies over the metadata is refused', async () => {
  const file = memoryNode(0);
  await createVhd(file, { ...options, sizeBytes: 2 ** 22 });
  await file.write(1536, Uint8Array.of(0, 0, 0, 1));
  await assert.rejects(vhd.open(file, { name: 'broken' }), /block 0 lies over its metadata/);
});

/** A parent of zeros and a differencing disk over it. */
async function pair(sizeBytes: number, parentBytes = sizeBytes) {
  const parent = memoryNode(0);
  const child = memoryNode(0);
  await createVhd(parent, { ...options, sizeBytes: parentBytes });
  const named = { filename: 'folder/parent.vhd', uuid: options.uuid, modifiedSeconds: options.nowSeconds };
  await createVhd(child, { ...options, uuid: new Uint8Array(16).fill(2), sizeBytes, parent: named });
  const openParent = () => vhd.open(parent, { name: 'parent' });
  const open = () => vhd.open(child, { name: 'child', resolveBacking: openParent });
  return { parent, child, open, openParent };
}

let disks: Awaited<ReturnType<typeof pair>>;
blockNodeSuite('vhd, differencing', {
  async create(sizeBytes) {
    // An empty parent, so that what the disk does not have is known to be zeros.
    disks = await pair(sizeBytes, 0);
    return disks.open();
  },
  reopen: () => disks.open(),
});

test("vhd: a differencing disk has its own sectors, and the others are its parent's", async () => {
  const { open, openParent } = await pair(2 ** 23);
  const below = await openParent();
  await below.write(0, new Uint8Array(2 ** 20).fill(1));
  await below.close();
  const node = await open();
  assert.deepEqual(node.info.backing, { filename: 'folder/parent.vhd', format: 'vpc' });
  await node.write(700, new Uint8Array(100).fill(2));
  await node.flush();
  const found = new Uint8Array(4096);
  await node.read(0, found);
  assert.deepEqual([found[699], found[700], found[799], found[800], found[4095]], [1, 2, 2, 1, 1]);
  const [first, second, third] = await node.extents(0, 4096);
  assert.deepEqual([first.allocated, second.allocated, third.allocated], [false, true, false]);
  assert.deepEqual([first.length, second.length], [512, 512]);
  assert.equal((await node.check!('none')).corruptions, 0);
});

test('vhd: a parent that is another disk is refused, and so is any where none may be opened', async () => {
  const { child } = await pair(2 ** 22);
  const other = memoryNode(0);
  await createVhd(other, { ...options, uuid: new Uint8Array(16).fill(9), sizeBytes: 2 ** 22 });
  const resolveBacking = () => vhd.open(other, { name: 'other' });
  await assert.rejects(
    vhd.open(child, { name: 'child', resolveBacking }),
    /child: its backing file .* is another disk/,
  );
  await assert.rejects(vhd.open(child, { name: 'child' }), /and none may be opened/);
  await (await vhd.open(child, { name: 'child', withoutBacking: true })).close();
});

test('vhd: sizes that a geometry can tell', () => {
  assert.equal(vhdGeometrySize(0), 0);
  assert.equal(vhdGeometrySize(136 * 65_536), 136 * 65_536);
  for (const size of [1, 5_000_000, 2 ** 30, 2 ** 36 + 1, 2 ** 40]) {
    const told = vhdGeometrySize(size);
    assert.ok(told >= size && told % 512 === 0 && told < size * 1.05 + 2 ** 20, `${size}: ${told}`);
    assert.equal(vhdGeometrySize(told), told);
  }
});

hostileSuite('vhd, differencing', {
  async sound() {
    const { child, open } = await pair(2 ** 23);
    const node = await open();
    await node.write(1000, new Uint8Array(100_000).fill(1));
    await node.close();
    return child;
  },
  open: (file) => vhd.open(file, { name: 'hostile', resolveBacking: async () => memoryNode(2 ** 23) }),
  metadata: () => [
    [0, 84],
    [512 + 8, 512 + 64],
    [512 + 576, 512 + 576 + 48],
    [2048, 2048 + 16],
    [2048, 2048 + 16],
  ],
  mend(bytes) {
    const view = new DataView(bytes.buffer);
    view.setUint32(64, checksumOf(bytes.subarray(0, 512), 64));
    view.setUint32(512 + 36, checksumOf(bytes.subarray(512, 1536), 36));
  },
  littleEndian: false,
  fileMaxBytes: 2 ** 29,
  refusedMin: 60,
});
