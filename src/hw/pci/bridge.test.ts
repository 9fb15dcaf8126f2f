/** Bridges, root ports and MSI as a guest programs them: PCI-to-PCI Bridge 1.2, PCI Express Base 3.0, 6.7 and 7.8. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioBus, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeLine, FakeMsiSink } from '../testing/fakes.ts';
import type { Bridge } from './index.ts';
import { conventionalBridge, PciBus, PciFunction, PciSegment, rootPort } from './index.ts';

const ECAM = 0xb000_0000;

function setUp() {
  const [mmio, ports, msi] = [new MmioBus(), new PortBus(), new FakeMsiSink()];
  const asked: [number, number][] = [];
  const root = new PciSegment({
    mmio,
    ports,
    mayMaster: () => true,
    interrupt(device, pin) {
      asked.push([device, pin]);
      return new FakeLine();
    },
  });
  const pci = new PciBus({ readByte: () => 0, writeByte() {} }, root);
  mmio.map(ECAM, 0x1000_0000, pci.ecam, 'ecam');
  const config = (bus: number, device: number) => {
    const at = ECAM + bus * 0x10_0000 + device * 0x8000;
    return {
      read: (offset: number, size: 1 | 2 | 4 = 4) => mmio.read(at + offset, size),
      write: (offset: number, value: number, size: 1 | 2 | 4 = 4) => mmio.write(at + offset, size, value),
    };
  };
  return { mmio, ports, msi, root, asked, config };
}

/** A card with 4 KiB of memory, 32 ports and a large 64-bit window. */
function card(on: PciSegment): PciFunction {
  const constant = (value: number) => ({ read: () => value, write() {} });
  return new PciFunction({
    name: 'card',
    identity: { vendorId: 0x1234, deviceId: 1, revision: 0, classCode: 0x02_00_00 },
    bars: [
      { index: 0, size: 0x1000, kind: 'memory32', device: constant(0x11) },
      { index: 1, size: 32, kind: 'io', device: constant(0x22) },
      { index: 4, size: 0x20_0000, kind: 'memory64', prefetchable: true, device: constant(0x33) },
    ],
    mmio: on.mmio,
    ports: on.ports,
    mayMaster: on.mayMaster,
  });
}

function addBridge(root: PciSegment, slot: number, name: string): Bridge {
  const bridge = conventionalBridge({ name, slot, upstream: root });
  root.add(slot, 0, bridge.pciFunction, bridge);
  return bridge;
}

test('type 1 header: what it says, and what of it can be written', () => {
  const { root, config } = setUp();
  addBridge(root, 3, 'one');
  const bridge = config(0, 3);
  assert.deepEqual([bridge.read(0), bridge.read(0x0e, 1), bridge.read(0x0b, 1)], [0x0001_1b36, 1, 6]);
  bridge.write(0x1c, 0xffff_ffff);
  bridge.write(0x20, 0xffff_ffff);
  bridge.write(0x24, 0xffff_ffff);
  bridge.write(0x30, 0xffff_ffff);
  assert.deepEqual(
    [0x1c, 0x20, 0x24, 0x30].map((at) => bridge.read(at)),
    [0x0000_f0f0, 0xfff0_fff0, 0xfff1_fff1, 0],
  );
  assert.equal(bridge.read(bridge.read(0x34, 1), 1), 0x0d);
  assert.equal(bridge.read(bridge.read(0x34, 1) + 4), 0x1100_1af4);
});

test('configuration goes by bus numbers, also through two bridges', () => {
  const { root, config } = setUp();
  const outer = addBridge(root, 3, 'outer');
  const inner = addBridge(outer.segment, 5, 'inner');
  inner.segment.add(7, 0, card(inner.segment));
  assert.equal(config(1, 5).read(0), 0xffff_ffff);
  config(0, 3).write(0x18, 0x0002_0100);
  assert.equal(config(1, 5).read(0), 0x0001_1b36);
  config(1, 5).write(0x18, 0x0002_0201);
  assert.deepEqual(
    [config(2, 7).read(0), config(2, 6).read(0), config(3, 7).read(0)],
    [0x0001_1234, -1 >>> 0, -1 >>> 0],
  );
});

test('a guest that numbers buses in a circle finds nothing, and an end', () => {
  const { root, config } = setUp();
  const outer = addBridge(root, 3, 'outer');
  addBridge(outer.segment, 5, 'inner');
  config(0, 3).write(0x18, 0x00ff_0100);
  config(1, 5).write(0x18, 0x00ff_0101);
  assert.equal(config(9, 5).read(0), 0xffff_ffff);
  config(0, 3).write(0x18, 0x00ff_0000);
  assert.equal(config(9, 5).read(0), 0xffff_ffff);
});

test('3.2.5: memory, prefetchable memory and ports are seen through their windows alone', () => {
  const { root, config, mmio, ports } = setUp();
  const { segment } = addBridge(root, 3, 'one');
  segment.add(0, 0, card(segment));
  const bridge = config(0, 3);
  bridge.write(0x18, 0x0001_0100);
  const device = config(1, 0);
  device.write(0x10, 0xc010_2000);
  device.write(0x14, 0x2040);
  device.write(0x20, 0x2000_0000);
  device.write(0x24, 0x80);
  device.write(0x04, 3, 2);
  const seen = () => [mmio.read(0xc010_2000, 4), ports.read(0x2040, 1), mmio.read(0x80_2000_0000, 4)];
  const nothing = [0xffff_ffff, 0xff, 0xffff_ffff];
  assert.deepEqual(seen(), nothing);
  bridge.write(0x20, 0xc010_c010);
  bridge.write(0x1c, 0x2020, 2);
  bridge.write(0x24, 0x2011_2001);
  bridge.write(0x28, 0x80);
  bridge.write(0x2c, 0x80);
  assert.deepEqual(seen(), nothing);
  bridge.write(0x04, 1, 2);
  assert.deepEqual(seen(), [0xffff_ffff, 0x22, 0xffff_ffff]);
  bridge.write(0x04, 2, 2);
  assert.deepEqual(seen(), [0x11, 0xff, 0x33]);
  bridge.write(0x20, 0xc020_c020);
  assert.deepEqual(seen(), [0xffff_ffff, 0xff, 0x33]);
});

test('a function reaches memory only when every bridge above it may', () => {
  const { root, config } = setUp();
  const bridge = addBridge(root, 3, 'one');
  const device = card(bridge.segment);
  bridge.segment.add(0, 0, device);
  config(0, 3).write(0x18, 0x0001_0100);
  config(1, 0).write(0x04, 4, 2);
  assert.equal(device.busMaster, false);
  config(0, 3).write(0x04, 4, 2);
  assert.equal(device.busMaster, true);
});

test('table 9-1: pins turn with the device number, and a secondary reset is told once', () => {
  const { root, asked, config } = setUp();
  let resets = 0;
  const bridge = conventionalBridge({ name: 'one', slot: 3, upstream: root, onSecondaryReset: () => resets++ });
  root.add(3, 0, bridge.pciFunction, bridge);
  bridge.segment.interrupt(6, 3);
  assert.deepEqual(asked, [[3, 1]]);
  for (const control of [0x40, 0x42, 0, 0x40]) config(0, 3).write(0x3e, control, 2);
  assert.equal(resets, 2);
});

function port() {
  const made = setUp();
  const line = new FakeLine();
  let poweredOff = 0;
  const root = made.root;
  const slot = rootPort({
    name: 'port',
    slot: 4,
    number: 9,
    upstream: root,
    msi: made.msi,
    intx: line,
    onPowerOff: () => poweredOff++,
  });
  root.add(4, 0, slot.pciFunction, slot);
  const config = made.config(0, 4);
  const find = (id: number) => {
    for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) if (config.read(at, 1) === id) return at;
    throw new Error(`no capability ${id}`);
  };
  return { ...made, config, slot, line, express: find(0x10), msiAt: find(0x05), poweredOff: () => poweredOff };
}

test('root port: a slot that is told about by interrupts, and where one device fits', () => {
  const { config, slot, line, express, config: c } = port();
  assert.equal(slot.segment.deviceCount, 1);
  assert.equal(config.read(express + 2, 2), 0x0142);
  assert.equal(config.read(express + 0x14) >>> 19, 9);
  assert.deepEqual([c.read(express + 0x1a, 2), c.read(express + 0x12, 2)], [0, 0x11]);
  c.write(express + 0x18, 0x0029 | 0x1000, 2);
  slot.plugged();
  assert.deepEqual([c.read(express + 0x1a, 2), c.read(express + 0x12, 2), line.level], [0x0148, 0x2011, true]);
  c.write(express + 0x1a, 0xffff, 2);
  assert.deepEqual([c.read(express + 0x1a, 2), line.level], [0x0040, false]);
  slot.pressButton();
  assert.deepEqual([c.read(express + 0x1a, 2), line.level], [0x0041, true]);
});

test('root port: power that goes off lets the device go; a reset keeps it in the slot', () => {
  const { config, slot, express, poweredOff } = port();
  slot.occupy();
  slot.pciFunction.reset();
  assert.equal(config.read(express + 0x1a, 2), 0x0040);
  config.write(express + 0x18, 0x0400, 2);
  config.write(express + 0x18, 0x0400, 2);
  assert.equal(poweredOff(), 1);
  slot.unplugged();
  assert.equal(config.read(express + 0x1a, 2), 0x0108);
  config.write(express + 0x18, 0, 2);
  config.write(express + 0x18, 0x0400, 2);
  assert.equal(poweredOff(), 1);
});

test('MSI: a message for what begins to wait, kept while masked, none while off', () => {
  const { config, slot, line, express, msiAt, msi } = port();
  const control = config.read(msiAt + 2, 2);
  assert.equal(control, 0x0180);
  config.write(msiAt + 4, 0xfee0_1004);
  config.write(msiAt + 12, 0x55, 2);
  config.write(express + 0x18, 0x0029, 2);
  slot.plugged();
  assert.deepEqual([msi.sent, line.level], [[], true]);
  config.write(express + 0x1a, 0xffff, 2);
  config.write(msiAt + 2, 1, 2);
  slot.unplugged();
  assert.deepEqual([msi.sent.splice(0), line.level], [[{ address: 0xfee0_1004, data: 0x55 }], false]);
  config.write(express + 0x1a, 0xffff, 2);
  config.write(msiAt + 16, 1);
  slot.plugged();
  assert.deepEqual([msi.sent, config.read(msiAt + 20)], [[], 1]);
  config.write(msiAt + 16, 0);
  assert.deepEqual([msi.sent.length, config.read(msiAt + 20)], [1, 0]);
  config.write(msiAt + 8, 1);
  config.write(express + 0x1a, 0xffff, 2);
  slot.unplugged();
  assert.equal(msi.sent.length, 1);
});

deviceStateSuite('PCI root port', () => {
  const { slot, mmio } = port();
  const at = ECAM + 4 * 0x8000;
  const window = {
    read: (offset: number, size: 1 | 2 | 4) => mmio.read(at + offset, size),
    write: (offset: number, size: 1 | 2 | 4, value: number) => mmio.write(at + offset, size, value),
  };
  return { device: slot.pciFunction, windows: [{ device: window, size: 0x100 }] };
});
