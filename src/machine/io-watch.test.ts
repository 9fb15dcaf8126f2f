import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetLink, NetReceiver } from '../contract/index.ts';
import { FakeDisk } from '../hw/testing/fake-disk.ts';
import { IoWatch } from './io-watch.ts';

test('requests of a disk are pending until they end, well or badly', async () => {
  const disk = new FakeDisk(4096);
  const watch = new IoWatch(() => 0);
  const node = watch.watchNode(disk.node);
  disk.holding = true;
  const requests = [node.read(0, new Uint8Array(512)), node.flush()];
  assert.equal(watch.pending, true);
  let isIdle = false;
  const idle = watch.idle().then(() => {
    isIdle = true;
  });
  disk.release(0);
  await requests[0];
  assert.deepEqual([watch.pending, isIdle], [true, false]);
  disk.failing = true;
  disk.release();
  await assert.rejects(requests[1], /flush failed/);
  await idle;
  assert.equal(watch.pending, false);
  assert.deepEqual([node.sizeBytes, node.readOnly, node.discard === undefined], [4096, false, false]);
});

test('after a frame, either way, the next one is awaited for a while', () => {
  let nowNanos = 0;
  let receiver: NetReceiver | undefined;
  const sent: number[] = [];
  const takes = { checksum: false, tcp4: false, tcp6: false };
  const link: NetLink = {
    takes,
    send: (frame) => sent.push(frame.length),
    connect(given) {
      receiver = given;
    },
    resume() {},
  };
  const watch = new IoWatch(() => nowNanos);
  const watched = watch.watchLink(link);
  watched.connect({ takes, receive: (frame) => frame.length < 100 });
  assert.equal(watch.pending, false);
  watched.send(new Uint8Array(60));
  assert.deepEqual([watch.pending, sent], [true, [60]]);
  nowNanos += 10_000_000;
  assert.equal(watch.pending, false);
  assert.deepEqual([receiver?.receive(new Uint8Array(60)), receiver?.receive(new Uint8Array(200))], [true, false]);
  assert.equal(watch.pending, true);
});
