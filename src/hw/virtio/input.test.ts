/** The input device as a driver meets it: VIRTIO 1.2, section 5.8. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { INPUT_EVENT, type InputEvent, virtioInput } from './input.ts';
import { rig } from './testing/rig.ts';

const KEY_A = 30;
const KEY_FINGER = 0x145;

function setUp() {
  const status: InputEvent[] = [];
  const device = virtioInput({
    name: 'tablet0',
    title: 'Vireo tablet',
    codes: {
      [INPUT_EVENT.key]: [KEY_A, KEY_FINGER],
      [INPUT_EVENT.absolute]: [0, 1],
      [INPUT_EVENT.led]: [0, 1, 2],
    },
    axes: { 0: { min: 0, max: 32_767 }, 1: { min: -1, max: 5 } },
    onStatus: (event) => status.push(event),
  });
  const made = rig(device);
  const driver = made.driver().start(2);
  const ask = (select: number, subselect = 0) => {
    made.transport.writeConfig(0, 1, select);
    made.transport.writeConfig(1, 1, subselect);
    return Array.from({ length: made.transport.readConfig(2, 1) }, (_, i) => made.transport.readConfig(8 + i, 1));
  };
  return { ...made, device, driver, ask, status };
}

test('5.8.4: name, identity, events and axes, as they are selected', () => {
  const { ask } = setUp();
  assert.equal(String.fromCharCode(...ask(1)), 'Vireo tablet');
  assert.deepEqual(ask(3), [6, 0, 0xf4, 0x1a, 1, 0, 1, 0]);
  assert.deepEqual(ask(0x11, 1), [0, 0, 0, 0x40, ...new Array(36).fill(0), 0x20]);
  assert.deepEqual(ask(0x11, 0x11), [7]);
  assert.deepEqual(ask(0x12, 0), [0, 0, 0, 0, 0xff, 0x7f, ...new Array(14).fill(0)]);
  assert.deepEqual(ask(0x12, 1).slice(0, 8), [255, 255, 255, 255, 5, 0, 0, 0]);
  assert.deepEqual([ask(0x11, 2), ask(0x12, 9), ask(0x77)], [[], [], []]);
});

test('events go to the guest together with their end, or not at all', () => {
  const { device, driver } = setUp();
  const [queue] = driver.queues;
  const press = { type: INPUT_EVENT.key, code: KEY_A, value: 1 };
  assert.equal(device.send([press]), false);
  queue.send([], [8]);
  assert.equal(device.send([press]), false);
  queue.send([], [8]);
  queue.send([], [8]);
  assert.equal(device.send([{ type: INPUT_EVENT.relative, code: 0, value: -3 }, press]), true);
  assert.deepEqual(
    queue.collect().map(({ data }) => [...data]),
    [
      [2, 0, 0, 0, 253, 255, 255, 255],
      [1, 0, 30, 0, 1, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
    ],
  );
});

test('what the guest lights up is told; half an event is not', () => {
  const { driver, status } = setUp();
  driver.queues[1].send([Uint8Array.of(0x11, 0, 1, 0, 1, 0, 0, 0)]);
  driver.queues[1].send([Uint8Array.of(0x11, 0, 1)]);
  assert.deepEqual([status, driver.queues[1].collect().length], [[{ type: 0x11, code: 1, value: 1 }], 2]);
});

deviceStateSuite('virtio input', () => {
  const { device, mmio } = setUp();
  const window = {
    read: (offset: number, width: 1 | 2 | 4) => mmio.read(0xc000_2000 + offset, width),
    write: (offset: number, width: 1 | 2 | 4, value: number) => mmio.write(0xc000_2000 + offset, width, value),
  };
  return { device, windows: [{ device: window, size: 136 }] };
});
