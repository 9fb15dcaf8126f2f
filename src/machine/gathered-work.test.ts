import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatheredWork } from './gathered-work.ts';

test('the first piece of work asks for the guest to stop, and all of it is due a while later', () => {
  let now = 1e9;
  let stops = 0;
  const done: string[] = [];
  const gathered = new GatheredWork(
    () => now,
    () => {
      stops++;
    },
  );
  assert.deepEqual([gathered.finish(), gathered.untilDueNanos], [false, Number.POSITIVE_INFINITY]);
  gathered.add(() => done.push('one'));
  now += 50_000;
  gathered.add(() => done.push('two'));
  assert.deepEqual([stops, gathered.untilDueNanos, done], [1, 150_000, []]);
  assert.equal(gathered.finish(), true);
  assert.deepEqual(
    [done, gathered.finish(), gathered.untilDueNanos],
    [['one', 'two'], false, Number.POSITIVE_INFINITY],
  );
});

test('work that adds work leaves it for the next time', () => {
  const gathered = new GatheredWork(
    () => 0,
    () => {},
  );
  let rounds = 0;
  const again = () => {
    rounds++;
    gathered.add(again);
  };
  gathered.add(again);
  gathered.finish();
  assert.deepEqual([rounds, gathered.untilDueNanos > 0], [1, true]);
});
