/** The board as a guest meets it: everything through ports and memory, one CPU, a fake clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../contract/index.ts';
import { PciFunction } from '../pci/index.ts';
import { seededRandom } from '../testing/device-state-suite.test.ts';
import { FakeCharPort, FakeClock, FakeCpu } from '../testing/fakes.ts';
import { testMemory } from '../testing/kernels.ts';
import { cmosContents } from './cmos.ts';
import { ACPI, MMIO, PORTS, pciIntxGsi, ramRegions } from './memory-map.ts';
import { createPcBoard } from './pc.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TICK_NANOS = 10_000_000;

function make() {
  const clock = new FakeClock();
  const cpu = new FakeCpu();
  const serial = Array.from({ length: 4 }, () => new FakeCharPort());
  const log: string[] = [];
  const board = createPcBoard({
    memory: testMemory(2 * MIB),
    clock,
    wallClock: { nowMillis: () => clock.nowNanos() / 1e6 },
    cpus: [cpu],
    serial,
    debugConsole: new FakeCharPort(),
    nanosFromTsc: (low, high) => high * 2 ** 32 + low,
    onPowerOff: () => log.push('power-off'),
    onReset: () => log.push('reset'),
    onDebugExit: (value) => log.push(`debug-exit ${value}`),
  });
  board.reset();
  const out = (port: number, ...values: number[]) => {
    for (const value of values) board.ports.write(port, 1, value);
  };
  const inb = (port: number) => board.ports.read(port, 1);
  const take = () => (board.apics[0].pendingVector() < 0 ? -1 : board.apics[0].acknowledge());
  const ioApicEntry = (pin: number, low: number) => {
    board.mmio.write(MMIO.ioApic.base, 4, 0x10 + 2 * pin);
    board.mmio.write(MMIO.ioApic.base + 0x10, 4, low);
  };
  const apicWrite = (offset: number, value: number) => board.mmio.write(MMIO.localApic.base + offset, 4, value);
  const initPics = (mask1: number, mask2: number) => {
    out(0x20, 0x11);
    out(0x21, 0x30, 0x04, 0x01, mask1);
    out(0xa0, 0x11);
    out(0xa1, 0x38, 0x02, 0x01, mask2);
  };
  /** 100 interrupts a second. */
  const startPit = () => {
    out(0x43, 0x34);
    out(0x40, 11_932 & 0xff, 11_932 >> 8);
  };
  return { clock, cpu, serial, log, board, out, inb, take, ioApicEntry, apicWrite, initPics, startPit };
}

test('early boot: the PIT reaches the CPU through the 8259s and LINT0', () => {
  const { clock, take, initPics, startPit, out } = make();
  initPics(0xfe, 0xff);
  startPit();
  clock.advance(TICK_NANOS + 1000);
  assert.equal(take(), 0x30);
  assert.equal(take(), -1);
  out(0x20, 0x20);
  clock.advance(TICK_NANOS);
  assert.equal(take(), 0x30);
});

test('APIC mode: the PIT arrives at IOAPIC pin 2, COM1 at pin 4', () => {
  const { clock, serial, take, ioApicEntry, apicWrite, initPics, startPit, out } = make();
  initPics(0xff, 0xff);
  apicWrite(0xf0, 0x1ff);
  ioApicEntry(2, 0x50);
  ioApicEntry(4, 0x54);
  startPit();
  clock.advance(TICK_NANOS + 1000);
  assert.equal(take(), 0x50);
  apicWrite(0xb0, 0);
  out(PORTS.com1.base + 4, 0x08);
  out(PORTS.com1.base + 1, 0x01);
  serial[0].offer(0x41);
  assert.equal(take(), 0x54);
});

test('COM1 and COM3 share a line', () => {
  const { serial, take, initPics, out, inb } = make();
  initPics(0xef, 0xff);
  for (const { base } of [PORTS.com1, PORTS.com3]) {
    out(base + 4, 0x08);
    out(base + 1, 0x01);
  }
  serial[2].offer(1);
  assert.equal(take(), 0x34);
  inb(PORTS.com3.base);
  out(0x20, 0x20);
  serial[0].offer(1);
  assert.equal(take(), 0x34);
});

test('a PCI card interrupts at its GSI, level triggered, and in PIC mode through its PIRQ', () => {
  const { board, take, ioApicEntry, apicWrite, initPics } = make();
  const intx = board.pciInterrupt(3, 0);
  const card = new PciFunction({
    name: 'card',
    identity: { vendorId: 0x1af4, deviceId: 0x1042, revision: 1, classCode: 0x01_00_00, interruptPin: 1 },
    mmio: board.mmio,
    ports: board.ports,
    intx,
  });
  board.addPciFunction(3, 0, card);
  assert.equal(board.mmio.read(MMIO.ecam.base + (3 << 15), 4), 0x1042_1af4);
  initPics(0xff, 0xff);
  apicWrite(0xf0, 0x1ff);
  ioApicEntry(pciIntxGsi(3, 0), 0x8060);
  card.setInterrupt(true);
  assert.equal(take(), 0x60);
  card.setInterrupt(false);
  apicWrite(0xb0, 0);
  assert.equal(take(), -1);

  ioApicEntry(pciIntxGsi(3, 0), 0x1_0000);
  initPics(0xfb, 0xf7); // cascade and 11
  card.setInterrupt(true);
  assert.equal(take(), 0x3b);
});

test('power-off, both resets of a kernel and the debug exit, each after the last output', () => {
  const { board, serial, log, out } = make();
  out(PORTS.com1.base, 0x41);
  board.ports.write(ACPI.pm1aControlBlock.base, 2, (ACPI.sleepTypeS5 << 10) | 0x2000);
  assert.deepEqual([log.splice(0), serial[0].sent], [['power-off'], [0x41]]);
  out(ACPI.resetPort, ACPI.resetValue);
  out(0x64, 0xfe);
  out(PORTS.debugExit.base, 5);
  assert.deepEqual(log, ['reset', 'reset', 'debug-exit 5']);
});

test('A20 is on at power-up and off only when both gates let go', () => {
  const { cpu, out } = make();
  const last = () => cpu.log.findLast((line) => line.startsWith('a20'));
  assert.equal(last(), 'a20 true');
  out(0x92, 0x02);
  out(0x64, 0xdd);
  assert.equal(last(), 'a20 true');
  out(0x92, 0x00);
  assert.equal(last(), 'a20 false');
});

test('ports nobody has read as ones', () => {
  const { inb } = make();
  assert.deepEqual([0x80, 0x170, 0x1f0, 0x378].map(inb), [0xff, 0xff, 0xff, 0xff]);
});

test('a whole board is restored from its devices, pending interrupts too', () => {
  const first = make();
  first.initPics(0xfe, 0xff);
  first.startPit();
  first.clock.advance(TICK_NANOS + 1000);
  const records = first.board.devices.map((device) => device.snapshot());
  const second = make();
  second.clock.advance(first.clock.nowNanos());
  for (const [i, device] of second.board.devices.entries()) device.restore(records[i]);
  assert.equal(second.take(), 0x30);
  second.out(0x20, 0x20);
  second.clock.advance(TICK_NANOS);
  assert.equal(second.take(), 0x30);
});

test('every device has a name of its own', () => {
  const { board } = make();
  const names = board.devices.map(({ name }) => name);
  assert.deepEqual(names, [...new Set(names)]);
});

test('random accesses to all ports and windows never throw', () => {
  const { seed, random } = seededRandom();
  const { board, clock, take } = make();
  const ports = Object.values(PORTS).filter(({ size }) => size <= 0x80);
  const windows = [MMIO.localApic, MMIO.ioApic, { base: MMIO.ecam.base, size: 0x10_0000 }];
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
  try {
    for (let i = 0; i < 20_000; i++) {
      const [bus, region] = random() < 0.7 ? [board.ports, pick(ports)] : [board.mmio, pick(windows)];
      const address = region.base + Math.floor(random() * region.size);
      const size = pick<AccessSize>([1, 2, 4]);
      if (random() < 0.5) bus.write(address, size, Math.floor(random() * 2 ** (8 * size)));
      else assert.ok(bus.read(address, size) < 2 ** (8 * size));
      if (random() < 0.1) clock.advance(Math.floor(random() * 100_000));
      take();
    }
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  }
});

test('RAM lies below the PCI hole and goes on at 4 GiB, as q35 has it', () => {
  assert.deepEqual(ramRegions(512 * MIB), [{ base: 0, size: 512 * MIB }]);
  assert.deepEqual(ramRegions(0xb000_0000), [{ base: 0, size: 0xb000_0000 }]);
  assert.deepEqual(ramRegions(3 * GIB), [
    { base: 0, size: 2 * GIB },
    { base: 4 * GIB, size: GIB },
  ]);
});

test('CMOS tells the memory sizes in their four ways', () => {
  const cmos = cmosContents(3 * GIB);
  const word = (address: number) => (cmos.get(address) ?? 0) | ((cmos.get(address + 1) ?? 0) << 8);
  assert.deepEqual([word(0x15), word(0x17), word(0x30)], [640, 0xffff, 0xffff]);
  assert.equal(word(0x34), (2 * GIB - 16 * MIB) / 0x1_0000);
  assert.equal(word(0x5b), GIB / 0x1_0000);
  assert.equal(cmosContents(2 * MIB).get(0x17), 0);
  assert.equal(cmosContents(2 * MIB).get(0x18), 4);
});
