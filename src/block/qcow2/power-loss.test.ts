/**
 * The power goes at any request: what was flushed must be there, byte for byte, snapshots too, and the tables sound.
 * Every barrier of `commit` and of its like is needed for that: without any one of them a test here fails.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import type { ImageNode } from '../format.ts';
import { type Loss, powerLossFile } from '../testing/power-loss.ts';
import { createQcow2, type Qcow2CreateOptions, qcow2 } from './index.ts';

interface Variant extends Omit<Qcow2CreateOptions, 'sizeBytes'> {
  readonly sizeBytes: number;
  /** Most requests until the power goes. */
  readonly requests: number;
}

const VARIANTS: readonly Variant[] = [
  { sizeBytes: 512 * 1024, clusterBytes: 512, requests: 60 },
  { sizeBytes: 2 ** 20, clusterBytes: 512, refcountBits: 64, requests: 400 },
  { sizeBytes: 512 * 1024, clusterBytes: 4096, requests: 40 },
  { sizeBytes: 512 * 1024, clusterBytes: 16384, extendedL2: true, requests: 40 },
  { sizeBytes: 512 * 1024, clusterBytes: 4096, lazyRefcounts: true, requests: 40 },
];
/** More rounds: VIREO_POWER_LOSSES=1000 node --test src/block/qcow2/power-loss.test.ts */
const CRASHES = Number(process.env.VIREO_POWER_LOSSES ?? 20);
const SNAPSHOTS_MAX = 3;

/** What the disk and its snapshots must hold. */
interface Model {
  readonly bytes: Uint8Array;
  /** 1 where a byte changed after the last flush: it may be either. */
  readonly unsure: Uint8Array;
  readonly snapshots: Map<string, Uint8Array>;
  /** A snapshot that is being made or removed. */
  unsureSnapshot?: string;
}

async function contentOf(node: ImageNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.sizeBytes);
  await node.read(0, bytes);
  return bytes;
}

/** One to four requests at once; the ranges may overlap. */
async function change(node: ImageNode, model: Model, random: Random): Promise<void> {
  const ranges: { offset: number; length: number }[] = [];
  const requests = Array.from({ length: 1 + random.next(4) }, () => {
    const offset = random.next(model.bytes.length);
    const kind = random.next(10);
    // Beside others, a flush promises nothing of them.
    if (kind === 9) return node.flush();
    const length = Math.min(model.bytes.length - offset, 1 + random.next(kind < 6 ? 12_000 : 20_000));
    ranges.push({ offset, length });
    model.unsure.fill(1, offset, offset + length);
    if (kind < 6) return node.write(offset, random.bytes(length));
    return kind === 6 ? node.discard!(offset, length) : node.writeZeroes!(offset, length, { mayUnmap: kind === 7 });
  });
  const outcomes = await Promise.allSettled(requests);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  for (const { offset, length } of ranges) await node.read(offset, model.bytes.subarray(offset, offset + length));
}

async function changeSnapshots(node: ImageNode, model: Model, random: Random): Promise<void> {
  const names = [...model.snapshots.keys()];
  if (names.length < SNAPSHOTS_MAX && random.next(2) === 0) {
    const name = `s${random.next(1_000_000)}`;
    model.unsureSnapshot = name;
    model.snapshots.set(name, model.bytes.slice());
    await node.snapshots!.create({ name, dateSeconds: 0, dateNanos: 0 });
    // A snapshot is a flush too.
    model.unsure.fill(0);
  } else if (names.length > 0) {
    const name = names[random.next(names.length)];
    model.unsureSnapshot = name;
    await node.snapshots!.delete(name);
    model.snapshots.delete(name);
  }
  delete model.unsureSnapshot;
}

async function changeForEver(node: ImageNode, model: Model, random: Random): Promise<never> {
  for (;;) {
    const kind = random.next(12);
    if (kind < 8) await change(node, model, random);
    else if (kind < 10) {
      await node.flush();
      model.unsure.fill(0);
    } else await changeSnapshots(node, model, random);
  }
}

/** Holds what is there after the power went against the model, and takes what may be either into it. */
async function compare(node: ImageNode, model: Model, what: string): Promise<void> {
  const content = await contentOf(node);
  const lost = content.findIndex((byte, i) => byte !== model.bytes[i] && model.unsure[i] === 0);
  assert.equal(lost, -1, `${what}: the byte at ${lost} was flushed and is not there`);
  model.bytes.set(content);
  model.unsure.fill(0);
}

/**
 * Leaks are all that may be wrong, and "copied" flags that lag behind the counts in the middle of making or removing
 * a snapshot; once the leaks are gone, such a flag can only be missing, which costs a copy and no more.
 */
async function assertSound(node: ImageNode, isLazy: boolean, what: string): Promise<void> {
  const first = await node.check!('none');
  const faults = first.messages.filter((text) => /^ERROR (?!OFLAG_COPIED)/.test(text));
  if (!isLazy) assert.deepEqual(faults, [], what);
  assert.equal(first.checkErrors, 0, what);
  const second = await node.check!(isLazy ? 'all' : 'leaks');
  const rest = second.messages.filter((text) => /^ERROR (?!OFLAG_COPIED .* refcount=1$)/.test(text));
  assert.deepEqual(isLazy ? [] : rest, [], what);
  await node.check!('all');
  const last = await node.check!('none');
  assert.deepEqual([last.leaks, last.corruptions, last.checkErrors], [0, 0, 0], what);
}

for (const { requests, ...variant } of VARIANTS) {
  test(`the power goes again and again: ${JSON.stringify(variant)}`, async () => {
    const random = randomFrom(7);
    const file = powerLossFile();
    await createQcow2(file.node, variant);
    const { sizeBytes } = variant;
    const model: Model = {
      bytes: new Uint8Array(sizeBytes),
      unsure: new Uint8Array(sizeBytes),
      snapshots: new Map(),
    };
    for (let crash = 0; crash < CRASHES; crash += 1) {
      const what = `crash ${crash}`;
      const node = await qcow2.open(file.node, { name: 'image', forCheck: true });
      if (random.next(2) === 0) file.failAfter(random.next(requests));
      else file.failAtFlush(random.next(6));
      await assert.rejects(changeForEver(node, model, random), /the power is gone/, what);
      await file.lose(random, random.next(2) === 0 ? 'sectors' : 'all but the last');

      const again = await qcow2.open(file.node, { name: 'image', forCheck: true });
      await assertSound(again, variant.lazyRefcounts === true, what);
      await compare(again, model, what);
      const there = again.snapshots!.list().map(({ name }) => name);
      const { unsureSnapshot } = model;
      if (unsureSnapshot !== undefined && !there.includes(unsureSnapshot)) model.snapshots.delete(unsureSnapshot);
      delete model.unsureSnapshot;
      assert.deepEqual(there.toSorted(), [...model.snapshots.keys()].toSorted(), what);
      await again.close();
      for (const [name, bytes] of model.snapshots) {
        const old = await qcow2.open(file.node, { name: 'image', readOnly: true, snapshot: name });
        assert.ok(Buffer.from(await contentOf(old)).equals(bytes), `${what}: snapshot ${name} changed`);
      }
    }
  });
}

/** What is done to an image in which everything is flushed, while the power goes. */
interface Scenario {
  readonly options: Qcow2CreateOptions;
  readonly prepare: (node: ImageNode) => Promise<void>;
  /** Ends with a flush. The disk must not change but for what `after` says. */
  readonly act: (node: ImageNode) => Promise<void>;
  /** What else the disk may read as, once the act has begun. */
  readonly after?: (before: Uint8Array) => Uint8Array;
}

const CLUSTER = 512;
const PLAIN = { sizeBytes: 256 * 1024, clusterBytes: CLUSTER };
const snapshotRequest = { name: 'old', dateSeconds: 0, dateNanos: 0 };

/** Leaves clusters behind that are free and full of noise, so that a table that is not written shows. */
async function leaveNoise(node: ImageNode, from: number, length: number): Promise<void> {
  await node.write(from, randomFrom(3).bytes(length));
  await node.flush();
  await node.discard!(from, length);
  for (let i = 0; i < 3; i += 1) await node.flush();
}

function filled(before: Uint8Array, offset: number, length: number, value: number): Uint8Array {
  const after = before.slice();
  after.fill(value, offset, offset + length);
  return after;
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'a new L2 table': {
    options: PLAIN,
    prepare: async (node) => {
      await node.write(0, new Uint8Array(8192).fill(1));
      await leaveNoise(node, 65_536, 32_768);
    },
    act: (node) => node.write(131_072, new Uint8Array(8192).fill(2)),
    after: (before) => filled(before, 131_072, 8192, 2),
  },
  'an L2 table that a snapshot shares': {
    options: PLAIN,
    prepare: async (node) => {
      await node.write(0, randomFrom(5).bytes(60_000));
      await leaveNoise(node, 65_536, 32_768);
      await node.snapshots!.create(snapshotRequest);
    },
    act: (node) => node.write(512, new Uint8Array(512).fill(2)),
    after: (before) => filled(before, 512, 512, 2),
  },
  'a new refcount block': {
    options: { ...PLAIN, refcountBits: 64 },
    prepare: async (node) => {
      await leaveNoise(node, 0, 32_768);
    },
    act: (node) => node.write(65_536, new Uint8Array(65_536).fill(2)),
    after: (before) => filled(before, 65_536, 65_536, 2),
  },
  'a larger refcount table': {
    options: { sizeBytes: 2 ** 21 + 2 ** 18, clusterBytes: CLUSTER, refcountBits: 64 },
    prepare: async (node) => {
      await node.write(0, new Uint8Array(1_990_000).fill(1));
    },
    act: (node) => node.write(2 ** 21, new Uint8Array(131_072).fill(2)),
    after: (before) => filled(before, 2 ** 21, 131_072, 2),
  },
  'back to a snapshot': {
    options: PLAIN,
    prepare: async (node) => {
      await node.write(0, new Uint8Array(100_000).fill(1));
      await node.snapshots!.create(snapshotRequest);
      await leaveNoise(node, 131_072, 65_536);
      await node.write(50_000, new Uint8Array(100_000).fill(2));
    },
    act: (node) => node.snapshots!.apply('old'),
    after: (before) => filled(filled(before, 0, before.length, 0), 0, 100_000, 1),
  },
  'a larger disk': {
    options: PLAIN,
    prepare: async (node) => {
      await node.write(0, new Uint8Array(200_000).fill(1));
      await leaveNoise(node, 202_000, 40_000);
    },
    act: (node) => node.resize!(16 * 2 ** 20),
  },
};

for (const [name, { options, prepare, act, after }] of Object.entries(SCENARIOS)) {
  test(`the power goes at each flush: ${name}`, async () => {
    for (let round = 0, isOver = false; !isOver; round += 1) {
      const loss: Loss = round % 2 === 0 ? 'all but the last' : 'sectors';
      const what = `flush ${round >> 1}, ${loss}`;
      const file = powerLossFile();
      await createQcow2(file.node, options);
      const node = await qcow2.open(file.node, { name: 'image' });
      await prepare(node);
      for (let i = 0; i < 3; i += 1) await node.flush();
      const before = await contentOf(node);
      file.failAtFlush(round >> 1);
      try {
        await act(node);
        await node.flush();
        isOver = loss === 'sectors';
      } catch (error) {
        assert.match(String(error), /the power is gone/);
      }
      await file.lose(randomFrom(round + 1), loss);

      const again = await qcow2.open(file.node, { name: 'image', forCheck: true });
      await assertSound(again, false, what);
      const content = (await contentOf(again)).subarray(0, before.length);
      const allowed = after?.(before) ?? before;
      const bad = content.findIndex((byte, i) => byte !== before[i] && byte !== allowed[i]);
      assert.equal(bad, -1, `${what}: the byte at ${bad} is neither the old one nor the new one`);
    }
  });
}
