import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize, BusDevice } from '../../contract/index.ts';
import { MmioBus, PortBus } from './bus.ts';
import { registerWindow } from './registers.ts';
import { byteWide, dwordWide } from './widths.ts';

/** A device that answers with its own letter and writes down what it is asked. */
function recorder(answer: number): BusDevice & { log: string[] } {
  const log: string[] = [];
  return {
    log,
    read(offset: number, size: AccessSize) {
      log.push(`r${size}@${offset}`);
      return answer;
    },
    write(offset: number, size: AccessSize, value: number) {
      log.push(`w${size}@${offset}=${value.toString(16)}`);
    },
  };
}

for (const [name, makeBus] of [
  ['ports', () => new PortBus()],
  ['mmio', () => new MmioBus()],
] as const) {
  test(`${name}: what is not mapped reads as ones and drops writes`, () => {
    const bus = makeBus();
    bus.write(0x100, 4, 1);
    assert.deepEqual([bus.read(0x100, 1), bus.read(0x100, 2), bus.read(0x100, 4)], [0xff, 0xffff, 0xffff_ffff]);
  });

  test(`${name}: a device sees offsets from its base and the access's width`, () => {
    const bus = makeBus();
    const device = recorder(0x12);
    bus.map(0x100, 8, device, 'device');
    assert.equal(bus.read(0x104, 4), 0x12);
    bus.write(0x107, 1, 0xab);
    assert.deepEqual(device.log, ['r4@4', 'w1@7=ab']);
  });

  test(`${name}: an access over a device's end is split into bytes`, () => {
    const bus = makeBus();
    const low = recorder(0x11);
    const high = recorder(0x22);
    bus.map(0x100, 2, low, 'low');
    bus.map(0x103, 1, high, 'high');
    assert.equal(bus.read(0x101, 4), 0xff22ff11);
    bus.write(0x0ff, 4, 0x44332211);
    assert.deepEqual(low.log, ['r1@1', 'w1@0=22', 'w1@1=33']);
    assert.deepEqual(high.log, ['r1@0']);
  });

  test(`${name}: an overlap is refused with both names, and unmapping makes room`, () => {
    const bus = makeBus();
    const first = bus.map(0x100, 8, recorder(1), 'first');
    assert.throws(() => bus.map(0x107, 2, recorder(2), 'second'), /second at 0x107\+0x2 overlaps first at 0x100\+0x8/);
    assert.throws(() => bus.map(0x0ff, 2, recorder(2), 'second'), /overlaps/);
    assert.equal(bus.read(0x100, 1), 1);
    first.unmap();
    first.unmap();
    assert.equal(bus.read(0x100, 1), 0xff);
    bus.map(0x107, 2, recorder(2), 'second');
    assert.equal(bus.read(0x108, 1), 2);
  });

  test(`${name}: a range outside the address space is refused`, () => {
    const bus = makeBus();
    for (const [base, size] of [
      [-1, 4],
      [0, 0],
      [2 ** 52, 1],
      [0.5, 1],
    ]) {
      assert.throws(() => bus.map(base, size, recorder(0), 'device'), /outside the address space/);
    }
  });
}

test('ports: an access over port FFFFh stops there', () => {
  const bus = new PortBus();
  bus.map(0xffff, 1, recorder(0x5a), 'last');
  assert.equal(bus.read(0xffff, 4), 0xffff_ff5a);
});

test('mmio: finds its device among many, also above 4 GiB', () => {
  const bus = new MmioBus();
  const bases = Array.from({ length: 50 }, (_, i) => i * 0x2_0000_0000 + i * 0x1000);
  for (const [i, base] of bases.entries()) bus.map(base, 0x1000, recorder(i), `device ${i}`);
  for (const [i, base] of bases.entries()) assert.equal(bus.read(base + 0xffc, 4), i);
  for (const base of bases) assert.equal(bus.read(base + 0x1000, 4), 0xffff_ffff);
});

test('byte registers take wide accesses one by one, lowest first', () => {
  const written: number[][] = [];
  const device = byteWide({ readByte: (at) => 0x10 + at, writeByte: (at, value) => written.push([at, value]) });
  assert.equal(device.read(1, 2), 0x1211);
  device.write(0, 4, 0xddccbbaa);
  assert.deepEqual(written, [
    [0, 0xaa],
    [1, 0xbb],
    [2, 0xcc],
    [3, 0xdd],
  ]);
});

test('dword registers give narrow and crossing reads their bytes', () => {
  const device = dwordWide({ readDword: (at) => [0x33221100, 0x77665544][at >> 2], writeDword: () => {} });
  assert.deepEqual([device.read(2, 1), device.read(6, 2), device.read(3, 4)], [0x22, 0x7766, 0x66554433]);
});

test('a register window splits and merges accesses over its rows', () => {
  const written: string[] = [];
  const note = (name: string) => (value: number, mask: number) =>
    written.push(`${name} ${value.toString(16)}/${mask.toString(16)}`);
  const window = registerWindow(8, [
    { name: 'a', offset: 0, width: 2, read: () => 0x1122, write: note('a') },
    { name: 'b', offset: 2, width: 1, read: () => 0x33, write: note('b') },
    { name: 'c', offset: 4, width: 4, read: () => 0xaabbccdd, write: note('c') },
  ]);
  assert.equal(window.read(0, 4), 0x00331122);
  assert.equal(window.read(1, 1), 0x11);
  assert.equal(window.read(6, 2), 0xaabb);
  window.write(1, 4, 0x44332211);
  assert.deepEqual(written, ['a 1100/ff00', 'b 22/ff', 'c 44/ff']);
  written.length = 0;
  window.write(5, 2, 0x2211);
  assert.deepEqual(written, ['c 221100/ffff00']);
  assert.throws(() => registerWindow(4, [{ name: 'x', offset: 3, width: 2 }]), /x overlaps the window end/);
});
