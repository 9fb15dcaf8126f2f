/** Rings and transports against a driver, in every combination. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FEATURE, STATUS } from './constants.ts';
import type { DriverOptions, DriverQueue } from './testing/driver.ts';
import { echoDevice } from './testing/echo-device.ts';
import type { TransportName } from './testing/rig.ts';
import { rig } from './testing/rig.ts';

const text = (string: string) => new TextEncoder().encode(string);
const string = (bytes: Uint8Array) => String.fromCharCode(...bytes);

function setUp(options: DriverOptions = {}, transportName: TransportName = 'pci') {
  const device = echoDevice();
  const made = rig(device, transportName);
  const driver = made.driver(options).start(2);
  return { ...made, device, driver };
}

const RINGS: readonly [string, DriverOptions][] = [
  ['split', {}],
  ['split, indirect', { features: [FEATURE.indirectDescriptors], indirect: true }],
  ['split, event index', { features: [FEATURE.eventIndex] }],
  ['packed', { features: [FEATURE.ringPacked] }],
  ['packed, odd size', { features: [FEATURE.ringPacked], queueSize: 5 }],
  ['packed, indirect', { features: [FEATURE.ringPacked, FEATURE.indirectDescriptors], indirect: true }],
  ['packed, event index', { features: [FEATURE.ringPacked, FEATURE.eventIndex] }],
];

for (const [name, options] of RINGS) {
  for (const transportName of ['pci', 'mmio'] as const) {
    test(`${name} over ${transportName}: buffers go round and round, in pieces`, () => {
      const { driver, complaints } = setUp(options, transportName);
      const [queue] = driver.queues;
      for (let round = 0; round < 100; round++) {
        const sent = queue.send([text(`round`), text(` ${round}`)], [3, 20]);
        const [back, ...more] = queue.collect();
        assert.deepEqual(more, []);
        assert.equal(back.id, sent.id);
        assert.equal(string(back.data.subarray(0, back.written)), `round ${round}`);
      }
      assert.deepEqual(complaints, []);
    });
  }

  test(`${name}: chains come back out of order, and many at once`, () => {
    const { driver, device, complaints } = setUp(options);
    const queue = driver.queues[1];
    for (let round = 0; round < 30; round++) {
      for (const word of ['a', 'bb', 'ccc', 'dddd']) queue.add([text(word)], options.queueSize === 5 ? [] : [8]);
      queue.notify();
      assert.equal(device.held.length, 4);
      device.answer(2, 0, 3, 1);
      const back = queue.collect();
      assert.equal(back.length, 4);
      if (options.queueSize !== 5) {
        assert.deepEqual(
          back.map(({ data, written }) => string(data.subarray(0, written))),
          ['ccc', 'a', 'dddd', 'bb'],
        );
      }
    }
    assert.deepEqual(complaints, []);
  });

  test(`${name}: state moves to a fresh device in the middle of a round`, () => {
    const first = setUp(options);
    const other = { device: echoDevice() };
    const second = { ...other, ...rig(other.device) };
    for (let i = 0; i < 7; i++) {
      first.driver.queues[0].send([text('x')], [1]);
      first.driver.queues[0].collect();
    }
    second.memory.view(0, 2 ** 20)?.set(first.memory.view(0, 2 ** 20) ?? []);
    for (const [index, part] of first.parts.entries()) second.parts[index].restore(part.snapshot());
    // The same driver goes on: its rings are now in the second machine's memory.
    const moved = first.driver.queues[0].add([text('moved')], [8]);
    second.memory.view(0, 2 ** 20)?.set(first.memory.view(0, 2 ** 20) ?? []);
    second.transport.notify(0);
    first.memory.view(0, 2 ** 20)?.set(second.memory.view(0, 2 ** 20) ?? []);
    const [back] = first.driver.queues[0].collect();
    assert.deepEqual([back.id, string(back.data.subarray(0, back.written))], [moved.id, 'moved']);
    assert.deepEqual(second.complaints, []);
  });
}

for (const ring of [[], [FEATURE.ringPacked]]) {
  test(`2.7.9, 2.8.13: in-order use gives chains back as they came, features ${ring}`, () => {
    const { driver, device, complaints, irq, mmio } = setUp({ features: [FEATURE.inOrder, ...ring] });
    const queue = driver.queues[1];
    for (let round = 0; round < 30; round++) {
      for (const word of ['a', 'bb', 'ccc', 'dddd']) queue.add([text(word)], [8]);
      queue.notify();
      device.answer(2, 3);
      assert.deepEqual([queue.collect(), irq.level], [[], false]);
      device.answer(0);
      const words = () => queue.collect().map(({ data, written }) => string(data.subarray(0, written)));
      assert.deepEqual([words(), mmio.read(0xc000_1000, 1)], [['a'], 1]);
      device.answer(0);
      assert.deepEqual([words(), mmio.read(0xc000_1000, 1)], [['bb', 'ccc', 'dddd'], 1]);
    }
    assert.deepEqual([complaints, device.port().queue(1).inFlight], [[], 0]);
  });
}

test('2.7.9: a device whose requests should not wait for each other does not offer in-order use', () => {
  const { transport } = rig({ ...echoDevice(), answersOutOfOrder: true });
  assert.equal(transport.readFeatures(1) & (1 << (FEATURE.inOrder - 32)), 0);
});

test('4.1.5.2: a notification may carry where the ring stands; one for another queue, or none, is nothing', () => {
  const { driver, mmio, device } = setUp({ features: [FEATURE.notificationData, FEATURE.ringPacked] });
  const queue = driver.queues[1];
  const notify = (address: number, value: number) => mmio.write(0xc000_3000 + address, 4, value);
  queue.add([text('x')]);
  notify(4, 0x8001_0002);
  notify(0, 0x8001_0001);
  notify(0x400, 0x8001_0100);
  assert.equal(device.held.length, 0);
  notify(4, 0x8001_0001);
  assert.equal(device.held.length, 1);
});

test('notifications are asked for by the place in the ring alone, and not while the device looks by itself', () => {
  const packed = setUp({ features: [FEATURE.ringPacked, FEATURE.eventIndex] });
  const [ring] = packed.driver.queues;
  ring.send([text('a')], [1]);
  assert.deepEqual([ring.deviceArea.getUint16(0, true), ring.deviceArea.getUint16(2, true)], [0x8000 | 2, 2]);
  packed.device.port().queue(0).ignoreNotifications();
  assert.equal(ring.deviceArea.getUint16(2, true), 1);

  const split = setUp({ features: [FEATURE.eventIndex] });
  const [queue] = split.driver.queues;
  queue.send([text('a')], [1]);
  assert.equal(queue.deviceArea.getUint16(4 + 8 * queue.size, true), 1);
});

test('MSI-X: each queue has its vector; masked ones wait in the pending bits', () => {
  const { driver, mmio, msi, parts, irq } = setUp();
  const table = 0xc001_0000;
  for (const vector of [1, 2]) {
    mmio.write(table + vector * 16, 4, 0xfee0_0000);
    mmio.write(table + vector * 16 + 8, 4, 0x40 + vector);
    mmio.write(table + vector * 16 + 12, 4, vector === 2 ? 1 : 0);
  }
  enableMsix(parts[0]);
  driver.queues[0].send([text('a')], [1]);
  assert.deepEqual(msi.sent, [{ address: 0xfee0_0000, data: 0x41 }]);
  driver.queues[1].send([text('a')], [1]);
  const { device } = { device: driver };
  assert.equal(device.needsReset, false);
  assert.equal(mmio.read(table + 0x800, 4), 0);
  assert.equal(irq.edges, 0);
});

function enableMsix(part: unknown): void {
  const config = part as {
    readConfig(offset: number, size: 1 | 2): number;
    writeConfig(offset: number, size: 2, value: number): void;
  };
  for (let at = config.readConfig(0x34, 1); at !== 0; at = config.readConfig(at + 1, 1)) {
    if (config.readConfig(at, 1) === 0x11) config.writeConfig(at + 2, 2, 0x8000);
  }
}

test('MSI-X: what happened while masked is sent when unmasked', () => {
  const { driver, device, mmio, msi, parts } = setUp();
  const entry = 0xc001_0000 + 2 * 16;
  mmio.write(entry, 4, 0xfee0_0000);
  mmio.write(entry + 8, 4, 0x42);
  enableMsix(parts[0]);
  driver.queues[1].send([text('a')], [1]);
  device.answer(0);
  assert.deepEqual([msi.sent.length, mmio.read(0xc001_0800, 4)], [0, 1 << 2]);
  mmio.write(entry + 12, 4, 0);
  assert.deepEqual([msi.sent, mmio.read(0xc001_0800, 4)], [[{ address: 0xfee0_0000, data: 0x42 }], 0]);
});

test('INTx: the pin is high until the driver reads the ISR', () => {
  const { driver, device, irq, mmio } = setUp();
  driver.queues[0].send([text('a')], [1]);
  assert.equal(irq.level, true);
  assert.deepEqual([mmio.read(0xc000_1000, 1), irq.level, mmio.read(0xc000_1000, 1)], [1, false, 0]);
  device.port().configChanged();
  assert.deepEqual([mmio.read(0xc000_1000, 1), mmio.read(0xc000_0015, 1)], [2, 1]);
});

test('interrupt suppression: none when the driver says so, with event indexes only past the one it names', () => {
  const plain = setUp();
  plain.driver.queues[0].driverArea.setUint16(0, 1, true); // VIRTQ_AVAIL_F_NO_INTERRUPT
  plain.driver.queues[0].send([text('a')], [1]);
  assert.equal(plain.irq.level, false);

  const events = setUp({ features: [FEATURE.eventIndex] });
  const [queue] = events.driver.queues;
  queue.driverArea.setUint16(4 + 2 * queue.size, 2, true); // used_event: after the third
  for (const expected of [false, false, true]) {
    queue.send([text('a')], [1]);
    assert.equal(events.irq.level, expected);
  }

  const packed = setUp({ features: [FEATURE.ringPacked, FEATURE.eventIndex], queueSize: 4 });
  const [ring] = packed.driver.queues;
  const isr = () => packed.mmio.read(0xc000_1000, 1);
  ring.driverArea.setUint16(2, 1, true); // never
  ring.send([text('a')]);
  ring.collect();
  assert.equal(isr(), 0);
  ring.driverArea.setUint16(2, 2, true);
  ring.driverArea.setUint16(0, 3 | 0x8000, true); // at slot 3 of the first round
  for (const expected of [0, 0, 1, 0]) {
    ring.send([text('a')]);
    ring.collect();
    assert.equal(isr(), expected);
  }
});

test('features: what was not offered, or no VERSION_1, is refused', () => {
  for (const [low, high] of [
    [0, 0],
    [1, 1],
    [0, 0x8000_0001],
  ]) {
    const { transport } = rig(echoDevice());
    transport.writeStatus(STATUS.acknowledge | STATUS.driver);
    transport.writeFeatures(0, low);
    transport.writeFeatures(1, high);
    transport.writeStatus(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk);
    assert.equal(transport.readStatus(), STATUS.acknowledge | STATUS.driver);
  }
});

test('the configuration structure is read and written in any width', () => {
  const { transport } = setUp();
  assert.deepEqual(
    [transport.readConfig(0, 4), transport.readConfig(5, 1), transport.readConfig(8, 4)],
    [0x0403_0201, 6, 0],
  );
  transport.writeConfig(2, 2, 0xbeef);
  transport.writeConfig(7, 2, 0xffff);
  assert.equal(transport.readConfig(0, 4), 0xbeef_0201);
  assert.equal(transport.readConfig(7, 1), 8);
});

test('PCI configuration access: registers through the window of capability 5', () => {
  const { parts } = setUp();
  const config = parts[0] as unknown as {
    readConfig(offset: number, size: number): number;
    writeConfig(offset: number, size: number, value: number): void;
  };
  let at = config.readConfig(0x34, 1);
  while (config.readConfig(at, 1) !== 9 || config.readConfig(at + 3, 1) !== 5) at = config.readConfig(at + 1, 1);
  config.writeConfig(at + 4, 1, 4);
  config.writeConfig(at + 8, 4, 0x14);
  config.writeConfig(at + 12, 4, 1);
  assert.equal(config.readConfig(at + 16, 1), 0x0f);
  config.writeConfig(at + 12, 4, 3);
  assert.equal(config.readConfig(at + 16, 1), 0);
});

test('a queue is reset alone, and set up again', () => {
  const { driver, device } = setUp({ features: [FEATURE.ringReset] });
  driver.queues[1].send([text('lost')], [8]);
  const [stale] = device.held.splice(0);
  driver.transport.resetQueue(1);
  driver.queues[1] = driver.addQueue(1);
  device.port().queue(1).complete(stale, 0);
  assert.deepEqual(driver.queues[1].collect(), []);
  driver.queues[1].send([text('kept')], [8]);
  device.answer(0);
  assert.equal(string(driver.queues[1].collect()[0].data.subarray(0, 4)), 'kept');
});

test('a reset forgets what is in flight', () => {
  const { driver, device, irq } = setUp();
  driver.queues[1].send([text('lost')], [8]);
  const [stale] = device.held;
  driver.transport.writeStatus(0);
  device.port().queue(1).complete(stale, 4);
  assert.deepEqual([driver.queues[1].collect(), irq.level, driver.transport.readStatus()], [[], false, 0]);
  assert.throws(() => device.port().queue(1).complete(stale, 4), /completed twice/);
});

/** What a driver may not do, each on a split ring with indirect descriptors; all end in NEEDS_RESET. */
const FAULTS: readonly [string, RegExp, (queue: DriverQueue) => void][] = [
  ['a circle', /circle/, (queue) => descriptor(queue, 0, 0x1_0000, 16, 1, 0)],
  [
    'a next index past the table',
    /descriptor 99 of a table of 16/,
    (queue) => descriptor(queue, 0, 0x1_0000, 16, 1, 99),
  ],
  ['a head past the table', /descriptor 16 of/, (queue) => queue.driverArea.setUint16(4, 16, true)],
  [
    'a buffer outside RAM',
    /outside RAM: 16 bytes at 0x50000000/,
    (queue) => descriptor(queue, 0, 0x5000_0000, 16, 0, 0),
  ],
  ['a buffer over the end of RAM', /outside RAM/, (queue) => descriptor(queue, 0, 0x3f_fff8, 16, 0, 0)],
  ['a buffer of length 0', /length 0/, (queue) => descriptor(queue, 0, 0x1_0000, 0, 0, 0)],
  ['an index that jumps', /jumped by 17 in a queue of 16/, (queue) => queue.driverArea.setUint16(2, 17, true)],
  ['readable after writable', /readable descriptor after/, readableLast],
  [
    'an indirect table outside RAM',
    /indirect table outside RAM/,
    (queue) => descriptor(queue, 0, 0x5000_0000, 32, 4, 0),
  ],
  ['an indirect table of half a descriptor', /table of 24 bytes/, (queue) => descriptor(queue, 0, 0x1_0000, 24, 4, 0)],
  ['an indirect descriptor that goes on', /goes on/, (queue) => descriptor(queue, 0, 0x1_0000, 16, 5, 1)],
  ['an indirect table in an indirect table', /where there may be none/, nestedIndirect],
];

function descriptor(queue: DriverQueue, slot: number, address: number, length: number, flags: number, next: number) {
  queue.descriptors.setUint32(slot * 16, address, true);
  queue.descriptors.setUint32(slot * 16 + 8, length, true);
  queue.descriptors.setUint16(slot * 16 + 12, flags, true);
  queue.descriptors.setUint16(slot * 16 + 14, next, true);
}

function readableLast(queue: DriverQueue): void {
  descriptor(queue, 0, 0x1_0000, 16, 3, 1);
  descriptor(queue, 1, 0x1_0000, 16, 0, 0);
}

function nestedIndirect(queue: DriverQueue): void {
  descriptor(queue, 0, queue.areas.descriptors + 16, 16, 4, 0);
  descriptor(queue, 1, 0x1_0000, 16, 4, 0);
}

for (const [name, complaint, spoil] of FAULTS) {
  test(`hostile: ${name}`, () => {
    const { driver, complaints, irq } = setUp({ features: [FEATURE.indirectDescriptors] });
    const [queue, other] = driver.queues;
    queue.add([text('x')]);
    spoil(queue);
    queue.notify();
    assert.match(complaints.join(), complaint);
    assert.equal(complaints.length, 1);
    assert.deepEqual([driver.needsReset, irq.level], [true, true]);
    other.send([text('x')]);
    assert.deepEqual([queue.collect(), other.collect()], [[], []]);
    driver.start(2);
    driver.queues[0].send([text('again')], [8]);
    assert.equal(driver.queues[0].collect().length, 1);
  });
}

test('hostile: heads made available again while the device has them', () => {
  const { driver, device, complaints } = setUp();
  const queue = driver.queues[1];
  queue.send([text('x')]);
  for (let index = 1; index < 40; index++) {
    queue.driverArea.setUint16(4 + 2 * (index % queue.size), 0, true);
    queue.driverArea.setUint16(2, index + 1, true);
    queue.notify();
  }
  assert.equal(device.held.length, queue.size);
  assert.match(complaints.join(), /more chains than its 16 entries/);
});

test('hostile: rings outside RAM and of wrong sizes', () => {
  for (const [size, descriptors] of [
    [12, 0x1_0000],
    [32, 0x1_0000],
    [0, 0x1_0000],
    [16, 0x4000_0000],
    [16, 2 ** 60],
  ]) {
    const { transport, complaints } = rig(echoDevice());
    transport.writeStatus(STATUS.acknowledge | STATUS.driver);
    transport.writeFeatures(1, 1);
    transport.writeStatus(STATUS.acknowledge | STATUS.driver | STATUS.featuresOk);
    transport.setUpQueue(0, size, { descriptors, driver: 0x2_0000, device: 0x3_0000 });
    assert.equal(complaints.length, 1);
    assert.ok(transport.readStatus() & STATUS.needsReset);
  }
});

test('without bus mastering the device leaves memory alone', () => {
  const { driver, parts } = setUp();
  (parts[0] as unknown as { writeConfig(o: number, s: number, v: number): void }).writeConfig(4, 2, 0x0002);
  driver.queues[0].send([text('x')], [1]);
  assert.deepEqual(driver.queues[0].collect(), []);
});

for (const transportName of ['pci', 'mmio'] as const) {
  deviceStateSuite(
    `virtio core over ${transportName}`,
    () => {
      const { core, mmio } = rig(echoDevice(), transportName);
      const base = 0xc000_0000;
      const size = transportName === 'pci' ? 0x4000 : 0x200;
      const window = {
        read: (offset: number, width: 1 | 2 | 4) => mmio.read(base + offset, width),
        write: (offset: number, width: 1 | 2 | 4, value: number) => mmio.write(base + offset, width, value),
      };
      return { device: core, windows: [{ device: window, size }] };
    },
    { added: ['usedEarly'] },
  );
}

deviceStateSuite('MSI-X', () => {
  const { parts, mmio } = rig(echoDevice());
  const window = {
    read: (offset: number, width: 1 | 2 | 4) => mmio.read(0xc001_0000 + offset, width),
    write: (offset: number, width: 1 | 2 | 4, value: number) => mmio.write(0xc001_0000 + offset, width, value),
  };
  return {
    device: parts[1],
    windows: [
      { device: window, size: 0x40 },
      { device: window, size: 0x1000 },
    ],
  };
});
