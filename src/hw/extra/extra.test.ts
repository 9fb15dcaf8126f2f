/** The small devices: their registers, driven through the buses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestMemory } from '../../contract/index.ts';
import { MmioBus, PortBus } from '../bus/index.ts';
import type { PciFunction } from '../pci/index.ts';
import { pvpanic, pvpanicPci } from '../platform/pvpanic.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { FakeClock, FakeLine } from '../testing/fakes.ts';
import { edu } from './edu.ts';
import { i6300esb } from './i6300esb.ts';
import { PcTestdev } from './pc-testdev.ts';
import { pciTestdev } from './pci-testdev.ts';

const BAR = 0xc000_0000;

function buses() {
  return { mmio: new MmioBus(), ports: new PortBus() };
}

/** Places BAR 0 and lets the function reach memory. */
function place(pciFunction: PciFunction): void {
  pciFunction.writeConfig(0x10, 4, BAR);
  pciFunction.writeConfig(0x04, 2, 0x6);
}

function memoryOf(size: number): GuestMemory {
  const buffer = new SharedArrayBuffer(size);
  return {
    buffer,
    ranges: [{ base: 0, size, offset: 0 }],
    size,
    view: (base, length) => (base + length <= size ? new Uint8Array(buffer, base, length) : undefined),
    written() {},
  };
}

test('pvpanic: what a guest says, as a port and as a PCI function', () => {
  const events: string[] = [];
  const port = pvpanic((event) => events.push(event));
  assert.equal(port.read(0, 1), 3);
  port.write(0, 1, 1);
  port.write(0, 1, 2);
  port.write(0, 1, 0);
  const { mmio, ports } = buses();
  place(pvpanicPci({ name: 'panic', mmio, ports, onEvent: (event) => events.push(`pci ${event}`) }));
  assert.equal(mmio.read(BAR, 1), 3);
  mmio.write(BAR, 1, 1);
  assert.deepEqual(events, ['panicked', 'crash-loaded', 'pci panicked']);
});

function watchdog() {
  const clock = new FakeClock();
  const bus = buses();
  let expired = 0;
  const device = i6300esb({ name: 'dog', clock, ...bus, onExpire: () => expired++ });
  place(device.pciFunction);
  const unlocked = (offset: number, value: number) => {
    bus.mmio.write(BAR + 0x0c, 2, 0x80);
    bus.mmio.write(BAR + 0x0c, 2, 0x86);
    bus.mmio.write(BAR + offset, offset === 0x0c ? 2 : 4, value);
  };
  return { clock, ...bus, ...device, unlocked, expired: () => expired };
}

deviceStateSuite('i6300esb', () => {
  const { timer, clock } = watchdog();
  const { registers } = timer as unknown as { registers: PcTestdev['windows'][0]['device'] };
  return { device: timer, windows: [{ device: registers, size: 16 }], advance: (nanos) => clock.advance(nanos) };
});

test('i6300esb: both stages pass, a reload begins anew, and the flag survives the reset', () => {
  const { clock, mmio, pciFunction, timer, unlocked, expired } = watchdog();
  // 1007 counts of 2^15 clocks at 33 MHz are a second.
  unlocked(0x00, 1007);
  unlocked(0x04, 1007);
  mmio.write(BAR + 0x00, 4, 5); // locked: no effect
  pciFunction.writeConfig(0x68, 1, 0x02);
  assert.equal(pciFunction.readConfig(0x68, 1), 0x02);
  clock.advance(1_500_000_000);
  assert.equal(expired(), 0);
  unlocked(0x0c, 0x100);
  clock.advance(1_900_000_000);
  assert.equal(expired(), 0);
  clock.advance(200_000_000);
  assert.equal(expired(), 1);
  timer.reset();
  assert.equal(mmio.read(BAR + 0x0c, 2), 0x1000);
  assert.equal(mmio.read(BAR + 0x0c, 2), 0);
});

function learner() {
  const [clock, intx, memory] = [new FakeClock(), new FakeLine(), memoryOf(8192)];
  const bus = buses();
  const device = edu({ name: 'edu', clock, memory, ...bus, intx, mayMaster: () => true });
  place(device.pciFunction);
  return { clock, intx, memory, ...bus, ...device };
}

deviceStateSuite('edu', () => {
  const { core, clock } = learner();
  const { registers } = core as unknown as { registers: PcTestdev['windows'][0]['device'] };
  return { device: core, windows: [{ device: registers, size: 0x100 }], advance: (nanos) => clock.advance(nanos) };
});

test('edu: identification, liveness, factorial with its interrupt, DMA both ways', () => {
  const { clock, intx, memory, mmio } = learner();
  const read = (offset: number) => mmio.read(BAR + offset, 4);
  const write = (offset: number, value: number) => mmio.write(BAR + offset, 4, value);
  assert.equal(read(0x00), 0x0100_00ed);
  write(0x04, 0x1234_5678);
  assert.equal(read(0x04), 0xedcb_a987);
  write(0x20, 0x80);
  write(0x08, 10);
  assert.equal(read(0x20) & 1, 1);
  clock.advance(10_000_000);
  assert.deepEqual([read(0x08), read(0x24), intx.level], [3_628_800, 1, true]);
  write(0x64, 1);
  assert.equal(intx.level, false);
  memory.view(0x100, 4)!.set([1, 2, 3, 4]);
  for (const [source, target, command] of [
    [0x100, 0x4_0000, 0x1],
    [0x4_0000, 0x200, 0x7],
  ]) {
    write(0x80, source);
    write(0x88, target);
    write(0x90, 4);
    write(0x98, command);
    clock.advance(200_000_000);
  }
  assert.deepEqual([...memory.view(0x200, 4)!], [1, 2, 3, 4]);
  assert.deepEqual([read(0x24), intx.level], [0x100, true]);
  // Nothing outside the buffer is reached.
  write(0x80, 0x4_0ffe);
  write(0x88, 0x300);
  write(0x98, 0x3);
  clock.advance(200_000_000);
  assert.deepEqual([...memory.view(0x300, 4)!], [0, 0, 0, 0]);
});

test('pci-testdev: a test counts the accesses that fit', () => {
  const { mmio, ports } = buses();
  const { pciFunction } = pciTestdev({ name: 'test', mmio, ports });
  place(pciFunction);
  mmio.write(BAR, 1, 2);
  const [offset, data] = [mmio.read(BAR + 4, 4), mmio.read(BAR + 8, 4)];
  mmio.write(BAR + offset, 1, data);
  mmio.write(BAR + offset, 1, data + 1);
  mmio.write(BAR + offset, 4, data);
  assert.equal(mmio.read(BAR + 12, 4), 1);
  assert.equal(String.fromCharCode(mmio.read(BAR + 16, 1)), 'd');
  mmio.write(BAR, 1, 7);
  assert.equal(mmio.read(BAR + 16, 1), 0);
});

const lines = Array.from({ length: 24 }, () => new FakeLine());
const testdev = () => new PcTestdev((line) => lines[line]);

deviceStateSuite('pc-testdev', () => {
  const device = testdev();
  return { device, windows: device.windows.map(({ device: window, size }) => ({ device: window, size })) };
});

test('pc-testdev: ports and memory keep what is written, and lines follow', () => {
  const [port, irq, memory] = testdev().windows;
  port.device.write(1, 1, 0xab);
  assert.equal(port.device.read(0, 4), 0xab00);
  irq.device.write(5, 1, 1);
  assert.equal(lines[5].level, true);
  irq.device.write(5, 1, 0);
  assert.equal(lines[5].level, false);
  memory.device.write(0x10, 4, 0x01020304);
  assert.equal(memory.device.read(0x11, 2), 0x0203);
});
