/** The block device as a driver meets it: VIRTIO 1.2, section 5.2. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { seededRandom } from '../../testing/device-state-suite.test.ts';
import { FakeDisk, type FakeDiskOptions } from '../../testing/fake-disk.ts';
import { FEATURE } from '../constants.ts';
import type { DriverOptions, DriverQueue } from '../testing/driver.ts';
import { rig } from '../testing/rig.ts';
import { BLK_FEATURE, type BlkOptions, virtioBlk } from './blk.ts';

const DISK_BYTES = 4 * 2 ** 20;
const ALL = [BLK_FEATURE.flush, BLK_FEATURE.discard, BLK_FEATURE.writeZeroes];
const [OK, IO_ERROR, UNSUPPORTED] = [0, 1, 2];

function setUp(
  options: FakeDiskOptions & Partial<BlkOptions> = {},
  { features = options.readOnly ? [] : options.plain ? [BLK_FEATURE.flush] : ALL, ...more }: DriverOptions = {},
) {
  const disk = new FakeDisk(DISK_BYTES, options);
  const device = virtioBlk({ name: 'disk0', node: disk.node, ...options });
  const made = rig(device);
  const driver = made.driver({ features, ...more }).start(device.queues.length);
  return { ...made, disk, device, driver, queue: driver.queues[0] };
}

function header(type: number, sector = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

function ranges(...list: readonly [sector: number, sectors: number, flags: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * list.length));
  for (const [i, [sector, sectors, flags]] of list.entries()) {
    view.setBigUint64(16 * i, BigInt(sector), true);
    view.setUint32(16 * i + 8, sectors, true);
    view.setUint32(16 * i + 12, flags, true);
  }
  return new Uint8Array(view.buffer);
}

/** Sends one request and waits for its end. */
async function request(queue: DriverQueue, readable: readonly Uint8Array[], lengths: readonly number[] = [1]) {
  queue.send(readable, lengths);
  for (let turn = 0; turn < 50; turn++) {
    const [back] = queue.collect();
    if (back) return { status: back.data.at(-1), data: back.data.subarray(0, -1), written: back.written };
    await setImmediate();
  }
  throw new Error('the device did not answer');
}

test('reads and writes, header, data and status in one buffer or in many (no assumptions on framing, 2.6.4)', async () => {
  const { queue, disk } = setUp();
  const read = await request(queue, [header(0, 3)], [200, 312, 512, 1]);
  assert.deepEqual([read.status, read.written], [OK, 1025]);
  assert.deepEqual(read.data, disk.bytes.slice(1536, 2560));

  const data = Uint8Array.from({ length: 1024 }, (_, i) => i * 7);
  const whole = Uint8Array.of(...header(1, 5), ...data);
  const write = await request(queue, [whole.subarray(0, 7), whole.subarray(7, 600), whole.subarray(600)]);
  assert.equal(write.status, OK);
  assert.deepEqual(disk.bytes.slice(2560, 3584), data);
});

test('a request of megabytes goes to the disk in pieces', async () => {
  const { queue, disk } = setUp();
  const { status, data } = await request(queue, [header(0)], [1_300_000 - (1_300_000 % 512), 1]);
  assert.equal(status, OK);
  assert.deepEqual(data, disk.bytes.slice(0, data.length));
  assert.deepEqual(disk.log, ['read 0+1048576', `read 1048576+${data.length - 1048576}`]);
});

test('flush, serial number, discard and write-zeroes reach the disk', async () => {
  const { queue, disk } = setUp({ serial: 'vireo-0001' });
  assert.equal((await request(queue, [header(4)])).status, OK);
  const id = await request(queue, [header(8)], [20, 1]);
  assert.equal(String.fromCharCode(...id.data), 'vireo-0001'.padEnd(20, '\0'));
  assert.equal((await request(queue, [header(11), ranges([0, 8, 0], [16, 1, 0])])).status, OK);
  assert.equal((await request(queue, [header(13), ranges([8, 8, 1], [32, 2, 0])])).status, OK);
  assert.deepEqual(disk.log, [
    'flush',
    'discard 0+4096',
    'discard 8192+512',
    'zero 4096+4096 unmap',
    'zero 16384+1024',
  ]);
});

test('a disk that cannot write zeros is sent them', async () => {
  const { queue, disk } = setUp({ plain: true }, { features: [BLK_FEATURE.flush, BLK_FEATURE.writeZeroes] });
  assert.equal((await request(queue, [header(13), ranges([4, 4, 0])])).status, OK);
  assert.deepEqual(disk.bytes.slice(2048, 4096), new Uint8Array(2048));
  assert.deepEqual(disk.log, ['write 2048+2048']);
});

test('every request that cannot be done is answered', async () => {
  const { queue, disk, driver } = setUp();
  const last = DISK_BYTES / 512 - 1;
  const expectations: [number, Uint8Array[], number[]?][] = [
    [UNSUPPORTED, [header(99)]],
    [UNSUPPORTED, [header(2)]],
    [IO_ERROR, [header(0, last)], [1024, 1]],
    [IO_ERROR, [header(0, 2 ** 52)], [512, 1]],
    [IO_ERROR, [header(0)], [511, 1]],
    [IO_ERROR, [header(1, last + 1), new Uint8Array(512)]],
    [IO_ERROR, [header(1), new Uint8Array(100)]],
    [IO_ERROR, [header(8)], [19, 1]],
    [IO_ERROR, [header(11), ranges([last, 2, 0])]],
    [IO_ERROR, [header(11), new Uint8Array(15)]],
    [IO_ERROR, [header(13), ranges(...Array.from({ length: 17 }, (): [number, number, number] => [0, 1, 0]))]],
    [IO_ERROR, [header(13)]],
    [UNSUPPORTED, [header(11), ranges([0, 1, 1])]],
    [UNSUPPORTED, [header(13), ranges([0, 1, 2])]],
  ];
  for (const [expected, readable, lengths] of expectations) {
    assert.equal((await request(queue, readable, lengths)).status, expected, `${readable}`);
  }
  assert.deepEqual([disk.log, driver.needsReset], [[], false]);
});

test('a request that cannot be answered stops the device', () => {
  for (const [readable, lengths] of [
    [[new Uint8Array(15)], [1]],
    [[header(0)], []],
  ] as const) {
    const { queue, driver, complaints } = setUp();
    queue.send(readable, lengths);
    assert.equal(driver.needsReset, true);
    assert.match(complaints.join(), /^disk0: queue 0: a request/);
  }
});

test('errors of the disk become the status; a read-only disk takes no writes', async () => {
  const { queue, disk } = setUp();
  disk.failing = true;
  assert.equal((await request(queue, [header(0)], [512, 1])).status, IO_ERROR);
  assert.equal((await request(queue, [header(1), new Uint8Array(512)])).status, IO_ERROR);

  const locked = setUp({ readOnly: true });
  assert.equal((await request(locked.queue, [header(1), new Uint8Array(512)])).status, IO_ERROR);
  assert.equal((await request(locked.queue, [header(13), ranges([0, 1, 0])])).status, IO_ERROR);
  assert.deepEqual([(locked.transport.readFeatures(0) >>> 5) & 1, locked.disk.log], [1, []]);
});

test('without FLUSH, or with the cache switched off, every write is flushed', async () => {
  const simple = setUp({}, { features: [] });
  await request(simple.queue, [header(1), new Uint8Array(512)]);
  assert.deepEqual(simple.disk.log, ['write 0+512', 'flush']);

  const { queue, transport, disk } = setUp({}, { features: [BLK_FEATURE.flush, BLK_FEATURE.configWriteback] });
  await request(queue, [header(1), new Uint8Array(512)]);
  assert.equal(transport.readConfig(32, 1), 1);
  transport.writeConfig(32, 1, 0);
  await request(queue, [header(1), new Uint8Array(512)]);
  assert.deepEqual(disk.log, ['write 0+512', 'write 0+512', 'flush']);
});

test('the configuration: capacity, block size, topology, limits; growth is announced', () => {
  const { transport, disk, device, mmio } = setUp({ queueCount: 4 });
  assert.deepEqual([transport.readConfig(0, 4), transport.readConfig(4, 4)], [DISK_BYTES / 512, 0]);
  assert.deepEqual(
    [transport.readConfig(12, 4), transport.readConfig(20, 4), transport.readConfig(24, 1)],
    [254, 512, 3],
  );
  assert.equal(transport.readConfig(34, 2), 4);
  mmio.read(0xc000_1000, 1);
  disk.bytes = new Uint8Array(DISK_BYTES * 2);
  device.resized();
  assert.deepEqual([transport.readConfig(0, 4), mmio.read(0xc000_1000, 1)], [DISK_BYTES / 256, 2]);
});

test('requests run at once and end in any order, on all queues', async () => {
  const { disk, driver } = setUp({ queueCount: 2 }, { features: [...ALL, BLK_FEATURE.multiQueue, FEATURE.ringPacked] });
  disk.holding = true;
  const [first, second] = driver.queues;
  const ids = [first.send([header(0, 0)], [513]).id, first.send([header(0, 1)], [513]).id];
  second.send([header(0, 2)], [513]);
  assert.equal(disk.log.length, 3);
  disk.release(1, 2);
  await setImmediate();
  assert.deepEqual(
    first.collect().map(({ id }) => id),
    [ids[1]],
  );
  assert.equal(second.collect().length, 1);
  disk.release();
  await setImmediate();
  assert.deepEqual(
    first.collect().map(({ id }) => id),
    [ids[0]],
  );
});

test('at most 64 requests are carried out at once, the others wait', async () => {
  const { disk, queue } = setUp({}, { queueSize: 256 });
  disk.holding = true;
  for (let i = 0; i < 100; i++) queue.add([header(0, i)], [513]);
  queue.notify();
  assert.equal(disk.log.length, 64);
  disk.holding = false;
  disk.release();
  await setImmediate();
  assert.equal(queue.collect().length, 100);
});

test('what the disk can do at once is answered before the driver goes on, in the buffers themselves', async () => {
  const { queue, disk } = setUp({ immediate: true });
  const data = Uint8Array.from({ length: 1024 }, (_, i) => i * 3);
  const whole = Uint8Array.of(...header(1, 5), ...data);
  queue.send([whole.subarray(0, 20), whole.subarray(20, 700), whole.subarray(700)], [1]);
  queue.send([header(0, 5)], [100, 412, 512, 1]);
  const [write, read] = queue.collect();
  assert.deepEqual([write.data[0], read.data.at(-1), read.written], [OK, OK, 1025]);
  assert.deepEqual(read.data.subarray(0, -1), data);
  assert.deepEqual(disk.log, ['write 2560 at once', 'read 2560 at once']);

  disk.holding = true;
  queue.send([header(0, 5)], [513]);
  assert.deepEqual([queue.collect().length, disk.log.at(-1)], [0, 'read 2560+512']);
  disk.release();
  await setImmediate();
  assert.equal(queue.collect().length, 1);
});

test('a disk that gathers looks once at what several notifications told, and asks not to be told meanwhile', () => {
  const work: (() => void)[] = [];
  const { queue, disk, driver } = setUp({ immediate: true, gather: (one) => work.push(one) });
  for (const sector of [1, 2, 3]) queue.send([header(0, sector)], [513]);
  assert.deepEqual([work.length, disk.log, queue.collect().length], [1, [], 0]);
  assert.equal(queue.deviceArea.getUint16(0, true), 1, 'VIRTQ_USED_F_NO_NOTIFY');
  work[0]();
  assert.deepEqual([disk.log.length, queue.collect().length], [3, 3]);
  assert.equal(queue.deviceArea.getUint16(0, true), 0);

  // After a reset the old appointment serves the new driver.
  queue.send([header(0, 4)], [513]);
  const again = driver.start(1);
  again.queues[0].send([header(0, 5)], [513]);
  assert.equal(work.length, 2);
  work[1]();
  assert.deepEqual([disk.log.slice(3), again.queues[0].collect().length], [['read 2560 at once'], 1]);
});

test('done at once or not: a write that must be flushed waits for its flush, errors are told', async () => {
  const { queue, disk } = setUp({ immediate: true }, { features: [] });
  await request(queue, [header(1), new Uint8Array(512)]);
  assert.deepEqual(disk.log, ['write 0+512', 'flush']);
  disk.failing = true;
  assert.equal((await request(queue, [header(0)], [512, 1])).status, IO_ERROR);
});

test('after a reset nothing is done at once while an old write is under way', async () => {
  const { disk, driver, device } = setUp({ immediate: true });
  disk.holding = true;
  driver.queues[0].send([header(1, 7), new Uint8Array(512).fill(1)], [1]);
  disk.holding = false;
  const again = driver.start(1);
  again.queues[0].send([header(1, 7), new Uint8Array(512).fill(2)], [1]);
  assert.equal(again.queues[0].collect().length, 0);
  disk.release();
  await device.idle();
  assert.equal(again.queues[0].collect().length, 1);
  assert.deepEqual(disk.bytes.slice(3584, 4096), new Uint8Array(512).fill(2));
});

test('after a reset old reads touch no memory, and new writes wait for old ones', async () => {
  const { disk, driver, device } = setUp();
  disk.holding = true;
  const sent = driver.queues[0].send([header(0, 1)], [513]);
  driver.queues[0].send([header(1, 7), new Uint8Array(512).fill(1)], [1]);
  const again = driver.start(1);
  again.queues[0].send([header(1, 7), new Uint8Array(512).fill(2)], [1]);
  assert.deepEqual(disk.log, ['read 512+512', 'write 3584+512']);
  disk.holding = false;
  disk.release();
  await device.idle();
  assert.deepEqual(driver.bytes(sent.writable[0].address, 513), new Uint8Array(513));
  assert.equal(again.queues[0].collect().length, 1);
  assert.deepEqual(disk.bytes.slice(3584, 4096), new Uint8Array(512).fill(2));
});

test('a snapshot waits for what is in flight', async () => {
  const { disk, queue, core, device } = setUp();
  disk.holding = true;
  queue.send([header(0)], [513]);
  assert.throws(() => core.snapshot(), /in flight/);
  disk.release();
  await device.idle();
  assert.equal(core.snapshot().status, 0x0f);
});

for (const immediate of [false, true]) {
  test(`random requests, ${immediate ? 'done at once' : 'waited for'}: the disk holds what an array holds`, () =>
    randomRequests(immediate));
}

async function randomRequests(immediate: boolean): Promise<void> {
  const { seed, random } = seededRandom();
  const { disk, queue } = setUp({ immediate }, { queueSize: 64, memoryBase: 0x1_0000 });
  const model = disk.bytes.slice();
  const below = (limit: number) => Math.floor(random() * limit);
  for (let round = 0; round < 150; round++) {
    const [sector, sectors] = [below(200), 1 + below(8)];
    const [from, to] = [sector * 512, (sector + sectors) * 512];
    const kind = below(3);
    if (kind === 0) {
      const { data } = await request(queue, [header(0, sector)], [sectors * 512, 1]);
      assert.deepEqual(data, model.slice(from, to), `seed ${seed}`);
    } else if (kind === 1) {
      const data = Uint8Array.from({ length: sectors * 512 }, () => below(256));
      const cut = 1 + below(data.length - 1);
      await request(queue, [header(1, sector), data.subarray(0, cut), data.subarray(cut)]);
      model.set(data, from);
    } else {
      await request(queue, [header(13), ranges([sector, sectors, below(2)])]);
      model.fill(0, from, to);
    }
  }
  assert.deepEqual(disk.bytes, model, `seed ${seed}`);
}
