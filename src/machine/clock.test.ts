import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from './clock.ts';

function setUp() {
  const host = { nanos: 5_000 };
  return { host, clock: new VirtualClock(() => host.nanos) };
}

test('virtual time starts at 0, follows the host while it runs and stands still in a pause', () => {
  const { host, clock } = setUp();
  host.nanos += 1000;
  assert.equal(clock.nowNanos(), 0);
  clock.resume();
  host.nanos += 300;
  assert.equal(clock.nowNanos(), 300);
  clock.pause();
  host.nanos += 10_000;
  assert.equal(clock.nowNanos(), 300);
  clock.resume();
  clock.resume();
  host.nanos += 7;
  assert.equal(clock.nowNanos(), 307);
});

test('due timers fire once, earliest first; a rearmed or cancelled one does not', () => {
  const { host, clock } = setUp();
  clock.resume();
  const fired: string[] = [];
  const late = clock.createTimer(() => fired.push('late'));
  const cancelled = clock.createTimer(() => fired.push('cancelled'));
  const early = clock.createTimer(() => {
    fired.push('early');
    cancelled.cancel();
  });
  late.arm(200);
  cancelled.arm(150);
  early.arm(900);
  early.arm(100);
  assert.equal(clock.untilNextNanos(), 100);
  host.nanos += 500;
  assert.equal(clock.untilNextNanos(), 0);
  clock.runExpired();
  clock.runExpired();
  assert.deepEqual(fired, ['early', 'late']);
  assert.equal(late.deadlineNanos, undefined);
  assert.equal(clock.untilNextNanos(), Number.POSITIVE_INFINITY);
});

test('a timer that arms itself in the past fires once a round', () => {
  const { clock } = setUp();
  let count = 0;
  const timer = clock.createTimer(() => {
    count++;
    timer.arm(-1);
  });
  timer.arm(0);
  clock.runExpired();
  clock.runExpired();
  assert.equal(count, 2);
});
