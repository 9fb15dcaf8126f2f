import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BusDevice } from '../../contract/index.ts';
import { MmioBus, PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeLine } from '../testing/fakes.ts';
import type { PciFunctionOptions } from './index.ts';
import { hostBridge, LpcBridge, PciBus, PciFunction, PciSegment } from './index.ts';

const ECAM = 0xb000_0000;
const COMMAND = 0x04;
const BAR0 = 0x10;
const BAR1 = 0x14;
const BAR4 = 0x20;
const INTERRUPT_DISABLE = 0x400;

function constant(value: number): BusDevice {
  return { read: () => value, write: () => {} };
}

/** A bus with a test card at 00:02.0: 4 KiB of memory, 32 I/O ports and 16 GiB of 64-bit memory. */
function make(options: Partial<PciFunctionOptions> = {}) {
  const ports = new PortBus();
  const mmio = new MmioBus();
  const written: number[] = [];
  const root = new PciSegment({ mmio, ports, mayMaster: () => true, interrupt: () => new FakeLine() });
  const pci = new PciBus({ readByte: () => 0x5a, writeByte: (_, value) => written.push(value) }, root);
  const intx = new FakeLine();
  const card = new PciFunction({
    name: 'card',
    identity: { vendorId: 0x1af4, deviceId: 0x1042, revision: 1, classCode: 0x01_00_00, interruptPin: 1 },
    bars: [
      { index: 0, size: 0x1000, kind: 'memory32', device: constant(0x11) },
      { index: 1, size: 32, kind: 'io', device: constant(0x22) },
      { index: 4, size: 2 ** 34, kind: 'memory64', prefetchable: true, device: constant(0x33) },
    ],
    capabilities: [
      { id: 0x09, body: Uint8Array.of(0x10, 1, 0) },
      { id: 0x11, body: Uint8Array.of(0x03, 0x00), writable: Uint8Array.of(0x00, 0xc0) },
    ],
    mmio,
    ports,
    intx,
    ...options,
  });
  root.add(2, 0, card);
  ports.map(0xcf8, 4, pci.addressPort, 'address');
  ports.map(0xcfc, 4, pci.dataPort, 'data');
  mmio.map(ECAM, 0x1000_0000, pci.ecam, 'ecam');
  const at = (offset: number) => ECAM + (2 << 15) + offset;
  const read = (offset: number, size: 1 | 2 | 4 = 4) => mmio.read(at(offset), size);
  const write = (offset: number, value: number, size: 1 | 2 | 4 = 4) => mmio.write(at(offset), size, value);
  return { ports, mmio, pci, card, intx, written, read, write };
}

deviceStateSuite('PCI function', () => {
  const { card, pci } = make();
  const config: BusDevice = {
    read: (offset, size) => card.readConfig(offset, size),
    write: (offset, size, value) => card.writeConfig(offset, size, value),
  };
  return {
    device: card,
    windows: [
      { device: config, size: 0x100 },
      { device: pci.ecam, size: 0x2000 },
    ],
  };
});

deviceStateSuite('PCI bus', () => {
  const { pci } = make();
  return {
    device: pci,
    windows: [
      { device: pci.addressPort, size: 4 },
      { device: pci.dataPort, size: 4 },
    ],
  };
});

test('mechanism #1 and ECAM show the same space; nobody home is all ones', () => {
  const { ports, mmio, read } = make();
  ports.write(0xcf8, 4, 0x8000_1000);
  assert.equal(ports.read(0xcfc, 4), 0x1042_1af4);
  assert.equal(ports.read(0xcfe, 2), 0x1042);
  assert.equal(read(0x00), 0x1042_1af4);
  assert.equal(read(0x08), 0x0100_0001);
  assert.equal(mmio.read(ECAM + (3 << 15), 4), 0xffff_ffff);
  assert.equal(mmio.read(ECAM + (1 << 20) + (2 << 15), 4), 0xffff_ffff);
  ports.write(0xcf8, 4, 0x0000_1000);
  assert.equal(ports.read(0xcfc, 4), 0xffff_ffff);
});

test('a byte at CF9h is the reset control register', () => {
  const { ports, written } = make();
  ports.write(0xcf8, 4, 0x8000_f804);
  ports.write(0xcf9, 1, 0x06);
  assert.deepEqual([ports.read(0xcf9, 1), written, ports.read(0xcf8, 4)], [0x5a, [0x06], 0x8000_f804]);
});

test('BARs tell their size by their read-only bits (6.2.5.1)', () => {
  const { read, write } = make();
  for (const bar of [BAR0, BAR1, BAR4, BAR4 + 4, 0x18]) write(bar, 0xffff_ffff);
  assert.deepEqual(
    [BAR0, BAR1, BAR4, BAR4 + 4, 0x18].map((bar) => read(bar)),
    [0xffff_f000, 0xffff_ffe1, 0x0000_000c, 0xffff_fffc, 0],
  );
});

test('BARs are mapped where they point while the command register decodes them', () => {
  const { ports, mmio, read, write } = make();
  write(BAR0, 0xc000_0000);
  write(BAR1, 0x1000);
  write(BAR4 + 4, 0x80);
  assert.deepEqual([mmio.read(0xc000_0000, 1), ports.read(0x1000, 1)], [0xff, 0xff]);
  write(COMMAND, 0x3, 2);
  assert.deepEqual([mmio.read(0xc000_0ffc, 4), ports.read(0x101f, 1)], [0x11, 0x22]);
  assert.equal(mmio.read(0x80_0000_0000, 4), 0x33);
  write(BAR0, 0xc000_1000);
  assert.deepEqual([mmio.read(0xc000_0000, 1), mmio.read(0xc000_1000, 1)], [0xff, 0x11]);
  write(COMMAND, 0, 2);
  assert.deepEqual([mmio.read(0xc000_1000, 1), ports.read(0x1000, 1)], [0xff, 0xff]);
  assert.equal(read(BAR0), 0xc000_1000);
});

test('a BAR put over something else is not mapped and harms nobody', () => {
  const { mmio, read, write } = make();
  write(COMMAND, 0x2, 2);
  write(BAR0, ECAM);
  assert.equal(read(0x00), 0x1042_1af4);
  write(BAR0, 0xc000_0000);
  assert.equal(mmio.read(0xc000_0000, 1), 0x11);
});

test('restore and reset move the BARs too', () => {
  const { mmio, card, write } = make();
  write(COMMAND, 0x2, 2);
  write(BAR0, 0xc000_0000);
  const record = card.snapshot();
  card.reset();
  assert.equal(mmio.read(0xc000_0000, 1), 0xff);
  card.restore(record);
  assert.equal(mmio.read(0xc000_0000, 1), 0x11);
});

test('capabilities are linked from 34h, and only their writable bits change', () => {
  const { read, write } = make();
  assert.equal(read(0x06, 2) & 0x10, 0x10);
  const first = read(0x34, 1);
  const second = read(first + 1, 1);
  assert.deepEqual([read(first, 1), read(second, 1), read(second + 1, 1)], [0x09, 0x11, 0]);
  write(second + 2, 0xffff, 2);
  assert.equal(read(second + 2, 2), 0xc003);
});

test('INTx shows in the status register and can be disabled', () => {
  const { card, intx, read, write } = make();
  card.setInterrupt(true);
  assert.deepEqual([intx.level, read(0x06, 2) & 8], [true, 8]);
  write(COMMAND, INTERRUPT_DISABLE, 2);
  assert.deepEqual([intx.level, read(0x06, 2) & 8], [false, 8]);
  write(COMMAND, 0x4, 2);
  assert.deepEqual([intx.level, card.busMaster], [true, true]);
});

test('registers that overlap are refused', () => {
  assert.throws(() => make({ rows: [{ name: 'odd', offset: 0x41, width: 1 }] }), /odd overlaps capability 0/);
  const bar = { index: 5, size: 32, kind: 'memory64', device: constant(0) } as const;
  assert.throws(() => make({ bars: [bar] }), /BAR 5/);
});

test('the host bridge and the LPC bridge are what Q35 guests look for', () => {
  const ports = new PortBus();
  const mmio = new MmioBus();
  const mch = hostBridge({ mmio, ports, ecamBase: ECAM });
  assert.deepEqual(
    [mch.readConfig(0, 4), mch.readConfig(8, 4), mch.readConfig(0x60, 4)],
    [0x29c0_8086, 0x0600_0000, ECAM + 1],
  );
  const lpc = new LpcBridge({
    mmio,
    ports,
    pmBase: 0x600,
    pirqIsaIrqs: [10, 11, 10, 11],
    isaLine: () => new FakeLine(),
  });
  assert.deepEqual([lpc.pci.readConfig(0, 4), lpc.pci.readConfig(0x40, 4)], [0x2918_8086, 0x601]);
});

test('the LPC bridge routes PIRQs to ISA lines as its registers say (13.1.15)', () => {
  const lines = new Map<number, FakeLine>();
  const isaLine = (irq: number) => lines.set(irq, new FakeLine()).get(irq) as FakeLine;
  const buses = { mmio: new MmioBus(), ports: new PortBus() };
  const lpc = new LpcBridge({ ...buses, pmBase: 0x600, pirqIsaIrqs: [10, 11, 10, 11], isaLine });
  const high = () => [...lines].filter(([, line]) => line.level).map(([irq]) => irq);
  lpc.pirq(0).set(true);
  lpc.pirq(2).set(true);
  assert.deepEqual(high(), [10]);
  lpc.pci.writeConfig(0x60, 1, 5);
  assert.deepEqual(high(), [5, 10]);
  lpc.pci.writeConfig(0x62, 1, 0x80);
  assert.deepEqual(high(), [5]);
  lpc.pirq(0).set(false);
  assert.deepEqual(high(), []);
});
