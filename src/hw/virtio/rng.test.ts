import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioRng } from './rng.ts';
import { rig } from './testing/rig.ts';

function setUp() {
  let next = 0;
  const made = rig(virtioRng({ name: 'rng0', fillRandom: (target) => target.set(target.map(() => ++next)) }));
  return { ...made, driver: made.driver().start(1) };
}

test('5.4.6.1: the buffer is filled, one or more bytes of it', () => {
  const { driver } = setUp();
  driver.queues[0].send([], [3, 2]);
  const [{ written, data }] = driver.queues[0].collect();
  assert.deepEqual([written, [...data]], [5, [1, 2, 3, 4, 5]]);
});

test('a huge buffer is answered with a part', () => {
  const { driver } = setUp();
  driver.queues[0].send([], [1_000_000]);
  assert.equal(driver.queues[0].collect()[0].written, 4096);
});

test('a buffer that cannot be filled is a fault', () => {
  const { driver, complaints } = setUp();
  driver.queues[0].send([Uint8Array.of(1)]);
  assert.match(complaints.join(), /^rng0: queue 0: a request for entropy without a buffer/);
});
