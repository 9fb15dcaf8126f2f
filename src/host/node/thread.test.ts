import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { HostThread } from '../../contract/index.ts';
import type { Order } from './testing/thread-module.ts';
import { nodeThreads } from './thread.ts';

const MODULE = new URL('./testing/thread-module.ts', import.meta.url).href;

/** A thread that is ready, and its messages one by one. */
async function startThread() {
  const thread = nodeThreads.startThread(MODULE);
  let receive = Promise.withResolvers<unknown>();
  thread.connect((message) => receive.resolve(message));
  const next = async () => {
    const message = await receive.promise;
    receive = Promise.withResolvers();
    return message;
  };
  assert.equal(await next(), 'ready');
  const order = (message: Order) => thread.post(message);
  return { thread, next, order };
}

test('messages go both ways', async () => {
  const { thread, next, order } = await startThread();
  order({ kind: 'echo', value: { bytes: Uint8Array.of(1, 2) } });
  assert.deepEqual(await next(), { bytes: Uint8Array.of(1, 2) });
  await thread.terminate();
});

test('short sleeps are precise', async () => {
  const { thread, next, order } = await startThread();
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    order({ kind: 'sleep', nanos: 500_000, times: 40 });
    const nanos = Number(await next());
    assert.ok(nanos >= 20e6, `${nanos} ns is too short`);
    best = Math.min(best, nanos);
  }
  // Timers of whole milliseconds could not be quicker than 40 ms.
  assert.ok(best < 38e6, `${best} ns at best is too long`);
  await thread.terminate();
});

test('a listening sleep ends with the host’s answer, however long it was meant to be', async () => {
  const { thread, next, order } = await startThread();
  for (const nanos of [1_900_000_000, Number.POSITIVE_INFINITY]) {
    order({ kind: 'sleep-listening', nanos });
    assert.ok(Number(await next()) < 1_000_000_000);
  }
  order({ kind: 'sleep-listening', nanos: 1 });
  assert.ok(Number(await next()) > 0);
  await thread.terminate();
});

test('a message is handled while the thread sleeps for ever', async () => {
  const { thread, next, order } = await startThread();
  order({ kind: 'sleep', nanos: Number.POSITIVE_INFINITY, times: 1 });
  order({ kind: 'echo', value: 'awake' });
  assert.equal(await next(), 'awake');
  await thread.terminate();
});

test('a message is handled while the thread sleeps again and again for a short time', async () => {
  for (const nanos of [1_000_000, 10_000]) {
    const { thread, next, order } = await startThread();
    order({ kind: 'sleep', nanos, times: 1_000_000_000 });
    order({ kind: 'echo', value: 'awake' });
    assert.equal(await next(), 'awake');
    await thread.terminate();
  }
});

test('a sleeping thread uses no CPU', async () => {
  const { thread, order } = await startThread();
  for (const nanos of [Number.POSITIVE_INFINITY, 1_900_000]) {
    order({ kind: 'sleep', nanos, times: 200 });
    await delay(50);
    const before = process.cpuUsage();
    await delay(300);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 75_000, `${user + system} µs of CPU in 300,000 of sleeps of ${nanos} ns`);
  }
  await thread.terminate();
});

function endOf(thread: HostThread): Promise<string> {
  return new Promise((resolve) => thread.onEnd(resolve));
}

test('the end of a thread is told with its reason', async () => {
  const { thread, order } = await startThread();
  order({ kind: 'throw' });
  assert.match(await endOf(thread), /as ordered/);
});

test('a module that does not exist ends its thread', async () => {
  const thread = nodeThreads.startThread(new URL('./no-such-module.ts', import.meta.url).href);
  assert.match(await endOf(thread), /no-such-module/);
});

test('a terminated thread ends', async () => {
  const { thread } = await startThread();
  await thread.terminate();
  assert.match(await endOf(thread), /terminated/);
});
