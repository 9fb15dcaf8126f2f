/** The balloon as a driver meets it: VIRTIO 1.2, section 5.5. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioBalloon } from './balloon.ts';
import { rig } from './testing/rig.ts';

const [STATISTICS, DEFLATE_ON_OOM] = [1, 2];

function setUp(features: readonly number[] = [STATISTICS, DEFLATE_ON_OOM]) {
  const givenUp: number[] = [];
  const device = virtioBalloon({ name: 'balloon0', giveUp: (base) => givenUp.push(base) });
  const made = rig(device);
  return { ...made, device, givenUp, driver: made.driver({ features }).start(3) };
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
  assert.deepEqual([givenUp, driver.queues[0].collect().length], [[7 * 4096, 9 * 4096], 1]);
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
