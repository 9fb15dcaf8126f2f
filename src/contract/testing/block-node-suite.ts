/** What every block node must do; each implementation runs it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../index.ts';
import { randomFrom } from './random.ts';

export interface BlockNodeFixture {
  /** A fresh node of `sizeBytes` zeros. */
  readonly create: (sizeBytes: number) => Promise<BlockNode>;
  /** Opens again what `create` made last, after its `close`; absent where nothing outlives the node. */
  readonly reopen?: () => Promise<BlockNode>;
}

const SIZE = 3 * 1024 * 1024 + 512;

export function blockNodeSuite(name: string, fixture: BlockNodeFixture): void {
  const within = (title: string, body: (node: BlockNode) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const node = await fixture.create(SIZE);
      try {
        await body(node);
      } finally {
        await node.close();
      }
    });

  within('is zeros at first, and says so', async (node) => {
    assert.equal(node.sizeBytes, SIZE);
    const target = new Uint8Array(1000).fill(7);
    await node.read(1_000_000, target);
    assert.deepEqual(target, new Uint8Array(1000));
    for (const extent of await extentsOf(node)) assert.equal(extent.zero || extent.data, true);
  });

  within('refuses requests outside its size', async (node) => {
    const outside = { code: 'out-of-range' };
    await assert.rejects(node.read(SIZE - 10, new Uint8Array(11)), outside);
    await assert.rejects(node.read(-1, new Uint8Array(1)), outside);
    await assert.rejects(node.read(0.5, new Uint8Array(1)), outside);
    if (node.resize === undefined) await assert.rejects(node.write(SIZE, new Uint8Array(1)), outside);
    await assert.rejects(node.extents(SIZE - 10, 11), outside);
  });

  within('keeps what random requests leave, as a plain array does', async (node) => {
    const model = new Uint8Array(SIZE);
    await exercise(node, model, 1);
    await compare(node, model);
    await checkExtents(node, model);
  });

  within('what it does within the call is what it does otherwise', async (node) => {
    const { immediate } = node;
    if (immediate === undefined) return;
    const model = new Uint8Array(SIZE);
    const random = randomFrom(9);
    for (let i = 0; i < 200; i += 1) {
      const offset = random.next(SIZE);
      const length = Math.min(random.next(20_000), SIZE - offset);
      const cut = random.next(length + 1);
      const bytes = random.bytes(length);
      if (i % 2 === 0) {
        if (!immediate.write(offset, [bytes.subarray(0, cut), bytes.subarray(cut)])) await node.write(offset, bytes);
        model.set(bytes, offset);
      } else if (immediate.read(offset, [bytes.subarray(0, cut), bytes.subarray(cut)])) {
        assert.ok(Buffer.from(bytes).equals(model.subarray(offset, offset + length)), `${length} bytes at ${offset}`);
      }
    }
    await compare(node, model);
    const content = await contentOf(node);
    for (const offset of [-1, 0.5, SIZE - 1, SIZE, Number.NaN]) {
      assert.equal(immediate.read(offset, [new Uint8Array(2)]), false);
      assert.equal(immediate.write(offset, [new Uint8Array(2)]), false);
    }
    assert.ok(Buffer.from(await contentOf(node)).equals(content));
  });

  within('takes many requests at once', async (node) => {
    const model = new Uint8Array(SIZE);
    const random = randomFrom(5);
    const length = 24 * 1024;
    const writes = Array.from({ length: Math.floor(SIZE / length) }, async (_, i) => {
      const bytes = random.bytes(length - 512);
      model.set(bytes, i * length);
      await node.write(i * length, bytes);
    });
    await Promise.all(writes);
    await compare(node, model);
  });

  within('can change its size where it offers to', async (node) => {
    if (node.resize === undefined) return;
    await node.write(SIZE - 512, new Uint8Array(512).fill(1));
    await node.resize(SIZE * 2);
    assert.equal(node.sizeBytes, SIZE * 2);
    const target = new Uint8Array(1024);
    await node.read(SIZE - 512, target);
    assert.deepEqual(
      target,
      Uint8Array.from({ length: 1024 }, (_, i) => (i < 512 ? 1 : 0)),
    );
  });

  const { reopen } = fixture;
  if (reopen !== undefined) {
    test(`${name}: keeps its content over closing`, async () => {
      const model = new Uint8Array(SIZE);
      for (let round = 0; round < 3; round += 1) {
        const node = round === 0 ? await fixture.create(SIZE) : await reopen();
        await compare(node, model);
        await exercise(node, model, 10 + round);
        await node.close();
      }
      const node = await reopen();
      await compare(node, model);
      await node.close();
    });
  }
}

/** Random requests on a node and a model of its content alike. */
export async function exercise(node: BlockNode, model: Uint8Array, seed: number, requests = 150): Promise<void> {
  const random = randomFrom(seed);
  for (let i = 0; i < requests; i += 1) {
    const offset = random.next(model.length);
    const length = Math.min(random.next(i % 8 === 0 ? 400_000 : 9000), model.length - offset);
    const kind = random.next(10);
    if (kind < 6) {
      const bytes = random.bytes(length);
      await node.write(offset, bytes);
      model.set(bytes, offset);
    } else if (kind === 6 && node.writeZeroes !== undefined) {
      await node.writeZeroes(offset, length, { mayUnmap: random.next(2) === 1 });
      model.fill(0, offset, offset + length);
    } else if (kind === 7 && node.discard !== undefined) {
      await node.discard(offset, length);
      // A discarded range may keep its content; from here on it must not change.
      await node.read(offset, model.subarray(offset, offset + length));
    } else if (kind === 8) {
      await node.flush();
    } else {
      const target = new Uint8Array(length);
      await node.read(offset, target);
      assert.ok(Buffer.from(target).equals(model.subarray(offset, offset + length)), `read ${length} at ${offset}`);
    }
  }
}

async function contentOf(node: BlockNode): Promise<Uint8Array> {
  const content = new Uint8Array(node.sizeBytes);
  await node.read(0, content);
  return content;
}

export async function compare(node: BlockNode, model: Uint8Array): Promise<void> {
  const content = new Uint8Array(model.length);
  await node.read(0, content);
  const difference = Buffer.from(content).equals(model) ? -1 : content.findIndex((byte, i) => byte !== model[i]);
  assert.equal(difference, -1, `content differs first at ${difference}`);
}

export async function extentsOf(node: BlockNode) {
  const extents = [];
  for (let offset = 0; offset < node.sizeBytes; ) {
    const found = await node.extents(offset, node.sizeBytes - offset);
    assert.ok(found.length > 0);
    for (const extent of found) {
      assert.equal(extent.offset, offset);
      assert.ok(extent.length > 0);
      offset += extent.length;
      extents.push(extent);
    }
  }
  assert.equal(
    extents.reduce((sum, { length }) => sum + length, 0),
    node.sizeBytes,
  );
  return extents;
}

async function checkExtents(node: BlockNode, model: Uint8Array): Promise<void> {
  for (const { offset, length, zero } of await extentsOf(node)) {
    if (zero) assert.ok(!model.subarray(offset, offset + length).some((byte) => byte !== 0), `zero at ${offset}`);
  }
}
