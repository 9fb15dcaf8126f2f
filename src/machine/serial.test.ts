import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { FromMachine, ToMachine } from './protocol.ts';
import { INPUT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES } from './protocol.ts';
import { SerialPort } from './serial-port.ts';
import { serialStreams } from './serial-streams.ts';

/** A serial device that takes what it is allowed to. */
class FakeDevice {
  room = 0;
  readonly taken: number[] = [];
  canReceive(): number {
    return this.room;
  }
  receive(bytes: Uint8Array): void {
    assert.ok(bytes.length <= this.room);
    this.room -= bytes.length;
    this.taken.push(...bytes);
  }
}

test('port: input waits for the device and is reported as it is taken', () => {
  const posted: FromMachine[] = [];
  const port = new SerialPort(1, (message) => posted.push(message));
  const device = new FakeDevice();
  port.connect(device);
  port.offer(Uint8Array.of(1, 2, 3));
  port.offer(Uint8Array.of(4));
  assert.equal(port.pump(), false);
  device.room = 2;
  assert.equal(port.pump(), true);
  device.room = 9;
  port.pump();
  assert.deepEqual(device.taken, [1, 2, 3, 4]);
  assert.deepEqual(posted, [
    { kind: 'serial-input-taken', port: 1, count: 2 },
    { kind: 'serial-input-taken', port: 1, count: 2 },
  ]);
});

test('port: input above the limit is dropped, never kept', () => {
  const port = new SerialPort(0, () => {});
  const device = new FakeDevice();
  port.connect(device);
  for (let round = 0; round < 3; round++) port.offer(new Uint8Array(INPUT_LIMIT_BYTES / 2 + 1));
  device.room = Number.POSITIVE_INFINITY;
  port.pump();
  assert.equal(device.taken.length, INPUT_LIMIT_BYTES);
});

test('port: output is copied and leaves in one message', () => {
  const posted: FromMachine[] = [];
  const port = new SerialPort(2, (message) => posted.push(message));
  const bytes = Uint8Array.of(1, 2);
  port.write(bytes);
  bytes.fill(9);
  port.write(Uint8Array.of(3));
  assert.equal(posted.length, 0);
  port.flush();
  port.flush();
  assert.deepEqual(posted, [{ kind: 'serial-output', port: 2, bytes: Uint8Array.of(1, 2, 3) }]);
});

test('port: output that is not taken fills it', () => {
  const port = new SerialPort(0, () => {});
  port.write(new Uint8Array(OUTPUT_LIMIT_BYTES - 1));
  assert.equal(port.outputFull, false);
  port.write(Uint8Array.of(1));
  assert.equal(port.outputFull, true);
  port.outputTaken(1);
  assert.equal(port.outputFull, false);
});

function setUpStreams() {
  const posted: ToMachine[] = [];
  const streams = serialStreams(0, (message) => posted.push(message));
  const takenBytes = () =>
    posted.reduce((sum, message) => sum + (message.kind === 'serial-output-taken' ? message.count : 0), 0);
  const sentBytes = () =>
    posted.reduce((sum, message) => sum + (message.kind === 'serial-input' ? message.bytes.length : 0), 0);
  return { streams, takenBytes, sentBytes };
}

test('output: is taken only as it is read', async () => {
  const { streams, takenBytes } = setUpStreams();
  const reader = streams.readable.getReader();
  streams.output(Uint8Array.of(1));
  streams.output(Uint8Array.of(2, 3));
  await setImmediate();
  assert.equal(takenBytes(), 0);
  assert.deepEqual((await reader.read()).value, Uint8Array.of(1));
  assert.equal(takenBytes(), 1);
  const later = reader.read();
  const last = reader.read();
  assert.deepEqual((await later).value, Uint8Array.of(2, 3));
  streams.end();
  assert.equal((await last).done, true);
});

test('output: nobody reads, only the newest is kept and the guest goes on', async () => {
  const { streams, takenBytes } = setUpStreams();
  for (let index = 0; index < 200; index++) streams.output(new Uint8Array(1024).fill(index));
  assert.equal(takenBytes(), (200 - 64) * 1024);
  streams.end();
  const chunks = await Array.fromAsync(streams.readable);
  assert.equal(chunks.length, 64);
  assert.equal(chunks[0][0], 136);
});

test('output: a cancelled stream takes everything', async () => {
  const { streams, takenBytes } = setUpStreams();
  streams.output(new Uint8Array(10));
  await streams.readable.cancel();
  streams.output(new Uint8Array(5));
  assert.equal(takenBytes(), 15);
  streams.end();
});

test('input: a large write goes in parts, as the guest takes them', async () => {
  const { streams, sentBytes } = setUpStreams();
  const writer = streams.writable.getWriter();
  let settled = false;
  const written = writer.write(new Uint8Array(200_000)).then(() => (settled = true));
  await setImmediate();
  assert.equal(sentBytes(), INPUT_LIMIT_BYTES);
  while (!settled) {
    streams.inputTaken(1000);
    await setImmediate();
  }
  await written;
  assert.equal(sentBytes(), 200_000);
});

test('input: a write that waits when the machine ends settles, and so does every later one', async () => {
  const { streams, sentBytes } = setUpStreams();
  const writer = streams.writable.getWriter();
  const waiting = writer.write(new Uint8Array(5000));
  await setImmediate();
  streams.end();
  await waiting;
  await writer.write(new Uint8Array(5));
  assert.equal(sentBytes(), 5000);
});
