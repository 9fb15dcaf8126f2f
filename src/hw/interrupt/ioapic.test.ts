import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dwordWide, MmioBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeMsiSink } from '../testing/fakes.ts';
import { IoApic } from './ioapic.ts';

const BASE = 0xfec0_0000;

function make() {
  const sink = new FakeMsiSink();
  const device = new IoApic({ name: 'ioapic', sink });
  const bus = new MmioBus();
  bus.map(BASE, 0x1000, dwordWide(device), 'ioapic');
  const write = (index: number, value: number) => {
    bus.write(BASE, 4, index);
    bus.write(BASE + 0x10, 4, value);
  };
  const read = (index: number) => {
    bus.write(BASE, 4, index);
    return bus.read(BASE + 0x10, 4);
  };
  return { sink, device, bus, read, write };
}

deviceStateSuite('I/O APIC', () => {
  const { device } = make();
  return { device, windows: [{ device: dwordWide(device), size: 0x44 }] };
});

test('says version 20h with 24 pins, all masked', () => {
  const { read } = make();
  assert.equal(read(1), 0x0017_0020);
  assert.equal(read(0x10), 0x1_0000);
  assert.equal(read(0x10 + 47), 0);
});

test('an edge sends one message to the destination of its entry', () => {
  const { sink, device, write } = make();
  write(0x15, 0x0300_0000);
  write(0x14, 0x0931);
  device.line(2).set(true);
  device.line(2).set(true);
  device.line(2).set(false);
  device.line(2).set(true);
  assert.deepEqual(sink.sent, Array(2).fill({ address: 0xfee0_3004, data: 0x0131 }));
});

test('an edge at a masked pin is lost', () => {
  const { sink, device, write } = make();
  write(0x18, 0x1_0031);
  device.line(4).set(true);
  write(0x18, 0x0_0031);
  assert.deepEqual(sink.sent, []);
});

test('a level waits for EOI while remote IRR is set, and comes again if the pin is still high', () => {
  const { sink, device, bus, read, write } = make();
  write(0x30, 0x8052);
  device.line(16).set(true);
  assert.deepEqual(sink.sent, [{ address: 0xfee0_0000, data: 0xc052 }]);
  assert.equal(read(0x30), 0xc052);
  device.line(16).set(false);
  device.line(16).set(true);
  assert.equal(sink.sent.length, 1);
  device.endOfInterrupt(0x51);
  assert.equal(sink.sent.length, 1);
  device.endOfInterrupt(0x52);
  assert.equal(sink.sent.length, 2);
  device.line(16).set(false);
  bus.write(BASE + 0x40, 4, 0x52);
  assert.deepEqual([sink.sent.length, read(0x30)], [2, 0x8052]);
});

test('unmasking a level pin that is high sends', () => {
  const { sink, device, write } = make();
  write(0x32, 0x1_8060);
  device.line(17).set(true);
  write(0x32, 0x8060);
  assert.equal(sink.sent.length, 1);
});

test('switching to edge clears remote IRR (how Linux frees a stuck entry)', () => {
  const { device, read, write } = make();
  write(0x30, 0x8052);
  device.line(16).set(true);
  write(0x30, 0x1_0052);
  write(0x30, 0x1_8052);
  assert.equal(read(0x30), 0x1_8052);
});
