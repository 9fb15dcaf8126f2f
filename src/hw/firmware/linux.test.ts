import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../base/index.ts';
import { bzImage, memoryView, testMemory } from '../testing/kernels.ts';
import { loadKernel } from './detect.ts';

const MIB = 1024 * 1024;
const CODE = Uint8Array.of(0xfa, 0xf4); // cli; hlt

test('a bzImage is entered at load address + 0x200 in long mode with RSI at the zero page (boot.rst, 64-bit)', () => {
  const memory = testMemory(64 * MIB);
  const { protocol, entry } = loadKernel({ kernel: bzImage(CODE) }, memory);
  assert.equal(protocol, 'linux64');
  assert.equal(entry.mode, 'long64');
  assert.equal(entry.rip, 2 * MIB + 0x200);
  assert.deepEqual(memory.view(entry.rip, 2), CODE);
  assert.equal(memoryView(memory, entry.registers.rsi + 0x202, 4).getUint32(0, true), 0x5372_6448);
  assert.deepEqual(entry.selectors, { code: 0x10, data: 0x18 });
});

test('the GDT has a 64-bit code segment at 0x10 and a writable data segment at 0x18', () => {
  const memory = testMemory(64 * MIB);
  const { gdt } = loadKernel({ kernel: bzImage(CODE) }, memory).entry;
  assert.ok(gdt !== undefined && gdt.limit >= 0x1f);
  const view = memoryView(memory, gdt.base, gdt.limit + 1);
  assert.equal(view.getBigUint64(0x10, true), 0x00af_9a00_0000_ffffn);
  assert.equal(view.getBigUint64(0x18, true), 0x00cf_9200_0000_ffffn);
});

test('the page tables map the first 4 GiB to themselves', () => {
  const memory = testMemory(64 * MIB);
  const { cr3 } = loadKernel({ kernel: bzImage(CODE) }, memory).entry;
  assert.ok(cr3 !== undefined);
  const read = (at: number) => memoryView(memory, at, 8).getBigUint64(0, true);
  const tableOf = (entry: bigint) => {
    assert.equal(entry & 3n, 3n, 'present and writable');
    return Number(entry & 0xffff_ffff_f000n);
  };
  for (const address of [0, 0x20_0000, 0x1234_5678, 0x4000_0000, 0xffe0_0000]) {
    const directories = tableOf(read(cr3));
    const directory = tableOf(read(directories + Math.floor(address / 2 ** 30) * 8));
    const entry = read(directory + (Math.floor(address / 2 ** 21) % 512) * 8);
    assert.equal(entry & 0x83n, 0x83n, 'a 2 MiB page');
    assert.equal(Number(entry & ~0x1f_ffffn), Math.floor(address / 2 ** 21) * 2 ** 21);
  }
});

test('zero page: command line, e820 map, RSDP and loader type', () => {
  const memory = testMemory(64 * MIB);
  const { entry } = loadKernel({ kernel: bzImage(CODE), commandLine: 'console=ttyS0 ü', rsdp: 0xe_0000 }, memory);
  const page = memoryView(memory, entry.registers.rsi, 4096);
  const text = new TextDecoder().decode(memory.view(page.getUint32(0x228, true), 17)?.slice());
  assert.equal(text, 'console=ttyS0 ü\0');
  assert.equal(page.getUint8(0x210), 0xff);
  assert.equal(page.getBigUint64(0x070, true), 0xe_0000n);
  const entries = Array.from({ length: page.getUint8(0x1e8) }, (_, index) => {
    const at = 0x2d0 + index * 20;
    return [page.getBigUint64(at, true), page.getBigUint64(at + 8, true), page.getUint32(at + 16, true)];
  });
  assert.deepEqual(entries, [
    [0n, 0x9_fc00n, 1],
    [0x9_fc00n, 0x400n, 2],
    [0xe_0000n, 0x2_0000n, 2],
    [0x10_0000n, 0x3f0_0000n, 1],
    [0xb000_0000n, 0x1000_0000n, 2],
  ]);
});

test('the initrd lies page-aligned as high as RAM and initrd_addr_max allow', () => {
  const memory = testMemory(64 * MIB);
  const initrd = new Uint8Array(5000).fill(7);
  const place = (initrdAddressMax: number) => {
    const { entry } = loadKernel({ kernel: bzImage(CODE, { initrdAddressMax }), initrd }, memory);
    const page = memoryView(memory, entry.registers.rsi, 4096);
    assert.equal(page.getUint32(0x21c, true), 5000);
    const base = page.getUint32(0x218, true);
    assert.deepEqual(memory.view(base, 5000)?.slice(), initrd);
    return base;
  };
  assert.equal(place(0x7fff_ffff), 64 * MIB - 8192);
  assert.equal(place(0x1ff_ffff), 32 * MIB - 8192);
});

test('RAM above the PCI hole is in the map and not used by the loader', { timeout: 5000 }, () => {
  const memory = testMemory(3072 * MIB);
  const initrd = new Uint8Array(5000);
  const { entry } = loadKernel({ kernel: bzImage(CODE, { initrdAddressMax: 0xffff_ffff }), initrd }, memory);
  const page = memoryView(memory, entry.registers.rsi, 4096);
  assert.equal(page.getUint32(0x218, true), 2048 * MIB - 8192);
  const last = 0x2d0 + (page.getUint8(0x1e8) - 1) * 20;
  assert.equal(page.getBigUint64(last, true), 0x1_0000_0000n);
  assert.equal(page.getBigUint64(last + 8, true), BigInt(1024 * MIB));
});

const REFUSED: readonly [string, Parameters<typeof loadKernel>[0], RegExp][] = [
  ['old protocol', { kernel: bzImage(CODE, { version: 0x20b }) }, /boot protocol 2\.11; this needs 2\.12/],
  ['32-bit kernel', { kernel: bzImage(CODE, { xloadflags: 0 }) }, /32-bit bzImage/],
  [
    'truncated header',
    { kernel: bzImage(CODE).subarray(0, 0x250) },
    /truncated bzImage: it ends inside its setup header/,
  ],
  [
    'truncated code',
    { kernel: bzImage(new Uint8Array(9000)).subarray(0, 5000) },
    /promises 10\.3 KiB, the file has 4\.9/,
  ],
  [
    'too large',
    { kernel: bzImage(CODE, { initSize: 100 * MIB }) },
    /does not fit .*\(64 MiB\): it takes at least 102 MiB/,
  ],
  [
    'initrd > RAM',
    { kernel: bzImage(CODE), initrd: new Uint8Array(65 * MIB) },
    /initrd \(65 MiB\) is larger than .*\(64 MiB\)/,
  ],
  [
    'initrd > rest',
    { kernel: bzImage(CODE), initrd: new Uint8Array(62 * MIB) },
    /does not fit beside .* at least 66 MiB/,
  ],
  [
    'long line',
    { kernel: bzImage(CODE), commandLine: 'x'.repeat(2048) },
    /2048 bytes long; this kernel takes at most 2047/,
  ],
  ['two lines', { kernel: bzImage(CODE), commandLine: 'a\nb' }, /must be one line/],
];

for (const [what, request, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => loadKernel(request, testMemory(64 * MIB)),
      (error) => error instanceof UserError && message.test(error.message) && !error.message.includes('\n'),
    );
  });
}

test('the largest command line that the kernel takes is taken', () => {
  const memory = testMemory(64 * MIB);
  loadKernel({ kernel: bzImage(CODE), commandLine: 'x'.repeat(2047) }, memory);
  assert.equal(memory.view(0x2_0000 + 2046, 2)?.[0], 0x78);
  assert.equal(memory.view(0x2_0000 + 2046, 2)?.[1], 0);
});
