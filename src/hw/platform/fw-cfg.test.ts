import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus } from '../bus/index.ts';
import { deviceStateSuite } from '../testing/device-state-suite.test.ts';
import { memoryView, testMemory } from '../testing/kernels.ts';
import { FwCfg } from './fw-cfg.ts';

const BASE = 0x510;
const MIB = 1024 * 1024;
const REQUEST = 0x1000;
const TARGET = 0x2000;

function make() {
  const memory = testMemory(MIB);
  const device = new FwCfg(memory);
  device.addFile('etc/one', Uint8Array.of(1, 2, 3));
  device.addFile(
    'etc/two',
    Uint8Array.from({ length: 300 }, (_, i) => i & 0xff),
  );
  const bus = new PortBus();
  bus.map(BASE, 12, device, 'fw-cfg');
  const read = (key: number, count: number) => {
    bus.write(BASE, 2, key);
    return Array.from({ length: count }, () => bus.read(BASE + 1, 1));
  };
  /** Runs a DMA request; returns its control word afterwards. */
  const dma = (control: number, length: number, target: number) => {
    const request = memoryView(memory, REQUEST, 16);
    request.setUint32(0, control);
    request.setUint32(4, length);
    request.setUint32(8, Math.floor(target / 2 ** 32));
    request.setUint32(12, target >>> 0);
    bus.write(BASE + 4, 4, 0);
    bus.write(BASE + 8, 4, 0x0010_0000); // 1000h, big-endian
    return request.getUint32(0);
  };
  return { memory, device, bus, read, dma };
}

deviceStateSuite('fw_cfg', () => {
  const { device } = make();
  return { device, windows: [{ device, size: 12 }] };
});

test('the signature, the features and the end of an item', () => {
  const { read } = make();
  assert.deepEqual(read(0x00, 6), [...Buffer.from('QEMU'), 0, 0]);
  assert.deepEqual(read(0x01, 4), [3, 0, 0, 0]);
  assert.deepEqual(read(0x7777, 2), [0, 0]);
});

test('the directory names files, their sizes and their keys', () => {
  const { read } = make();
  const directory = Buffer.from(read(0x19, 4 + 2 * 64));
  assert.equal(directory.readUInt32BE(0), 2);
  assert.equal(directory.readUInt32BE(4 + 64), 300);
  assert.equal(directory.readUInt16BE(4 + 64 + 4), 0x21);
  assert.equal(directory.toString('latin1', 4 + 64 + 8).replace(/\0+$/, ''), 'etc/two');
  assert.deepEqual(read(0x20, 4), [1, 2, 3, 0]);
});

test('DMA selects, skips, reads and fills with zeros past the end', () => {
  const { memory, bus, dma } = make();
  assert.equal(bus.read(BASE + 4, 4), Buffer.from('QEMU').readUInt32LE(0));
  assert.equal(dma((0x21 << 16) | 0x08 | 0x04, 298, 0), 0);
  memory.view(TARGET, 8)?.fill(0xee);
  assert.equal(dma(0x02, 4, TARGET), 0);
  assert.deepEqual([...(memory.view(TARGET, 5) ?? [])], [298 & 0xff, 299 & 0xff, 0, 0, 0xee]);
});

test('DMA that cannot be done says so: a write, or a target that is not RAM', () => {
  const { dma } = make();
  assert.equal(dma((0x20 << 16) | 0x18, 1, TARGET), 1);
  assert.equal(dma((0x20 << 16) | 0x0a, 0xffff_ffff, TARGET), 1);
  assert.equal(dma((0x20 << 16) | 0x0a, 1, 2 ** 40), 1);
});

test('a request that does not lie in RAM is dropped, and the next one works', () => {
  const { memory, bus, dma } = make();
  bus.write(BASE + 4, 4, 0xffff_ffff);
  bus.write(BASE + 8, 4, 0xffff_ffff);
  assert.equal(dma((0x20 << 16) | 0x0a, 2, TARGET), 0);
  assert.deepEqual([...(memory.view(TARGET, 2) ?? [])], [1, 2]);
});
