import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeLine } from '../testing/fakes.ts';
import { I8042 } from './i8042.ts';

const DATA = 0x60;
const COMMAND = 0x64;

function make() {
  const keyboardIrq = new FakeLine();
  const mouseIrq = new FakeLine();
  const a20: boolean[] = [];
  const counts = { resets: 0 };
  const device = new I8042({
    keyboardIrq,
    mouseIrq,
    setA20: (enabled) => a20.push(enabled),
    onReset: () => {
      counts.resets++;
    },
  });
  const bus = new PortBus();
  bus.map(DATA, 1, device.data, 'data');
  bus.map(COMMAND, 1, device.command, 'command');
  const command = (value: number, ...data: number[]) => {
    bus.write(COMMAND, 1, value);
    for (const byte of data) bus.write(DATA, 1, byte);
  };
  const status = () => bus.read(COMMAND, 1);
  const answer = () => (status() & 1 ? bus.read(DATA, 1) : undefined);
  return { device, bus, keyboardIrq, mouseIrq, a20, counts, command, status, answer };
}

deviceStateSuite('8042', () => {
  const { device } = make();
  const windows = [device.data, device.command].map((port) => ({ device: port, size: 1 }));
  return { device, windows };
});

test('tests itself and its interfaces, and keeps its configuration', () => {
  const { command, answer } = make();
  command(0xaa);
  assert.equal(answer(), 0x55);
  command(0xab);
  assert.equal(answer(), 0x00);
  command(0xa9);
  assert.equal(answer(), 0x00);
  command(0x60, 0x47);
  command(0xa7);
  command(0x20);
  assert.deepEqual([answer(), answer()], [0x67, undefined]);
});

test('the output port gates A20 and resets; so do commands DDh, DFh and FEh', () => {
  const { a20, counts, command } = make();
  command(0xd1, 0xcd);
  command(0xdf);
  command(0xdd);
  assert.deepEqual(
    a20.filter((level, i) => level !== a20[i - 1]),
    [true, false, true, false],
  );
  assert.equal(counts.resets, 0);
  command(0xfe);
  command(0xff);
  assert.equal(counts.resets, 1);
  command(0xd1, 0x02);
  assert.equal(counts.resets, 2);
});

test('no keyboard and no mouse: a byte for one is answered with a timeout', () => {
  const { bus, keyboardIrq, mouseIrq, command, status, answer } = make();
  command(0x60, 0x03);
  bus.write(DATA, 1, 0xff);
  assert.equal(status() & 0x61, 0x41);
  assert.equal(keyboardIrq.level, true);
  assert.equal(answer(), 0xfe);
  assert.equal(keyboardIrq.level, false);
  command(0xd4, 0xff);
  assert.equal(status() & 0x61, 0x61);
  assert.deepEqual([mouseIrq.level, answer()], [true, 0xfe]);
});

test('the mouse loop answers what it is given, one interrupt a byte', () => {
  const { mouseIrq, command, answer } = make();
  command(0x60, 0x02);
  command(0xd3, 0x5a);
  command(0xd3, 0xa5);
  assert.equal(mouseIrq.edges, 1);
  assert.equal(answer(), 0x5a);
  assert.equal(mouseIrq.edges, 2);
  assert.equal(answer(), 0xa5);
});

test('answers nobody reads are limited', () => {
  const { command, answer } = make();
  for (let i = 0; i < 1000; i++) command(0xaa);
  let count = 0;
  while (answer() !== undefined) count++;
  assert.equal(count, 16);
});
