import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteWide, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeClock, FakeLine } from '../testing/fakes.ts';
import { Rtc146818 } from './rtc146818.ts';

const START = Date.UTC(2024, 1, 28, 23, 59, 58);

function make() {
  const clock = new FakeClock();
  const irq = new FakeLine();
  const wallClock = { nowMillis: () => START + clock.nowNanos() / 1e6 };
  const rtc = new Rtc146818({ name: 'rtc', irq, clock, wallClock, cmos: new Map([[0x15, 0x80]]) });
  const bus = new PortBus();
  bus.map(0x70, 2, byteWide(rtc), 'rtc');
  const read = (register: number) => {
    bus.write(0x70, 1, register);
    return bus.read(0x71, 1);
  };
  const write = (register: number, value: number) => {
    bus.write(0x70, 1, register);
    bus.write(0x71, 1, value);
  };
  const time = () => [0x32, 9, 8, 7, 4, 2, 0].map((register) => read(register));
  const seconds = (count: number) => clock.advance(count * 1e9);
  return { clock, irq, rtc, bus, read, write, time, seconds };
}

const battery = 'battery-backed';
deviceStateSuite(
  'MC146818',
  () => {
    const { clock, rtc } = make();
    return { device: rtc, windows: [{ device: byteWide(rtc), size: 2 }], advance: (nanos) => clock.advance(nanos) };
  },
  { keptOverReset: { cmos: battery, offsetMillis: battery, a: battery, b: battery } },
);

test('tells the wall clock in BCD and 24 hours, over a leap day', () => {
  const { time, seconds, read } = make();
  assert.deepEqual(time(), [0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58]);
  assert.equal(read(6), 4); // a Wednesday, Sunday being 1
  seconds(2);
  assert.deepEqual(time(), [0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00]);
});

test('binary and 12 hours', () => {
  const { time, write, seconds } = make();
  write(11, 0x04);
  assert.deepEqual(time(), [20, 24, 2, 28, 0x80 | 11, 59, 58]);
  seconds(2);
  assert.deepEqual(time(), [20, 24, 2, 29, 12, 0, 0]);
});

test('the guest sets the time while SET holds the registers', () => {
  const { time, write, seconds } = make();
  write(11, 0x82);
  for (const [register, value] of [
    [0x32, 0x19],
    [9, 0x99],
    [8, 0x12],
    [7, 0x31],
    [4, 0x23],
    [2, 0x59],
    [0, 0x59],
  ]) {
    write(register, value);
  }
  seconds(5);
  assert.deepEqual(time(), [0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59]);
  write(11, 0x02);
  seconds(1);
  assert.deepEqual(time(), [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
});

test('UIP is high just before the seconds change', () => {
  const { clock, read } = make();
  clock.advance(990_000_000);
  assert.equal(read(10) & 0x80, 0);
  clock.advance(8_500_000);
  assert.equal(read(10) & 0x80, 0x80);
  clock.advance(1_500_000);
  assert.equal(read(10) & 0x80, 0);
});

test('the update interrupt comes once a second until C is read', () => {
  const { irq, read, write, seconds } = make();
  write(11, 0x12);
  seconds(0.5);
  assert.equal(irq.level, false);
  seconds(3);
  assert.deepEqual([irq.level, irq.edges], [true, 1]);
  assert.equal(read(12) & 0x90, 0x90);
  assert.equal(irq.level, false);
  seconds(1);
  assert.equal(irq.edges, 2);
});

test('the periodic interrupt has the rate of register A (table 5)', () => {
  for (const [rate, hertz] of [
    [6, 1024],
    [15, 2],
    [1, 256],
    [3, 8192],
  ]) {
    const { clock, irq, read, write } = make();
    write(10, 0x20 | rate);
    write(11, 0x42);
    let count = 0;
    for (let i = 0; i < 20_000; i++) {
      clock.advance(50_000);
      if (irq.level) count++;
      read(12);
    }
    assert.equal(count, hertz);
  }
});

test('the alarm matches hour, minute and second, or any of them', () => {
  const { irq, read, write, seconds } = make();
  write(5, 0x00);
  write(3, 0x01);
  write(1, 0x30);
  write(11, 0x22);
  seconds(91);
  assert.equal(irq.level, false);
  seconds(1);
  assert.equal(irq.level, true);
  assert.equal(read(12) & 0xa0, 0xa0);
  write(5, 0xff);
  write(3, 0xff);
  write(1, 0xff);
  seconds(1);
  assert.equal(irq.edges, 2);
});

test('CMOS memory, the valid bit, and the NMI mask of port 70h', () => {
  const { rtc, bus, read, write } = make();
  assert.equal(read(0x15), 0x80);
  write(0x40, 0x5a);
  assert.deepEqual([read(0x40), read(13)], [0x5a, 0x80]);
  bus.write(0x70, 1, 0x8f);
  assert.equal(rtc.nmiMasked, true);
});

test('a reset keeps time and memory', () => {
  const { rtc, read, write, time } = make();
  write(9, 0x30);
  write(0x40, 1);
  rtc.reset();
  assert.deepEqual([time()[1], read(0x40)], [0x30, 1]);
});
