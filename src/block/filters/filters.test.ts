/** Each filter under the block node suite, and what is its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode } from '../../contract/index.ts';
import { blockNodeSuite, compare, exercise } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, qcow2 } from '../qcow2/index.ts';
import { fakeClock } from '../testing/fake-clock.ts';
import {
  alignFilter,
  copyBeforeWriteFilter,
  copyOnReadFilter,
  delayFilter,
  detectZeroesFilter,
  faultFilter,
  flatFilter,
  logFilter,
  passThrough,
  throttleFilter,
  windowFilter,
} from './index.ts';

async function overlay(base: BlockNode): Promise<BlockNode> {
  const file = memoryNode(0);
  await createQcow2(file, { sizeBytes: base.sizeBytes, backing: { filename: 'base' } });
  return qcow2.open(file, { name: 'top', resolveBacking: async () => base });
}

/** A disk that takes only whole blocks. */
function wholeBlocks(next: BlockNode, unit: number): BlockNode {
  const check = (offset: number, length: number) => assert.ok(offset % unit === 0 && length % unit === 0);
  return passThrough(next, {
    limits: { alignmentBytes: unit, preferredBytes: unit },
    async read(offset, target) {
      check(offset, target.length);
      await next.read(offset, target);
    },
    async write(offset, source) {
      check(offset, source.length);
      await next.write(offset, source);
    },
    async writeZeroes(offset, length, how) {
      check(offset, length);
      await next.writeZeroes!(offset, length, how);
    },
    async discard(offset, length) {
      check(offset, length);
      await next.discard!(offset, length);
    },
    async extents(offset, length) {
      check(offset, length);
      return next.extents(offset, length);
    },
  });
}

const FILTERS: Readonly<Record<string, (sizeBytes: number) => Promise<BlockNode> | BlockNode>> = {
  window: (size) => windowFilter(memoryNode(size + 12_345), { offsetBytes: 5000, sizeBytes: size }),
  throttle: (size) =>
    throttleFilter(memoryNode(size), {
      clock: fakeClock(),
      limits: { 'bps-total': { perSecond: 1e6 }, 'iops-write': { perSecond: 100 } },
    }),
  log: (size) => logFilter(memoryNode(size), { onLine: () => {} }),
  delay: (size) => delayFilter(memoryNode(size), { clock: fakeClock(), nanos: { read: 1e6, flush: 5e6 } }),
  faults: (size) => faultFilter(memoryNode(size), [{ on: 'read', error: 'io', after: 1e9 }]),
  'zero detection': (size) => detectZeroesFilter(memoryNode(size), { mayUnmap: true }),
  'copy before write': (size) => copyBeforeWriteFilter(memoryNode(size), { target: memoryNode(size) }),
  'copy on read': async (size) => flatFilter(copyOnReadFilter(await overlay(memoryNode(size)))),
  alignment: (size) => alignFilter(wholeBlocks(memoryNode(size), 512)),
  flat: async (size) => flatFilter(await overlay(memoryNode(size))),
};

for (const [name, create] of Object.entries(FILTERS)) {
  blockNodeSuite(`filter: ${name}`, { create: async (size) => create(size) });
}

test('a window shows its part, and must lie inside', async () => {
  const node = memoryNode(1000);
  await node.write(100, Uint8Array.of(1, 2, 3));
  const window = windowFilter(node, { offsetBytes: 100, sizeBytes: 2 });
  const found = new Uint8Array(2);
  await window.read(0, found);
  assert.deepEqual([...found], [1, 2]);
  assert.throws(() => windowFilter(node, { offsetBytes: 900, sizeBytes: 101 }), /does not lie inside/);
});

test('a throttle takes the time that its limit says', async () => {
  const clock = fakeClock();
  const node = throttleFilter(memoryNode(2 ** 20), { clock, limits: { 'bps-write': { perSecond: 1e6, burst: 0 } } });
  for (let i = 0; i < 20; i += 1) await node.write(0, new Uint8Array(100_000));
  await node.read(0, new Uint8Array(1e6));
  assert.ok(clock.elapsedNanos >= 1.9e9 && clock.elapsedNanos < 2.1e9, String(clock.elapsedNanos));
});

test('a burst goes through at once', async () => {
  const clock = fakeClock();
  const node = throttleFilter(memoryNode(1000), { clock, limits: { 'iops-total': { perSecond: 10, burst: 50 } } });
  for (let i = 0; i < 50; i += 1) await node.write(0, new Uint8Array(1));
  assert.equal(clock.elapsedNanos, 0);
});

test('faults come where and when they were asked for', async () => {
  const node = faultFilter(memoryNode(1000), [
    { on: 'write', error: 'no-space', range: { offset: 500, length: 10 }, after: 1, times: 2 },
  ]);
  const write = (offset: number) => node.write(offset, new Uint8Array(5));
  await write(0);
  await write(500);
  await assert.rejects(write(505), { code: 'no-space' });
  await assert.rejects(write(498), { code: 'no-space' });
  await write(500);
});

test('a log has a line for each request', async () => {
  const lines: string[] = [];
  const node = logFilter(memoryNode(1000), { onLine: (line) => lines.push(line) });
  await node.write(1, new Uint8Array(2));
  await node.flush();
  await assert.rejects(node.read(999, new Uint8Array(2)));
  assert.deepEqual(lines.slice(0, 2), ['1 write 1 2', '2 flush 0 0']);
  assert.match(lines[2], /^3 read 999 2 failed: /);
});

test('copy on read leaves in the image what was read, and no more', async () => {
  const base = memoryNode(4 * 65536);
  await base.write(0, new Uint8Array(4 * 65536).fill(1));
  const top = await overlay(base);
  const node = copyOnReadFilter(top);
  await node.read(65536 + 100, new Uint8Array(10));
  const allocated = [];
  for (const { offset, length, allocated: isThere } of await top.extents(0, 4 * 65536)) {
    if (isThere) allocated.push([offset, length]);
  }
  assert.deepEqual(allocated, [[65536, 65536]]);
});

test('copy before write keeps the old content in its target', async () => {
  const size = 500_000;
  const node = memoryNode(size);
  const before = randomFrom(3).bytes(size);
  await node.write(0, before);
  const target = memoryNode(size);
  const model = before.slice();
  const filter = copyBeforeWriteFilter(node, { target });
  await exercise(filter, model, 4, 60);
  await compare(node, model);
  const kept = new Uint8Array(size);
  await node.read(0, kept);
  for (const { offset, length, zero } of await target.extents(0, size)) {
    if (!zero) await target.read(offset, kept.subarray(offset, offset + length));
  }
  assert.ok(Buffer.from(kept).equals(before));
});
