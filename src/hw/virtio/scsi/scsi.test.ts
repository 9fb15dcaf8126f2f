/** The SCSI host device and its units as a driver meets them: VIRTIO 1.2, 5.6; SPC-4, SBC-3, MMC-6. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { seededRandom } from '../../testing/device-state-suite.test.ts';
import { FakeDisk, type FakeDiskOptions } from '../../testing/fake-disk.ts';
import { rig } from '../testing/rig.ts';
import { virtioScsi } from './scsi.ts';

const DISK_BYTES = 2 ** 20;
const SENSE_OFFSET = 12;
const DATA_OFFSET = 12 + 96;
const DATA_LENGTHS = [DATA_OFFSET];

function setUp(options: FakeDiskOptions = {}) {
  const disk = new FakeDisk(DISK_BYTES, options);
  const disc = new FakeDisk(DISK_BYTES, { plain: true });
  const device = virtioScsi({
    name: 'scsi0',
    units: [
      { kind: 'disk', node: disk.node, serial: 'S1' },
      { kind: 'cdrom', node: disc.node, serial: 'S2' },
    ],
  });
  const made = rig(device);
  const driver = made.driver().start(3);
  /** Sends one command and waits for its answer. */
  const send = async (target: number, cdb: number[], { out = [] as Uint8Array[], room = 0, lun = 0 } = {}) => {
    const header = new Uint8Array(19 + 32);
    header.set([1, target, 0x40, lun]);
    header.set(cdb, 19);
    driver.queues[2].send([header, ...out], room > 0 ? [...DATA_LENGTHS, room] : DATA_LENGTHS);
    for (let turn = 0; turn < 50; turn++) {
      const [back] = driver.queues[2].collect();
      await setImmediate();
      if (!back) continue;
      const view = new DataView(back.data.buffer, back.data.byteOffset);
      const sense = [...back.data.subarray(SENSE_OFFSET, SENSE_OFFSET + view.getUint32(0, true))];
      return {
        status: back.data[10],
        response: back.data[11],
        residual: view.getUint32(4, true),
        sense: sense.length > 0 ? [sense[2], sense[12], sense[13]] : [],
        data: back.data.subarray(DATA_OFFSET, Math.max(DATA_OFFSET, back.written)),
      };
    }
    throw new Error('no answer');
  };
  return { ...made, device, disk, disc, driver, send };
}

const string = (bytes: Uint8Array) => String.fromCharCode(...bytes);

test('who the units are', async () => {
  const { send } = setUp();
  const disk = await send(0, [0x12, 0, 0, 0, 36], { room: 36 });
  assert.deepEqual([disk.data[0], string(disk.data.subarray(8, 25))], [0, 'VIREO   HARDDISK ']);
  const drive = await send(1, [0x12, 0, 0, 0, 36], { room: 96 });
  assert.deepEqual([drive.data[0], drive.data[1], drive.data.length, drive.residual], [5, 0x80, 36, 60]);
  assert.equal(string((await send(0, [0x12, 1, 0x80, 0, 255], { room: 255 })).data.subarray(4)), 'S1');
  assert.deepEqual((await send(0, [0x12, 1, 0x99, 0, 255], { room: 255 })).sense, [5, 0x24, 0]);
});

test('capacity, in both forms and both sizes of block', async () => {
  const { send } = setUp();
  assert.deepEqual([...(await send(0, [0x25], { room: 8 })).data], [0, 0, 7, 255, 0, 0, 2, 0]);
  assert.deepEqual([...(await send(1, [0x25], { room: 8 })).data], [0, 0, 1, 255, 0, 0, 8, 0]);
  const long = await send(0, [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], { room: 32 });
  assert.deepEqual([...long.data.subarray(0, 16)], [0, 0, 0, 0, 0, 0, 7, 255, 0, 0, 2, 0, 0, 0, 0x80, 0]);
});

test('reads and writes of 6, 10, 12 and 16 bytes', async () => {
  const { send, disk, disc } = setUp();
  const block = new Uint8Array(512).map((_, i) => i * 5);
  const reads: [number, number[]][] = [
    [0, [0x08, 0, 0, 3, 1]],
    [0, [0x28, 0, 0, 0, 0, 3, 0, 0, 1]],
    [0, [0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 1]],
    [0, [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]],
  ];
  for (const [target, cdb] of reads) {
    const { status, data } = await send(target, cdb, { room: 512 });
    assert.deepEqual([status, data], [0, disk.bytes.slice(1536, 2048)]);
  }
  const writes = [
    [0x0a, 0, 0, 4, 1],
    [0x2a, 0, 0, 0, 0, 5, 0, 0, 1],
    [0xaa, 0, 0, 0, 0, 6, 0, 0, 0, 1],
    [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1],
  ];
  for (const cdb of writes)
    assert.equal((await send(0, cdb, { out: [block.subarray(0, 9), block.subarray(9)] })).status, 0);
  for (const at of [4, 5, 6, 7]) assert.deepEqual(disk.bytes.slice(at * 512, at * 512 + 512), block);
  assert.deepEqual((await send(1, [0x28, 0, 0, 0, 0, 2, 0, 0, 1], { room: 2048 })).data, disc.bytes.slice(4096, 6144));
});

test('what the disk can do at once is answered before the driver goes on', () => {
  const { disk, driver } = setUp({ immediate: true });
  const command = (...cdb: number[]) => {
    const header = new Uint8Array(19 + 32);
    header.set([1, 0, 0x40, 0]);
    header.set(cdb, 19);
    return header;
  };
  const content = new Uint8Array(512).fill(7);
  driver.queues[2].send([command(0x0a, 0, 0, 3, 1), content], [DATA_OFFSET]);
  driver.queues[2].send([command(0x08, 0, 0, 3, 1)], [DATA_OFFSET, 512]);
  const [wrote, read] = driver.queues[2].collect();
  assert.deepEqual([wrote.data[10], read.data[10], read.written], [0, 0, DATA_OFFSET + 512]);
  assert.deepEqual(read.data.subarray(DATA_OFFSET), content);
  disk.holding = true;
  driver.queues[2].send([command(0x08, 0, 0, 3, 1)], [DATA_OFFSET, 512]);
  assert.equal(driver.queues[2].collect().length, 0, 'this one must wait');
});

test('caches, unmapping and writing the same reach the disk', async () => {
  const { send, disk } = setUp();
  await send(0, [0x35]);
  const list = new Uint8Array(8 + 32);
  list.set([0, 38, 0, 32]);
  list.set([0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4], 8);
  list.set([0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1], 24);
  assert.equal((await send(0, [0x42, 0, 0, 0, 0, 0, 0, 0, 40], { out: [list] })).status, 0);
  await send(0, [0x93, 0x08, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 8], { out: [new Uint8Array(512)] });
  await send(0, [0x93, 0x01, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 2]);
  await send(0, [0x41, 0, 0, 0, 0, 96, 0, 0, 2], { out: [new Uint8Array(512).fill(7)] });
  assert.deepEqual(disk.log, [
    'flush',
    'discard 4096+2048',
    'discard 8192+512',
    'zero 16384+4096 unmap',
    'zero 32768+1024',
    'write 49152+1024',
  ]);
  assert.deepEqual(disk.bytes.slice(49_152, 50_176), new Uint8Array(1024).fill(7));
});

test('what is wrong is told in the sense data', async () => {
  const { send, disk, driver } = setUp();
  const range = new Uint8Array(24);
  range.set([0, 0, 0, 0, 0, 0, 7, 255, 0, 0, 0, 2], 8);
  const expectations: [number[], number[], Parameters<typeof send>[2]?][] = [
    [[5, 0x20, 0], [0xff]],
    [[5, 0x20, 0], [0x43]],
    [[5, 0x21, 0], [0x28, 0, 0, 0, 8, 0, 0, 0, 1], { room: 512 }],
    [[5, 0x21, 0], [0x88, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1], { room: 512 }],
    [[5, 0x24, 0], [0x1a, 0, 0x1c, 0, 255], { room: 255 }],
    [
      [5, 0x24, 0],
      [0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    [[5, 0x21, 0], [0x42, 0, 0, 0, 0, 0, 0, 0, 24], { out: [range] }],
    [[5, 0x25, 0], [0x00], { lun: 3 }],
  ];
  for (const [sense, cdb, more] of expectations) {
    const answer = await send(0, cdb, more);
    assert.deepEqual([answer.status, answer.sense], [2, sense], `${cdb}`);
  }
  disk.failing = true;
  assert.deepEqual((await send(0, [0x08, 0, 0, 0, 1], { room: 512 })).sense, [3, 0x11, 0]);
  assert.deepEqual((await send(0, [0x0a, 0, 0, 0, 1], { out: [new Uint8Array(512)] })).sense, [3, 0x0c, 0]);
  assert.deepEqual(
    (await send(1, [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], { out: [new Uint8Array(2048)] })).sense,
    [7, 0x27, 0],
  );
  assert.equal((await send(9, [0x00])).response, 3);
  assert.equal(driver.needsReset, false);
});

test('mode pages say whether writes are cached and allowed', async () => {
  const { send } = setUp();
  assert.deepEqual(
    [...(await send(0, [0x1a, 0, 8, 0, 255], { room: 255 })).data.subarray(0, 7)],
    [23, 0, 0, 0, 8, 0x12, 4],
  );
  const locked = setUp({ readOnly: true });
  assert.deepEqual(
    [...(await locked.send(0, [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 8], { room: 8 })).data],
    [0, 26, 0, 0x80, 0, 0, 0, 0],
  );
});

test('a drive has one data track', async () => {
  const { send } = setUp();
  const { data } = await send(1, [0x43, 0, 0, 0, 0, 0, 0, 0, 255], { room: 255 });
  assert.deepEqual([...data], [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 2, 0]);
});

test('aborting waits for what is in flight; strange control requests stop the device', async () => {
  const { driver, disk, complaints } = setUp();
  disk.holding = true;
  const header = new Uint8Array(51);
  header.set([1, 0, 0x40, 0]);
  header.set([0x08, 0, 0, 0, 1], 19);
  driver.queues[2].send([header], [DATA_OFFSET, 512]);
  driver.queues[0].send([new Uint8Array(24)], [1]);
  await setImmediate();
  assert.equal(driver.queues[0].collect().length, 0);
  disk.release();
  await setImmediate();
  assert.deepEqual([...driver.queues[0].collect()[0].data], [0]);
  driver.queues[0].send([Uint8Array.of(1, 0, 0, 0, ...new Uint8Array(12))], [5]);
  assert.deepEqual([...driver.queues[0].collect()[0].data], [0, 0, 0, 0, 0]);
  driver.queues[0].send([Uint8Array.of(77, 0, 0, 0)], [5]);
  assert.match(complaints.join(), /a control request of type 77/);
});

test('random commands are all answered', async () => {
  const { seed, random } = seededRandom();
  const { send } = setUp();
  const below = (limit: number) => Math.floor(random() * limit);
  try {
    for (let round = 0; round < 1500; round++) {
      const cdb = Array.from({ length: 16 }, (_, i) => (i === 0 || random() < 0.3 ? below(256) : 0));
      const { response, status } = await send(below(2), cdb, {
        out: [new Uint8Array(1 + below(600))],
        room: below(600),
      });
      assert.ok(response === 0 && (status === 0 || status === 2));
    }
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  }
});
