/** The one wait of a machine's thread: event counters and the event loop. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadFfi } from './ffi.ts';
import { nodeKvmHost } from './kvm-host.ts';

const skip = loadFfi() === undefined || process.platform !== 'linux' ? 'this Node has no node:ffi' : false;

test('counters are heard while the event loop always has something to do', { skip }, async () => {
  const host = nodeKvmHost();
  const wait = host.createWait();
  const [counter, other] = [host.eventfd(), host.eventfd()];
  wait.add(counter);
  wait.add(other);
  const heard: number[] = [];
  const take = (fd: number) => void heard.push(fd, host.takeEvent(fd));
  const immediate = new Promise<void>((resolve) => setImmediate(resolve));
  host.signalEvent(counter);
  assert.equal(wait.wait(1e9, take), true, 'the event loop has something to do');
  assert.deepEqual(heard, [counter, 1]);
  await immediate;
  wait.remove(other);
  host.signalEvent(other);
  const timer = setTimeout(() => {}, 5);
  while (!wait.wait(1e9, take)); // until the timer is due
  clearTimeout(timer);
  assert.deepEqual(heard, [counter, 1], 'one that was taken away is not heard');
  const many = Array.from({ length: 20 }, () => host.eventfd());
  for (const fd of many) {
    wait.add(fd);
    host.signalEvent(fd);
  }
  heard.length = 0;
  wait.wait(0, take);
  assert.equal(heard.length, 2 * many.length, 'all at once, however many');
  wait.close();
  for (const fd of many) host.close(fd);
  for (const fd of [counter, other]) host.close(fd);
});

test('after a turn of the event loop the wait sleeps until there is something', { skip }, async () => {
  const host = nodeKvmHost();
  const wait = host.createWait();
  // Without a handle libuv would say that there is nothing to wait for.
  const keepsLoop = setTimeout(() => {}, 1e6);
  for (let i = 0; i < 3; i++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    assert.equal(
      wait.wait(1000, () => {}),
      false,
    );
  }
  setImmediate(() => {});
  assert.equal(
    wait.wait(1e12, () => {}),
    true,
    'another one is queued',
  );
  clearTimeout(keepsLoop);
  wait.close();
});
