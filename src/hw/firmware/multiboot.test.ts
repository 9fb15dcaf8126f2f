import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elfFile, memoryView, multibootHeader, testMemory } from '../testing/kernels.ts';
import { loadKernel } from './detect.ts';

const MIB = 1024 * 1024;
const ADDRESS_FIELDS = 1 << 16;

/** A flat file: its header at the start, loaded at 1 MiB, entered behind the header. */
function flatKernel(loadBytes: number, bssEnd: number): Uint8Array {
  const header = multibootHeader(ADDRESS_FIELDS, [MIB, MIB, MIB + loadBytes, bssEnd, MIB + 32]);
  return Uint8Array.of(...header, 0xfa, 0xf4, 0x90, 0x90);
}

test('an ELF multiboot kernel gets EAX magic, EBX information (Multiboot 0.6.96, 3.2 and 3.3)', () => {
  const memory = testMemory(32 * MIB);
  const kernel = elfFile(multibootHeader(3), { bits: 32, base: MIB, entry: MIB + 12 });
  const initrd = Uint8Array.of(9, 8, 7);
  const { protocol, entry } = loadKernel({ kernel, initrd, commandLine: 'a=b' }, memory);

  assert.equal(protocol, 'multiboot');
  assert.equal(entry.mode, 'protected32');
  assert.equal(entry.rip, MIB + 12);
  assert.equal(entry.registers.rax, 0x2bad_b002);
  const info = memoryView(memory, entry.registers.rbx, 120);
  const word = (at: number) => info.getUint32(at, true);
  assert.equal(word(0) & 0x4d, 0x4d, 'memory, command line, modules and map are valid');
  assert.equal(word(4), 639, 'mem_lower in KiB');
  assert.equal(word(8), 31 * 1024, 'mem_upper in KiB');
  assert.equal(new TextDecoder().decode(memory.view(word(16), 4)?.slice()), 'a=b\0');
  assert.equal(word(20), 1, 'one module');
  const module = memoryView(memory, word(24), 16);
  const start = module.getUint32(0, true);
  assert.equal(start % 4096, 0);
  assert.equal(module.getUint32(4, true) - start, 3);
  assert.deepEqual(memory.view(start, 3)?.slice(), initrd);
  assert.equal(new TextDecoder().decode(memory.view(module.getUint32(8, true), 7)?.slice()), 'initrd\0');
  assert.equal(word(44), 5 * 24, 'memory map bytes');
  const map = memoryView(memory, word(48), 24);
  assert.deepEqual([map.getUint32(0, true), map.getBigUint64(12, true), map.getUint32(20, true)], [20, 0x9_fc00n, 1]);
});

test('a flat kernel is placed by the address fields and its bss zeroed', () => {
  const memory = testMemory(32 * MIB);
  memory.view(MIB, 200)?.fill(0xff);
  const kernel = flatKernel(36, MIB + 100);
  const { entry } = loadKernel({ kernel }, memory);
  assert.equal(entry.rip, MIB + 32);
  assert.deepEqual(memory.view(MIB, 36)?.slice(), kernel.subarray(0, 36));
  assert.deepEqual(memory.view(MIB + 36, 65)?.slice(), Uint8Array.of(...new Uint8Array(64), 0xff));
});

const REFUSED: readonly [string, Uint8Array, RegExp][] = [
  ['64-bit ELF', elfFile(multibootHeader(0)), /64-bit ELF file; multiboot takes a 32-bit one/],
  ['unknown requirement', elfFile(multibootHeader(0x8), { bits: 32 }), /requires features 0x8/],
  ['neither', multibootHeader(0), /neither an ELF file nor gives its load addresses/],
  ['cut off inside', multibootHeader(ADDRESS_FIELDS, [MIB]), /truncated inside its header/],
  ['truncated', flatKernel(5000, 0), /promises 5000 bytes, the file has 36/],
  ['contradiction', flatKernel(36, MIB + 1), /load addresses .* contradict/],
  ['too large', flatKernel(36, 40 * MIB), /does not fit .* at least 40 MiB/],
];

for (const [what, kernel, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    assert.throws(() => loadKernel({ kernel }, testMemory(32 * MIB)), { name: 'UserError', message });
  });
}
