import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elfFile, memoryView, testMemory } from '../testing/kernels.ts';
import { loadKernel } from './detect.ts';

const MIB = 1024 * 1024;
const CONTENT = Uint8Array.of(0xfa, 0xf4, 0x90);

for (const bits of [64, 32] as const) {
  test(`a ${bits}-bit PVH kernel is entered at its note's address with EBX at the start info`, () => {
    const memory = testMemory(32 * MIB);
    memory.view(2 * MIB, 100)?.fill(0xff);
    const kernel = elfFile(CONTENT, { bits, entry: 0x1234, pvhEntry: 2 * MIB + 1, bssBytes: 50 });
    const initrd = Uint8Array.of(1, 2, 3);
    const { protocol, entry } = loadKernel({ kernel, initrd, commandLine: 'quiet', rsdp: 0xe_0000 }, memory);

    assert.equal(protocol, 'pvh');
    assert.equal(entry.mode, 'protected32');
    assert.equal(entry.rip, 2 * MIB + 1);
    assert.deepEqual(memory.view(2 * MIB, 54)?.slice(), Uint8Array.of(...CONTENT, ...new Uint8Array(50), 0xff));
    const info = memoryView(memory, entry.registers.rbx, 56); // struct hvm_start_info
    assert.equal(info.getUint32(0, true), 0x336e_c578);
    assert.equal(info.getUint32(4, true), 1);
    assert.equal(info.getUint32(12, true), 1, 'one module');
    const module = memoryView(memory, Number(info.getBigUint64(16, true)), 32);
    assert.deepEqual(memory.view(Number(module.getBigUint64(0, true)), 3)?.slice(), initrd);
    assert.equal(module.getBigUint64(8, true), 3n);
    const line = memory.view(Number(info.getBigUint64(24, true)), 6)?.slice();
    assert.equal(new TextDecoder().decode(line), 'quiet\0');
    assert.equal(info.getBigUint64(32, true), 0xe_0000n);
    assert.equal(info.getUint32(48, true), 5, 'memory map entries');
    const map = memoryView(memory, Number(info.getBigUint64(40, true)), 24);
    assert.deepEqual(
      [map.getBigUint64(0, true), map.getBigUint64(8, true), map.getUint32(16, true)],
      [0n, 0x9_fc00n, 1],
    );
  });
}

const REFUSED: readonly [string, Uint8Array, RegExp][] = [
  ['no note', elfFile(CONTENT), /64-bit ELF file, but neither PVH .* nor multiboot/],
  ['another processor', elfFile(CONTENT, { machine: 183, pvhEntry: 2 * MIB }), /another processor \(e_machine 183\)/],
  ['truncated', elfFile(CONTENT, { pvhEntry: 2 * MIB }).subarray(0, 180), /truncated ELF file/],
  ['below 1 MiB', elfFile(CONTENT, { base: 0x8000, pvhEntry: 0x8000 }), /loaded at 0x8000; it must lie at 1 MiB/],
  ['entry outside', elfFile(CONTENT, { pvhEntry: 3 * MIB }), /entry point 0x300000 is in no segment/],
  ['too large', elfFile(CONTENT, { bssBytes: 64 * MIB, pvhEntry: 2 * MIB }), /does not fit .* at least 67 MiB/],
];

for (const [what, kernel, message] of REFUSED) {
  test(`refused: ${what}`, () => {
    assert.throws(() => loadKernel({ kernel }, testMemory(32 * MIB)), { name: 'UserError', message });
  });
}
