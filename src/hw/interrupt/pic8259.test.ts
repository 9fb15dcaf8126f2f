import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeLine } from '../testing/fakes.ts';
import { Pic8259Pair } from './pic8259.ts';

const MASTER = 0x20;
const SLAVE = 0xa0;

function make(initialElcr = 0) {
  const intr = new FakeLine();
  const pic = new Pic8259Pair({ name: 'pic', intr, initialElcr });
  const bus = new PortBus();
  bus.map(MASTER, 2, pic.master, 'pic1');
  bus.map(SLAVE, 2, pic.slave, 'pic2');
  bus.map(0x4d0, 2, pic.elcr, 'elcr');
  const write = (port: number, ...values: number[]) => {
    for (const value of values) bus.write(port, 1, value);
  };
  const read = (port: number) => bus.read(port, 1);
  const pulse = (irq: number) => {
    pic.line(irq).set(true);
    pic.line(irq).set(false);
  };
  return { intr, pic, write, read, pulse };
}

/** As Linux does: vectors 0x30 and 0x38, nothing masked. */
function initialized(icw4 = 0x01) {
  const pc = make();
  pc.write(MASTER, 0x11);
  pc.write(MASTER + 1, 0x30, 0x04, icw4, 0x00);
  pc.write(SLAVE, 0x11);
  pc.write(SLAVE + 1, 0x38, 0x02, icw4, 0x00);
  return pc;
}

deviceStateSuite('8259 pair', () => {
  const { pic } = make(0x0e20);
  const windows = [pic.master, pic.slave, pic.elcr].map((device) => ({ device, size: 2 }));
  return { device: pic, windows };
});

test('an edge raises INTR and is acknowledged with its vector; EOI ends it', () => {
  const { intr, pic, pulse, write, read } = initialized();
  pulse(4);
  assert.deepEqual([intr.level, pic.acknowledge(), intr.level], [true, 0x34, false]);
  write(MASTER, 0x0b);
  assert.equal(read(MASTER), 0x10);
  pulse(4);
  assert.equal(intr.level, false);
  write(MASTER, 0x20);
  assert.equal(intr.level, true);
});

test('priority: 0 over all; the slave stands at 2; a higher one interrupts a lower one', () => {
  const { pic, intr, pulse, write } = initialized();
  pulse(3);
  pulse(8);
  assert.equal(pic.acknowledge(), 0x38);
  assert.equal(intr.level, false);
  pulse(0);
  assert.equal(pic.acknowledge(), 0x30);
  write(MASTER, 0x60 | 0);
  write(SLAVE, 0x20);
  write(MASTER, 0x60 | 2);
  assert.equal(pic.acknowledge(), 0x33);
});

test('the mask holds a request back', () => {
  const { intr, pulse, write, read } = initialized();
  write(MASTER + 1, 0x02);
  pulse(1);
  assert.deepEqual([intr.level, read(MASTER + 1), read(MASTER)], [false, 0x02, 0x02]);
  write(MASTER + 1, 0);
  assert.equal(intr.level, true);
});

test('an acknowledge with nothing pending is a spurious IRQ 7, without service', () => {
  const { pic, write, read } = initialized();
  assert.equal(pic.acknowledge(), 0x37);
  write(MASTER, 0x0b);
  assert.equal(read(MASTER), 0);
});

test('a level input asks as long as it is high (ELCR)', () => {
  const { pic, intr, write, read } = initialized();
  write(0x4d1, 0xff);
  write(0x4d0, 0xff);
  assert.deepEqual([read(0x4d0), read(0x4d1)], [0xf8, 0xde]);
  pic.line(11).set(true);
  assert.equal(pic.acknowledge(), 0x3b);
  write(SLAVE, 0x20);
  write(MASTER, 0x20);
  assert.equal(intr.level, true);
  pic.line(11).set(false);
  assert.equal(intr.level, false);
});

test('automatic EOI, and rotation in it', () => {
  const { pic, pulse, write } = initialized(0x03);
  write(MASTER, 0x80);
  pulse(3);
  assert.equal(pic.acknowledge(), 0x33);
  pulse(3);
  pulse(5);
  assert.deepEqual([pic.acknowledge(), pic.acknowledge()], [0x35, 0x33]);
});

test('rotation on EOI and set priority', () => {
  const { pic, pulse, write } = initialized();
  pulse(3);
  pic.acknowledge();
  write(MASTER, 0xa0);
  pulse(3);
  pulse(6);
  assert.equal(pic.acknowledge(), 0x36);
  write(MASTER, 0x20, 0xc0 | 2); // lowest is 2, highest 3
  pulse(0);
  assert.equal(pic.acknowledge(), 0x33);
});

test('special mask mode lets lower inputs through the one in service', () => {
  const { pic, intr, pulse, write } = initialized();
  pulse(1);
  pic.acknowledge();
  pulse(6);
  assert.equal(intr.level, false);
  write(MASTER + 1, 0x02);
  write(MASTER, 0x68);
  assert.equal(pic.acknowledge(), 0x36);
});

test('special fully nested mode: the slave may interrupt its own lower inputs', () => {
  const { pic, intr, pulse } = initialized(0x11);
  pulse(12);
  assert.equal(pic.acknowledge(), 0x3c);
  pulse(9);
  assert.equal(intr.level, true);
  assert.equal(pic.acknowledge(), 0x39);
});

test('poll mode acknowledges by a read', () => {
  const { intr, pulse, write, read } = initialized();
  write(MASTER, 0x0c);
  assert.equal(read(MASTER), 0);
  pulse(5);
  write(MASTER, 0x0c);
  assert.equal(read(MASTER), 0x85);
  assert.equal(intr.level, false);
});

test('initialization forgets edges and needs a new one', () => {
  const { pic, intr, write } = initialized();
  pic.line(4).set(true);
  write(MASTER, 0x11);
  write(MASTER + 1, 0x30, 0x04, 0x01, 0x00);
  assert.equal(intr.level, false);
  pic.line(4).set(false);
  pic.line(4).set(true);
  assert.equal(intr.level, true);
});
