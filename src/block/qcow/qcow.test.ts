import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import type { OpenOptions, SectorCipher } from '../format.ts';
import { memoryNode } from '../memory.ts';
import { testCompression } from '../testing/compression.ts';
import { hostileSuite } from '../testing/hostile.ts';
import { createQcow, type QcowCreateOptions, qcow } from './index.ts';

/** No encryption to speak of, but it depends on the sector as a real one does. */
const cipher: SectorCipher = {
  encrypt(sector, bytes) {
    assert.equal(bytes.length % 512, 0);
    for (let i = 0; i < bytes.length; i += 1) bytes[i] ^= (sector + Math.floor(i / 512)) * 7 + i;
  },
  decrypt: (sector, bytes) => cipher.encrypt(sector, bytes),
};

const VARIANTS: readonly Omit<QcowCreateOptions, 'sizeBytes'>[] = [
  {},
  { backingFile: 'zeros' },
  { isEncrypted: true },
  { isEncrypted: true, backingFile: 'zeros' },
];

for (const variant of VARIANTS) {
  let file = memoryNode(0);
  // The backing file has ended, so all that the image does not have is zeros.
  const how: OpenOptions = {
    name: 'test',
    compression: testCompression,
    resolveBacking: async () => memoryNode(0),
    ...(variant.isEncrypted ? { cipher } : {}),
  };
  blockNodeSuite(`qcow, ${JSON.stringify(variant)}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createQcow(file, { ...variant, sizeBytes });
      return qcow.open(file, how);
    },
    reopen: () => qcow.open(file, how),
  });
}

async function contentOf(file: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.sizeBytes);
  await file.read(0, bytes);
  return bytes;
}

test('qcow: nothing of an encrypted disk is in the file as it is, and without a key nothing is read or written', async () => {
  const file = memoryNode(0);
  await createQcow(file, { sizeBytes: 2 ** 20, isEncrypted: true });
  const node = await qcow.open(file, { name: 'secret', cipher });
  await node.write(5000, new TextEncoder().encode('attack at dawn'));
  await node.close();
  const locked = await qcow.open(file, { name: 'secret' });
  assert.equal(locked.info.encrypted, true);
  const message = /secret: its disk is encrypted \(AES\): parameter 'encrypt.key-secret' is required/;
  await assert.rejects(locked.read(5000, new Uint8Array(1)), message);
  const before = await contentOf(file);
  await assert.rejects(locked.write(5000, new Uint8Array(1)), message);
  await assert.rejects(locked.write(100_000, new Uint8Array(5000)), message);
  await locked.close();
  assert.deepEqual(await contentOf(file), before);
  assert.doesNotMatch(new TextDecoder('latin1').decode(await contentOf(file)), /attack/);
});

test('qcow: compressed clusters are read, and written over', async () => {
  const file = memoryNode(0);
  await createQcow(file, { sizeBytes: 16 * 4096 });
  const node = await qcow.open(file, { name: 'packed', compression: testCompression });
  const random = randomFrom(1).bytes(4096);
  await Promise.all([
    node.writeCompressed!(0, new Uint8Array(4096).fill(1)),
    node.writeCompressed!(4096, random),
    node.writeCompressed!(8192, new Uint8Array(4096).fill(3)),
  ]);
  await node.write(100, new Uint8Array(10).fill(9));
  await node.close();
  assert.ok(file.sizeBytes < 6 * 4096);
  const again = await qcow.open(file, { name: 'packed', compression: testCompression });
  const found = new Uint8Array(3 * 4096);
  await again.read(0, found);
  assert.deepEqual([found[99], found[100], found[109], found[110]], [1, 9, 9, 1]);
  assert.deepEqual(found.subarray(4096, 8192), random);
  assert.equal(found[8192 + 4095], 3);
  assert.equal((await again.check!('none')).corruptions, 0);
});

hostileSuite('qcow', {
  async sound() {
    const file = memoryNode(0);
    await createQcow(file, { sizeBytes: 2 ** 22, backingFile: 'zeros' });
    const node = await qcow.open(file, {
      name: 'sound',
      resolveBacking: async () => memoryNode(0),
      compression: testCompression,
    });
    await node.write(10_000, new Uint8Array(200_000).fill(1));
    await node.writeCompressed!(2 ** 21, new Uint8Array(512).fill(1));
    await node.close();
    return file;
  },
  open: (file) =>
    qcow.open(file, { name: 'hostile', resolveBacking: async () => memoryNode(0), compression: testCompression }),
  metadata: (bytes) => [
    [0, 48],
    [56, 72],
    // The first L2 table.
    [bytes.length - 32_768 - 400, bytes.length - 32_768],
    [56, 72],
  ],
  littleEndian: false,
  fileMaxBytes: 2 ** 24,
  rounds: 60,
  refusedMin: 20,
});
