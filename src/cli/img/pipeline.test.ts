import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paceOf } from './pipeline.ts';

test('a rate makes each piece wait for those before it, and no longer', async ({ mock }) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  const pace = paceOf('1M', () => now);
  await pace(2 ** 20);
  let isOver = false;
  const second = pace(2 ** 19).then(() => {
    isOver = true;
  });
  mock.timers.tick(999);
  await Promise.resolve();
  assert.equal(isOver, false);
  mock.timers.tick(1);
  await second;
  // Time that nobody used is not saved up.
  now = 10_000;
  await pace(2 ** 20);
  const fourth = pace(1);
  mock.timers.tick(1000);
  await fourth;
});

test('without a rate nothing waits, and a rate of nothing is refused', async () => {
  await paceOf(undefined)(2 ** 40);
  assert.throws(() => paceOf('0'), /Invalid rate limit/);
  assert.throws(() => paceOf('fast'), /rate limit/);
});
