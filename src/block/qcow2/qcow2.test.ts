import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { blockNodeSuite, compare, exercise } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { openFileNode } from '../../host/node/index.ts';
import { logFilter } from '../filters/index.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, type Qcow2CreateOptions, qcow2 } from './index.ts';

const VARIANTS: Readonly<Record<string, Omit<Qcow2CreateOptions, 'sizeBytes'>>> = {
  'version 3': {},
  'version 2': { version: 2 },
  'clusters of 512 bytes': { clusterBytes: 512 },
  'clusters of 2 MiB': { clusterBytes: 2 ** 21 },
  'counts of 1 bit': { clusterBytes: 4096, refcountBits: 1 },
  'counts of 64 bits': { clusterBytes: 1024, refcountBits: 64 },
  'extended L2 entries': { extendedL2: true },
};

for (const [name, variant] of Object.entries(VARIANTS)) {
  let file = memoryNode(0);
  blockNodeSuite(`qcow2, ${name}`, {
    async create(sizeBytes) {
      file = memoryNode(0);
      await createQcow2(file, { ...variant, sizeBytes });
      return qcow2.open(file, { name: 'test' });
    },
    reopen: () => qcow2.open(file, { name: 'test' }),
  });
}

// Files do small requests within the call, and so do images in them.
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const IN_FILES = [
  ['cached', { clusterBytes: 4096 }],
  ['mixed', { clusterBytes: 16_384, extendedL2: true }],
] as const;

for (const [io, variant] of IN_FILES) {
  const path = join(folder, io);
  const open = () => qcow2.open(openFileNode(path, { io }), { name: 'test' });
  blockNodeSuite(`qcow2 in a file, ${io}, ${JSON.stringify(variant)}`, {
    async create(sizeBytes) {
      const file = openFileNode(path, { create: true });
      await createQcow2(file, { ...variant, sizeBytes });
      await file.close();
      return open();
    },
    reopen: open,
  });
}

for (const io of ['cached', 'mixed'] as const) {
  test(`what lies on a backing file is read and written as a plain array is: ${io}`, async () => {
    const [path, below] = [join(folder, `top-${io}`), join(folder, `below-${io}`)];
    const model = new Uint8Array(2 ** 20);
    model.set(randomFrom(1).bytes(500_000));
    // Shorter than what stands on it, and its end in the middle of a cluster.
    writeFileSync(below, model.subarray(0, 500_000));
    const file = openFileNode(path, { create: true });
    await createQcow2(file, { sizeBytes: model.length, clusterBytes: 8192, backing: { filename: below } });
    await file.close();
    for (const seed of [1, 2]) {
      const node = await qcow2.open(openFileNode(path, { io }), {
        name: 'test',
        resolveBacking: async ({ filename }) => openFileNode(filename, { io, readOnly: true }),
      });
      await exercise(node, model, seed);
      await compare(node, model);
      await node.close();
    }
  });
}

/** What is read of the file until the disk's first cluster is there. */
async function readsToBegin(sizeBytes: number): Promise<{ requests: number; bytes: number }> {
  const file = memoryNode(0, { maxBytes: 2 ** 41 });
  await createQcow2(file, { sizeBytes });
  const full = await qcow2.open(file, { name: 'test' });
  await full.write(0, new Uint8Array(65_536).fill(1));
  await full.write(sizeBytes - 65_536, new Uint8Array(65_536).fill(2));
  await full.close();
  const lengths: number[] = [];
  const logged = logFilter(file, { onLine: (line) => lengths.push(Number(/^\d+ read \d+ (\d+)/.exec(line)?.[1])) });
  const node = await qcow2.open(logged, { name: 'test', readOnly: true });
  const first = new Uint8Array(65_536);
  await node.read(0, first);
  assert.ok(first.every((byte) => byte === 1));
  await node.close();
  return { requests: lengths.length, bytes: lengths.reduce((sum, length) => sum + length, 0) };
}

test('a disk of 1 TiB opens with the requests of one of 1 GiB, and reads no more but its L1 table', async () => {
  const [small, large] = [await readsToBegin(2 ** 30), await readsToBegin(2 ** 40)];
  assert.ok(small.requests > 0);
  assert.equal(large.requests, small.requests);
  const l1Bytes = (sizeBytes: number) => (sizeBytes / 2 ** 29) * 8;
  assert.equal(large.bytes - small.bytes, l1Bytes(2 ** 40) - l1Bytes(2 ** 30));
});
