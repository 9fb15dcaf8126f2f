/** The console device as a driver meets it: VIRTIO 1.2, section 5.3. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCharPort } from '../testing/fakes.ts';
import { virtioConsole } from './console.ts';
import type { DriverQueue, MockDriver } from './testing/driver.ts';
import { rig } from './testing/rig.ts';

const [SIZE, MULTIPORT] = [0, 1];
const text = (string: string) => new TextEncoder().encode(string);
const string = (bytes: Iterable<number>) => String.fromCharCode(...bytes);

function setUp(features: readonly number[] = [MULTIPORT]) {
  const outside = [new FakeCharPort(), new FakeCharPort()];
  const device = virtioConsole({
    name: 'console0',
    ports: [
      { port: outside[0], isConsole: true },
      { port: outside[1], name: 'org.vireo.agent' },
    ],
  });
  const made = rig(device);
  const driver = made.driver({ features }).start(features.includes(MULTIPORT) ? 6 : 2);
  return { ...made, device, driver, outside };
}

function control(port: number, event: number, value: number): Uint8Array {
  return Uint8Array.of(port, 0, 0, 0, event, 0, value, 0);
}

function received(queue: DriverQueue): number[][] {
  return queue.collect().map(({ data, written }) => [...data.subarray(0, written)]);
}

/** Gives the control queue buffers, says that the driver is ready, and opens all ports. */
function open({ queues }: MockDriver) {
  for (let i = 0; i < 12; i++) queues[2].add([], [64]);
  queues[2].notify();
  queues[3].send([control(0, 0, 1)]);
  for (const port of [0, 1]) {
    queues[3].send([control(port, 3, 1)]);
    queues[3].send([control(port, 6, 1)]);
  }
}

test('5.3.5: ports are added, named and opened as the driver says it is ready', () => {
  const { driver } = setUp();
  open(driver);
  assert.deepEqual(received(driver.queues[2]), [
    [...control(0, 1, 1)],
    [...control(1, 1, 1)],
    [...control(0, 4, 1)],
    [...control(0, 6, 1)],
    [...control(1, 7, 1), ...text('org.vireo.agent\0')],
    [...control(1, 6, 1)],
  ]);
});

test('bytes out: of each port, in order, whatever the pieces', () => {
  const { driver, outside } = setUp();
  driver.queues[1].send([text('con'), text('sole')]);
  driver.queues[5].send([new Uint8Array(100_000).fill(65)]);
  assert.deepEqual([string(outside[0].sent), outside[1].sent.length], ['console', 100_000]);
  assert.equal(driver.queues[1].collect().length, 1);
});

test('bytes in: kept until there are buffers, refused until the port is open', () => {
  const { driver, outside } = setUp();
  assert.equal(outside[1].offer(...text('early')), 0);
  open(driver);
  assert.equal(outside[1].offer(...text('hello')), 5);
  driver.queues[4].send([], [3]);
  driver.queues[4].send([], [100]);
  assert.deepEqual(received(driver.queues[4]).map(string), ['hel', 'lo']);
  assert.equal(outside[1].offer(...new Uint8Array(5000)), 4096);
  assert.equal(outside[1].offer(1), 0);
});

test('one port without multiport, its size in the configuration, an emergency write', () => {
  const { driver, device, transport, outside, mmio } = setUp([SIZE]);
  assert.equal(outside[0].offer(...text('in')), 2);
  driver.queues[0].send([], [10]);
  assert.deepEqual(received(driver.queues[0]).map(string), ['in']);
  mmio.read(0xc000_1000, 1);
  device.resize(132, 50);
  assert.deepEqual([transport.readConfig(0, 2), transport.readConfig(2, 2), mmio.read(0xc000_1000, 1)], [132, 50, 2]);
  transport.writeConfig(8, 4, 0x21);
  assert.equal(string(outside[0].sent), '!');
});

test('with multiport a new size is a message to the terminal', () => {
  const { driver, device } = setUp();
  open(driver);
  driver.queues[2].collect();
  device.resize(132, 50);
  assert.deepEqual(received(driver.queues[2]), [[...control(0, 5, 0), 132, 0, 50, 0]]);
});

test('a driver that never takes its messages, or sends nonsense, is stopped or ignored', () => {
  const deaf = setUp();
  for (let i = 0; i < 200 && !deaf.driver.needsReset; i++) {
    deaf.driver.queues[3].send([control(0, 0, 1)]);
    deaf.driver.queues[3].collect();
  }
  assert.match(deaf.complaints.join(), /control messages that it has not taken/);

  const odd = setUp();
  odd.driver.queues[3].send([control(77, 6, 1)]);
  odd.driver.queues[3].send([control(1, 99, 1)]);
  assert.deepEqual(odd.complaints, []);
  odd.driver.queues[3].send([Uint8Array.of(1, 2, 3)]);
  assert.match(odd.complaints.join(), /control message cut short/);
});

test('a reset forgets messages and input; a snapshot keeps them', () => {
  const { driver, device, outside } = setUp();
  open(driver);
  outside[1].offer(...text('kept'));
  const record = device.snapshot();
  driver.transport.writeStatus(0);
  assert.equal(outside[1].offer(1), 0);
  driver.start(6);
  device.restore(record);
  driver.queues[4].send([], [10]);
  assert.deepEqual(received(driver.queues[4]).map(string), ['kept']);
});
