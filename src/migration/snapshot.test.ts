/** What is written is read again, however it is cut; what is altered or cut short is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/index.ts';
import type { DeviceRecord } from '../contract/index.ts';
import { PAGE_BYTES } from './format.ts';
import { SnapshotReader } from './reader.ts';
import { deviceFromText, deviceToText, recordFromText, recordToText } from './record-text.ts';
import { scannerOf } from './scan.ts';
import { ramPieces, snapshotBytes } from './writer.ts';

const state: DeviceRecord = {
  name: 'pc',
  count: 3,
  wide: 2n ** 64n - 1n,
  flag: true,
  bytes: Uint8Array.of(0, 255, 16),
  list: [1, 'two', { three: 3n }],
  inner: { empty: [], none: new Uint8Array(0) },
};

const PAGES = 64;
const OFFSET = 0x3000;

/** Two ranges of RAM, with something in the pages named. */
function memory(pages: readonly number[] = []) {
  const buffer = new SharedArrayBuffer(OFFSET + 2 * PAGES * PAGE_BYTES);
  const ranges = [
    { base: 0, size: PAGES * PAGE_BYTES, offset: OFFSET },
    { base: 0x10_0000, size: PAGES * PAGE_BYTES, offset: OFFSET + PAGES * PAGE_BYTES },
  ];
  const all = new Uint8Array(buffer);
  for (const page of pages)
    all.fill(1 + (page % 250), OFFSET + page * PAGE_BYTES + page, OFFSET + page * PAGE_BYTES + page + 9);
  return { buffer, ranges };
}

function target(ram = memory()) {
  const reader = new SnapshotReader();
  const feed = (bytes: Uint8Array): number => {
    const taken = reader.feed(bytes);
    if (!reader.isWaitingForMemory) return taken;
    reader.connectMemory((address, length) => {
      const range = ram.ranges.find(({ base, size }) => address >= base && address + length <= base + size);
      return range && new Uint8Array(ram.buffer, range.offset + address - range.base, length);
    });
    return taken + reader.feed(bytes.subarray(taken));
  };
  return { reader, feed, ram };
}

const written = [0, 1, 2, 9, 11, 63, 64, 100, 127];
const source = memory(written);
const blobs = [Uint8Array.of(1, 2, 3), new Uint8Array(0)];
const devices = [
  { name: 'clock', version: 1, record: { nanos: 5 } },
  { name: 'com1', version: 3, record: state },
];
const snapshot = Buffer.concat([...snapshotBytes({ state, blobs, memory: source, devices })]);

function check({ reader, ram }: ReturnType<typeof target>): void {
  reader.end();
  assert.deepEqual(reader.state, recordFromText(recordToText(state)));
  assert.deepEqual(reader.blobs, blobs);
  assert.deepEqual(
    reader.devices,
    devices.map((device) => deviceFromText(deviceToText(device))),
  );
  assert.deepEqual(Buffer.from(new Uint8Array(ram.buffer)), Buffer.from(new Uint8Array(source.buffer)));
}

test('a snapshot is read whole, a byte at a time, and in pieces of any size', () => {
  for (const size of [snapshot.length, 1, 7, 31, 4096, 10_000]) {
    const reading = target();
    for (let at = 0; at < snapshot.length; at += size) {
      const piece = snapshot.subarray(at, at + size);
      assert.equal(reading.feed(piece), piece.length);
    }
    check(reading);
  }
});

test('what follows the end is left alone', () => {
  const reading = target();
  assert.equal(reading.feed(Buffer.concat([snapshot, Buffer.from('more')])), snapshot.length);
  check(reading);
});

test('it waits for memory once it is known what machine it is', () => {
  const { reader, ram } = target();
  const taken = reader.feed(snapshot);
  assert.ok(reader.isWaitingForMemory && taken < snapshot.length);
  assert.deepEqual([reader.state.name, reader.blobs.length], ['pc', 2]);
  assert.equal(reader.feed(snapshot), 0);
  reader.connectMemory((address, length) =>
    address < 0x10_0000
      ? new Uint8Array(ram.buffer, OFFSET + address, length)
      : new Uint8Array(ram.buffer, OFFSET + PAGES * PAGE_BYTES + address - 0x10_0000, length),
  );
  reader.feed(snapshot.subarray(taken));
  check({ reader, feed: () => 0, ram });
});

test('pages of zeros are left out, and short gaps of them are not', () => {
  const found = [...ramPieces(source, scannerOf(source))].map(({ address, bytes }) => [
    address / PAGE_BYTES,
    bytes.length / PAGE_BYTES,
  ]);
  assert.deepEqual(found, [
    [0, 3],
    [9, 3],
    [63, 1],
    [256, 1],
    [292, 1],
    [319, 1],
  ]);
  const zeros = memory();
  assert.deepEqual([...ramPieces(zeros, scannerOf(zeros))], []);
});

test('RAM lies at multiples of a page in the file', () => {
  for (const page of written) {
    const bytes = new Uint8Array(source.buffer, OFFSET + page * PAGE_BYTES, PAGE_BYTES);
    assert.equal(snapshot.indexOf(Buffer.from(bytes)) % PAGE_BYTES, 0, `page ${page}`);
  }
});

test('a snapshot that is cut short is refused, wherever that is', () => {
  for (let length = 0; length < snapshot.length; length += length < 3000 ? 1 : 997) {
    const { reader, feed } = target();
    feed(snapshot.subarray(0, length));
    assert.throws(() => reader.end(), UserError);
  }
});

test('a snapshot with any byte altered is refused', () => {
  for (let at = 0; at < snapshot.length; at += at < 3000 ? 1 : 997) {
    const altered = Buffer.from(snapshot);
    altered[at] ^= 1 << (at % 8);
    const { reader, feed } = target();
    assert.throws(
      () => {
        feed(altered);
        reader.end();
      },
      UserError,
      `byte ${at}`,
    );
  }
});

test('a machine with less RAM refuses it', () => {
  const small = { buffer: new SharedArrayBuffer(OFFSET + PAGE_BYTES), ranges: memory().ranges.slice(0, 0) };
  const { feed } = target(small);
  assert.throws(
    () => feed(snapshot),
    /^UserError: the snapshot is damaged: the RAM at 0x0, which the machine does not have/,
  );
});

test('records keep their types as text', () => {
  assert.equal(
    recordToText({ a: 1n, b: Uint8Array.of(255), c: [true] }),
    '{"a":{"$u64":"1"},"b":{"$bytes":"ff"},"c":[true]}',
  );
  assert.throws(() => recordToText({ $u64: 1 }), UserError);
});

test('text that is no record is refused', () => {
  const wrong = ['', '[]', '1', '{"a":null}', '{"a":{"$u64":1}}', '{"a":{"$u64":"-1"}}', '{"a":{"$bytes":"f"}}'];
  const nested = `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`;
  for (const text of [...wrong, '{"a":{"$x":"1"}}', '{"a":{"$u64":"1","b":2}}', nested]) {
    assert.throws(() => recordFromText(text), UserError, text);
  }
});
