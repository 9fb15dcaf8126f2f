/** LUKS and the encryption of qcow2 images: the block node suite, wrong secrets, bad headers, what the bytes on disk are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { nodeCrypto } from '../../host/node/index.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, type Qcow2CreateOptions, qcow2 } from '../qcow2/index.ts';
import { createLuks, type LuksOptions, luks } from './index.ts';
import { mergeKey, splitKey } from './keys.ts';

const secret = Buffer.from('open sesame');
const base: LuksOptions = { secret, crypto: nodeCrypto, iterationMillis: 1 };
const openOptions = { name: 'test', crypto: nodeCrypto, secret };

const VARIANTS: Readonly<Record<string, Partial<LuksOptions>>> = {
  'aes-256-xts-plain64': {},
  'aes-128-cbc-essiv': { keyBits: 128, cipher: { mode: 'cbc', ivGenerator: 'essiv', ivHash: 'sha256' } },
  'aes-192-cbc-plain, sha1': { keyBits: 192, hash: 'sha1', cipher: { mode: 'cbc', ivGenerator: 'plain' } },
};

/** A volume reads as noise where nothing was written, so that its zeros are written first. */
async function zeroedLuks(file: BlockNode, sizeBytes: number, variant: Partial<LuksOptions>): Promise<BlockNode> {
  await createLuks(file, 0, { ...base, ...variant });
  const node = await luks.open(file, openOptions);
  await node.resize!(sizeBytes);
  return node;
}

for (const [name, variant] of Object.entries(VARIANTS)) {
  let file = memoryNode(0);
  const suiteName = `luks, ${name}`;
  if (name !== 'aes-256-xts-plain64') {
    test(`${suiteName}: content is there again after closing`, async () => {
      const node = await zeroedLuks(file, 100_000, variant);
      const bytes = randomFrom(1).bytes(40_000);
      await node.write(777, bytes);
      await node.close();
      const found = new Uint8Array(40_000);
      await (await luks.open(file, openOptions)).read(777, found);
      assert.ok(Buffer.from(found).equals(bytes));
    });
    continue;
  }
  blockNodeSuite(suiteName, {
    create(sizeBytes) {
      file = memoryNode(0);
      return zeroedLuks(file, sizeBytes, variant);
    },
    reopen: () => luks.open(file, openOptions),
  });
}

const QCOW2: Readonly<Record<string, Partial<Qcow2CreateOptions>>> = {
  'LUKS, small clusters': { encryption: { format: 'luks', ...base }, clusterBytes: 4096 },
  'AES, version 2': { encryption: { format: 'aes' }, version: 2 },
};

for (const [name, options] of Object.entries(QCOW2)) {
  let file = memoryNode(0);
  blockNodeSuite(`qcow2 with ${name}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createQcow2(file, { sizeBytes, ...options });
      return qcow2.open(file, openOptions);
    },
    reopen: () => qcow2.open(file, openOptions),
  });
}

test('nothing of the content is in the file as it is', async () => {
  const clear = new Uint8Array(65536).fill(0x41);
  for (const make of [
    async (file: BlockNode) => zeroedLuks(file, 2 ** 20, {}),
    async (file: BlockNode) => {
      await createQcow2(file, { sizeBytes: 2 ** 20, encryption: { format: 'luks', ...base } });
      return qcow2.open(file, openOptions);
    },
  ]) {
    const file = memoryNode(0);
    const node = await make(file);
    await node.write(0, clear);
    await node.write(65536 + 100, clear.subarray(0, 50));
    await node.flush();
    const bytes = new Uint8Array(file.sizeBytes);
    await file.read(0, bytes);
    assert.equal(Buffer.from(bytes).includes(Buffer.alloc(16, 0x41)), false);
  }
});

test('a qcow2 with LUKS is whole when it is checked', async () => {
  const file = memoryNode(0);
  await createQcow2(file, { sizeBytes: 2 ** 22, encryption: { format: 'luks', ...base } });
  const node = await qcow2.open(file, openOptions);
  await node.write(12_345, randomFrom(2).bytes(500_000));
  const { corruptions, leaks, checkErrors } = await node.check!('none');
  assert.deepEqual({ corruptions, leaks, checkErrors }, { corruptions: 0, leaks: 0, checkErrors: 0 });
});

test('a wrong or a missing secret is named', async () => {
  const file = memoryNode(0);
  await createQcow2(file, { sizeBytes: 2 ** 20, encryption: { format: 'luks', ...base } });
  await assert.rejects(qcow2.open(file, { ...openOptions, secret: Buffer.from('x') }), /Invalid password/);
  const locked = await qcow2.open(file, { name: 'test' });
  assert.equal(locked.info.encrypted, true);
  await assert.rejects(locked.write(0, new Uint8Array(512)), /parameter 'encrypt.key-secret' is required/);
  const volume = memoryNode(0);
  await zeroedLuks(volume, 1000, {});
  await assert.rejects(luks.open(volume, { ...openOptions, secret: Buffer.from('x') }), /Invalid password/);
  await assert.rejects((await luks.open(volume, { name: 'v' })).read(0, new Uint8Array(1)), /parameter 'key-secret'/);
});

test('a split key comes together again, and not without any of its parts', () => {
  const key = randomFrom(4).bytes(64);
  const material = splitKey(nodeCrypto, 'sha256', key, 50);
  assert.deepEqual(mergeKey(nodeCrypto, 'sha256', material, 50), new Uint8Array(key));
  for (const at of [0, 1000, material.length - 1]) {
    const damaged = material.slice();
    damaged[at] ^= 1;
    assert.notDeepEqual(mergeKey(nodeCrypto, 'sha256', damaged, 50), new Uint8Array(key));
  }
});

test('an image cannot ask for hours of work, and none is made that does', async () => {
  const file = memoryNode(0);
  await zeroedLuks(file, 4096, {});
  for (const [place, what] of [
    [164, /its key digest has 268435457 iterations/],
    [212, /key slot 0 has 4000 stripes and 268435457 iterations/],
  ] as const) {
    const head = new Uint8Array(592);
    await file.read(0, head);
    const changed = head.slice();
    new DataView(changed.buffer).setUint32(place, 2 ** 28 + 1);
    await file.write(0, changed);
    await assert.rejects(luks.open(file, openOptions), what);
    await file.write(0, head);
  }
  const tooLong = zeroedLuks(memoryNode(0), 4096, { iterationMillis: 1e12 });
  await assert.rejects(tooLong, /iter-time must be at most \d+ milliseconds on this machine/);
});

test('hostile headers are refused with a reason', async () => {
  const file = memoryNode(0);
  await zeroedLuks(file, 4096, {});
  const head = new Uint8Array(592);
  await file.read(0, head);
  const random = randomFrom(6);
  let refusals = 0;
  for (let round = 0; round < 100; round += 1) {
    const changed = head.slice();
    for (let i = 0; i < 1 + random.next(3); i += 1) changed[random.next(592)] = random.next(256);
    // Counts of iterations are honoured as far as minutes: keep them small here.
    new DataView(changed.buffer).setUint32(164, 1000);
    for (let slot = 0; slot < 8; slot += 1)
      new DataView(changed.buffer).setUint32(208 + slot * 48 + 4, slot === 0 ? 1000 : 0);
    const damaged = memoryNode(0);
    await damaged.write(0, changed);
    await damaged.resize!(file.sizeBytes);
    await luks.open(damaged, openOptions).catch((error: Error) => {
      assert.equal(error.name, 'UserError');
      refusals += 1;
    });
  }
  assert.ok(refusals > 60, `${refusals} of 100 were refused`);
});
