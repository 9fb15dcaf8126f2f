/** The balloon as a driver meets it: VIRTIO 1.2, section 5.5. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioBalloon } from './balloon.ts';
import { rig } from './testing/rig.ts';

const [STATISTICS, DEFLATE_ON_OOM, HINT, POISON, REPORTING] = [1, 2, 3, 4, 5];

function setUp(features: readonly number[] = [STATISTICS, DEFLATE_ON_OOM], queueCount = 3) {
  const givenUp: [number, number][] = [];
  const device = virtioBalloon({
    name: 'balloon0',
    giveUp: (base, length) => givenUp.push([base, length]),
    freePageHints: true,
    freePageReporting: true,
  });
  const made = rig(device);
  return { ...made, device, givenUp, driver: made.driver({ features }).start(queueCount) };
}

function statistic(tag: number, value: number): number[] {
  const view = new DataView(new ArrayBuffer(10));
  view.setUint16(0, tag, true);
  view.setBigUint64(2, BigInt(value), true);
  return [...new Uint8Array(view.buffer)];
}

test('the target is told, pages are given up, and the driver says how many', () => {
  const { device, driver, transport, givenUp, mmio } = setUp();
  device.setTarget(3 * 4096 + 5);
  assert.deepEqual([transport.readConfig(0, 4), mmio.read(0xc000_1000, 1)], [3, 2]);
  driver.queues[0].send([Uint8Array.of(7, 0, 0, 0, 9, 0), Uint8Array.of(0, 0, 1, 2, 3)]);
  assert.deepEqual(
    [givenUp, driver.queues[0].collect().length],
    [
      [
        [7 * 4096, 4096],
        [9 * 4096, 4096],
      ],
      1,
    ],
  );
  transport.writeConfig(4, 4, 2);
  transport.writeConfig(0, 4, 99);
  assert.deepEqual([device.actualBytes, transport.readConfig(0, 4)], [8192, 3]);
  driver.queues[1].send([Uint8Array.of(7, 0, 0, 0)]);
  assert.equal(driver.queues[1].collect().length, 1);
});

test('statistics: the buffer stays with the device until new ones are wanted', () => {
  const { device, driver } = setUp();
  const queue = driver.queues[2];
  queue.send([Uint8Array.from([...statistic(4, 1000), ...statistic(5, 2 ** 40), ...statistic(99, 1)])]);
  assert.deepEqual(device.statistics, { freeMemory: 1000, totalMemory: 2 ** 40 });
  assert.equal(queue.collect().length, 0);
  device.refreshStatistics();
  assert.equal(queue.collect().length, 1);
  device.refreshStatistics();
  queue.send([Uint8Array.from(statistic(0, 5))]);
  assert.deepEqual(device.statistics, { swapIn: 5 });
});

test('without statistics negotiated there is nothing to refresh', () => {
  const { device, driver } = setUp([]);
  driver.queues[2].send([Uint8Array.of(1)]);
  device.refreshStatistics();
  assert.equal(driver.queues[2].collect().length, 0);
});

test('a snapshot keeps the target; a reset forgets it', () => {
  const { device, core, transport } = setUp();
  device.setTarget(8192);
  transport.writeConfig(4, 4, 1);
  const record = device.snapshot();
  assert.equal(core.snapshot().status, 0x0f);
  transport.writeStatus(0);
  assert.equal(transport.readConfig(0, 4), 0);
  device.restore(record);
  assert.deepEqual([transport.readConfig(0, 4), device.actualBytes], [2, 4096]);
});

const word = (value: number) => Uint8Array.of(value, value >> 8, value >> 16, value >> 24);

test('pages that lie together are given up together, whatever their order', () => {
  const { driver, givenUp } = setUp();
  driver.queues[0].send([word(9), word(7), word(8), word(8), word(20)]);
  assert.deepEqual(givenUp, [
    [7 * 4096, 3 * 4096],
    [20 * 4096, 4096],
  ]);
});

/** A buffer of whole pages for the device to write to. */
function freePages({ driver }: ReturnType<typeof setUp>, queue: number, count: number) {
  driver.allocate(0, 4096);
  return driver.queues[queue].send([], [count * 4096]).writable[0];
}

test('5.5.6.6: what is reported free is given up while the driver keeps off, also without the queues before', () => {
  for (const [features, queue] of [
    [[STATISTICS, HINT, REPORTING], 4],
    [[REPORTING], 2],
  ] as const) {
    const made = setUp(features, queue + 1);
    const { address, length } = freePages(made, queue, 3);
    assert.deepEqual([made.givenUp, made.device.reportedBytes], [[[address, length]], 3 * 4096]);
    assert.equal(made.driver.queues[queue].collect().length, 1);
  }
});

test('5.5.6.6: pages that must keep a pattern are left alone', () => {
  const made = setUp([REPORTING, POISON]);
  made.transport.writeConfig(12, 4, 0xaaaa_aaaa);
  freePages(made, 2, 1);
  assert.deepEqual([made.givenUp, made.driver.queues[2].collect().length], [[], 1]);
});

test('5.5.6.5: free pages are told when asked for, each list by its number, until the device is done', () => {
  const made = setUp([HINT]);
  const { device, driver, transport, givenUp } = made;
  const told: [number, number][] = [];
  let ends = 0;
  const receiver = { free: (base: number, length: number) => told.push([base, length]), end: () => ends++ };
  freePages(made, 2, 1);
  assert.equal(device.askForHints(receiver), true);
  const command = transport.readConfig(8, 4);
  assert.equal(command, 2);
  driver.queues[2].send([word(command)]);
  const { address, length } = freePages(made, 2, 2);
  driver.queues[2].send([word(0)]);
  freePages(made, 2, 1);
  assert.deepEqual([told, ends, givenUp], [[[address, length]], 1, []]);
  device.doneWithHints();
  assert.equal(transport.readConfig(8, 4), 1);
  device.askForHints(receiver);
  const [next] = [transport.readConfig(8, 4)];
  driver.queues[2].send([word(command)]); // of a list that is no longer asked for
  freePages(made, 2, 1);
  assert.deepEqual([told.length, next], [1, 3]);
  assert.equal(setUp([]).device.askForHints(receiver), false);
});
