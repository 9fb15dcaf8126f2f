/** The legacy interface against a driver of it: VIRTIO 1.2, 4.1.4.10 and the notes on legacy interfaces. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FEATURE, STATUS } from './constants.ts';
import { virtioNet } from './net/net.ts';
import type { DriverOptions } from './testing/driver.ts';
import { echoDevice } from './testing/echo-device.ts';
import { FakeLink } from './testing/fake-link.ts';
import { legacyTransport } from './testing/legacy-transport.ts';
import { rig } from './testing/rig.ts';

const BASE = 0xc000;
const text = (string: string) => new TextEncoder().encode(string);
const string = (bytes: Uint8Array) => String.fromCharCode(...bytes);

interface Config {
  readConfig(offset: number, size: 1 | 2 | 4): number;
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
}

function setUp(options: DriverOptions = {}, mode: 'transitional' | 'legacy' = 'transitional') {
  const device = { ...echoDevice(), id: 4 };
  const made = rig(device, 'legacy', mode);
  const config = made.parts[0] as unknown as Config;
  return { ...made, device, config, driver: made.driver(options).start(2) };
}

const RINGS: readonly [string, DriverOptions][] = [
  ['plain', {}],
  ['indirect', { features: [FEATURE.indirectDescriptors, FEATURE.anyLayout], indirect: true }],
  ['event index', { features: [FEATURE.eventIndex] }],
];

for (const mode of ['transitional', 'legacy'] as const) {
  for (const [name, options] of RINGS) {
    test(`${mode}, ${name}: buffers go round and round, in pieces`, () => {
      const { driver, complaints, transport } = setUp({ ...options, memoryBase: 0x1_0000 }, mode);
      for (let round = 0; round < 50; round++) {
        driver.queues[0].send([text('round'), text(` ${round}`)], [3, 20]);
        const [back, ...more] = driver.queues[0].collect();
        assert.deepEqual([more, string(back.data.subarray(0, back.written))], [[], `round ${round}`]);
      }
      assert.deepEqual(
        [complaints, transport.readStatus()],
        [[], STATUS.acknowledge | STATUS.driver | STATUS.driverOk],
      );
    });
  }
}

test('4.1.2.2, 4.1.2.3: what tells the kinds of devices apart', () => {
  const identity = (mode: 'modern' | 'transitional' | 'legacy', id: number) => {
    const { parts } = rig({ ...echoDevice(), id }, mode === 'modern' ? 'pci' : 'legacy', mode);
    const config = parts[0] as unknown as Config;
    return [config.readConfig(2, 2), config.readConfig(8, 1), config.readConfig(0x2e, 2)];
  };
  assert.deepEqual(identity('modern', 1), [0x1041, 1, 0x1100]);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 8, 9].map((id) => identity('transitional', id)),
    [0x1000, 0x1001, 0x1003, 0x1005, 0x1002, 0x1004, 0x1009].map((id, i) => [id, 0, [1, 2, 3, 4, 5, 8, 9][i]]),
  );
  assert.deepEqual(identity('legacy', 2), [0x1001, 0, 2]);
});

test('a device that came after the legacy interface is modern whatever is asked for', () => {
  const { driver, parts } = rig({ ...echoDevice(), id: 18 }, 'pci', 'transitional');
  assert.equal((parts[0] as unknown as Config).readConfig(2, 2), 0x1052);
  driver()
    .start(2)
    .queues[0].send([text('x')], [1]);
});

test('a transitional device by its other interface', () => {
  const { driver, complaints } = rig({ ...echoDevice(), id: 4 }, 'legacy');
  driver()
    .start(2)
    .queues[0].send([text('old')], [3]);
  const modern = rig({ ...echoDevice(), id: 4 }, 'pci', 'transitional');
  const { queues } = modern.driver({ features: [FEATURE.ringPacked] }).start(2);
  queues[0].send([text('new')], [3]);
  assert.deepEqual([string(queues[0].collect()[0].data), complaints, modern.complaints], ['new', [], []]);
});

test('without the newer interface there are no structures, and none of its features', () => {
  const { config, transport } = setUp({}, 'legacy');
  for (let at = config.readConfig(0x34, 1); at !== 0; at = config.readConfig(at + 1, 1)) {
    assert.equal(config.readConfig(at, 1), 0x11);
  }
  assert.equal(config.readConfig(0x20, 4), 0);
  assert.deepEqual([transport.readFeatures(0), transport.readFeatures(1)], [0x3800_0000, 0]);
});

test('the configuration moves when MSI-X is switched on, and the vectors appear before it', () => {
  const { transport, config, ports, msi, mmio, driver } = setUp();
  assert.equal(transport.readConfig(0, 4), 0x0403_0201);
  for (let at = config.readConfig(0x34, 1); at !== 0; at = config.readConfig(at + 1, 1)) {
    if (config.readConfig(at, 1) === 0x11) config.writeConfig(at + 2, 2, 0x8000);
  }
  config.writeConfig(0x14, 4, 0xc100_0000);
  assert.deepEqual([ports.read(BASE + 20, 2), ports.read(BASE + 24, 4)], [0xffff, 0x0403_0201]);
  ports.write(BASE + 20, 2, 0);
  ports.write(BASE + 14, 2, 0);
  ports.write(BASE + 22, 2, 1);
  assert.deepEqual([ports.read(BASE + 20, 2), ports.read(BASE + 22, 2)], [0, 1]);
  mmio.write(0xc100_0010, 4, 0xfee0_0000);
  mmio.write(0xc100_0018, 4, 0x51);
  mmio.write(0xc100_001c, 4, 0);
  driver.queues[0].send([text('a')], [1]);
  assert.deepEqual(msi.sent, [{ address: 0xfee0_0000, data: 0x51 }]);
  ports.write(BASE + 22, 2, 77);
  assert.equal(ports.read(BASE + 22, 2), 0xffff);
});

test('INTx: the ISR is the byte at 19', () => {
  const { driver, irq, ports } = setUp();
  driver.queues[0].send([text('a')], [1]);
  assert.deepEqual([irq.level, ports.read(BASE + 19, 1), irq.level, ports.read(BASE + 19, 1)], [true, 1, false, 0]);
});

test('3.1.1: a driver may use the device before it says DRIVER_OK', () => {
  const device = { ...echoDevice(), id: 4 };
  const { driver: make, transport } = rig(device, 'legacy');
  const driver = make({ memoryBase: 0x1_0000 });
  transport.writeStatus(STATUS.acknowledge | STATUS.driver);
  const queue = driver.addQueue(0);
  queue.send([text('early')], [5]);
  assert.equal(string(queue.collect()[0].data), 'early');
  assert.equal(transport.readStatus(), STATUS.acknowledge | STATUS.driver);
  transport.writeStatus(STATUS.acknowledge | STATUS.driver | STATUS.driverOk);
  queue.send([text('later')], [5]);
  assert.equal(string(queue.collect()[0].data), 'later');
  transport.writeStatus(0);
  queue.send([text('x')], [5]);
  assert.deepEqual([queue.collect(), transport.readStatus()], [[], 0]);
});

test('a queue is taken out of use by page 0, and a queue that is not there has no size', () => {
  const { driver, transport, ports } = setUp();
  assert.notEqual(ports.read(BASE + 8, 4), 0);
  transport.resetQueue(0);
  assert.equal(ports.read(BASE + 8, 4), 0);
  driver.queues[0].send([text('x')], [1]);
  assert.deepEqual([driver.queues[0].collect(), transport.queueMaxSize(77)], [[], 0]);
});

test('rings outside RAM, and what a mad driver writes to the ports', () => {
  const { ports, transport, complaints } = rig({ ...echoDevice(), id: 4 }, 'legacy');
  transport.writeStatus(STATUS.acknowledge | STATUS.driver);
  ports.write(BASE + 14, 2, 0);
  ports.write(BASE + 8, 4, 0xffff_ffff);
  assert.match(complaints.join(), /descriptor area is not in RAM/);
});

test('a network card: short headers without merged buffers, and an address that the driver sets', () => {
  const link = new FakeLink();
  const device = virtioNet({ name: 'net0', link, mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1) });
  const { driver: make, transport } = rig(device, 'legacy');
  const { queues } = make({ memoryBase: 0x1_0000 }).start(2);
  const frame = Uint8Array.from({ length: 60 }, (_, i) => (i < 6 ? 0xff : i));
  queues[1].send([new Uint8Array(10), frame]);
  assert.deepEqual(
    link.sent.map((one) => [...one.frame]),
    [[...frame]],
  );
  queues[0].send([], [100]);
  link.offer(frame);
  const [{ data, written }] = queues[0].collect();
  assert.deepEqual([written, [...data.subarray(10, 70)]], [70, [...frame]]);
  for (const [i, byte] of [2, 3, 4, 5, 6, 7].entries()) transport.writeConfig(i, 1, byte);
  assert.deepEqual([...device.config().subarray(0, 6)], [2, 3, 4, 5, 6, 7]);
});

deviceStateSuite(
  'virtio core over the legacy interface',
  () => {
    const { core, ports } = rig({ ...echoDevice(), id: 4 }, 'legacy');
    const window = {
      read: (offset: number, width: 1 | 2 | 4) => ports.read(BASE + offset, width),
      write: (offset: number, width: 1 | 2 | 4, value: number) => ports.write(BASE + offset, width, value),
    };
    return { device: core, windows: [{ device: window, size: 32 }] };
  },
  { added: ['usedEarly'] },
);

test('a driver that scribbles over the registers never makes the device throw', () => {
  const { ports, memory } = setUp();
  let state = 1;
  const next = () => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 8;
  for (let i = 0; i < 20_000; i++) {
    const size = ([1, 2, 4] as const)[next() % 3];
    if (next() % 8 === 0) memory.view(0x1_0000 + (next() % 0x8000), 4)?.fill(next());
    else if (next() % 4 === 0) ports.read(BASE + (next() % 32), size);
    else ports.write(BASE + (next() % 32), size, next());
  }
  const transport = legacyTransport({ read: () => 0x1005, write() {} }, ports, BASE);
  transport.writeStatus(0);
  assert.equal(transport.readStatus(), 0);
});
