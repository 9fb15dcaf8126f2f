/** The machine with its software CPU, on guests of a few instructions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bzImage, elfFile, multibootHeader } from '../hw/testing/kernels.ts';
import type { MachineOptions } from './config.ts';
import { MEMORY_MAX_BYTES, MEMORY_MIN_BYTES } from './config.ts';
import { createMachineOn } from './machine.ts';
import { inProcessThreads } from './testing/in-process-threads.ts';

const MIB = 1024 * 1024;
const THREAD = new URL('./testing/tcg-thread.ts', import.meta.url).href;

/** The same bytes in 32-bit and in 64-bit code. */
const PRINT_K = [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x6b, 0xee]; // mov dx, 3f8h; mov al, 'k'; out dx, al
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef]; // mov dx, 604h; mov ax, 2000h; out dx, ax
const RESET = [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]; // mov dx, cf9h; mov al, 6; out dx, al
const HLT = 0xf4;
const UD2 = [0x0f, 0x0b];
const LOOP = [0xeb, 0xfe]; // jmp to itself

async function run(kernel: Uint8Array, options: Partial<MachineOptions> = {}) {
  const machine = await createMachineOn(inProcessThreads, THREAD, {
    memoryBytes: 16 * MIB,
    boot: { kernel },
    ...options,
  });
  await machine.start();
  const chunks = await Array.fromAsync(machine.serial[0].readable);
  const exit = await machine.exited;
  return { output: Buffer.concat(chunks).toString(), exit };
}

const code = Uint8Array.of(...PRINT_K, ...POWER_OFF, HLT);
const KERNELS: readonly [string, Uint8Array][] = [
  ['bzImage', bzImage(code)],
  ['64-bit PVH ELF', elfFile(code, { pvhEntry: 2 * MIB })],
  ['32-bit PVH ELF', elfFile(code, { bits: 32, pvhEntry: 2 * MIB })],
  ['multiboot ELF', elfFile(Uint8Array.of(...multibootHeader(0), ...code), { bits: 32, entry: 2 * MIB + 12 })],
  ['flat multiboot file', Uint8Array.of(...multibootHeader(1 << 16, [2 * MIB, 2 * MIB, 0, 0, 2 * MIB + 32]), ...code)],
];

for (const [name, kernel] of KERNELS) {
  test(`${name}: prints and powers off`, async () => {
    const { output, exit } = await run(kernel);
    assert.equal(output, 'k');
    assert.equal(exit.reason, 'poweroff');
    assert.ok((exit.statistics?.decodedInstructions ?? 0) > 0);
  });
}

test('the smallest and the largest memory', async () => {
  for (const memoryBytes of [MEMORY_MIN_BYTES, MEMORY_MAX_BYTES]) {
    const { output } = await run(bzImage(code), { memoryBytes });
    assert.equal(output, 'k');
  }
});

test('a guest that resets its machine', async () => {
  const { output, exit } = await run(bzImage(Uint8Array.of(...PRINT_K, ...RESET, ...LOOP)), { noReboot: true });
  assert.equal(output, 'k');
  assert.equal(exit.reason, 'reset');
});

test('a reset starts the kernel again, whatever it did to its image in RAM', async () => {
  // The second run finds the guest's own mark in CMOS and powers off; the first overwrites its own code.
  const cmos = [0xb0, 0x40, 0xe6, 0x70]; // mov al, 40h; out 70h, al
  const code = [
    ...PRINT_K,
    ...cmos,
    ...[0xe4, 0x71, 0x3c, 0x5a, 0x74, 0x19], // in al, 71h; cmp al, 5ah; je power-off
    ...cmos,
    ...[0xb0, 0x5a, 0xe6, 0x71], // mov al, 5ah; out 71h, al
    ...[0xc6, 0x05, 0xe0, 0xff, 0xff, 0xff, 0x0b], // mov byte [rip - 32], 0bh: the first instruction
    ...RESET,
    ...[0xeb, 0xfe, 0x90], // jmp to itself; nop
    ...POWER_OFF,
    HLT,
  ];
  const { output, exit } = await run(bzImage(Uint8Array.from(code)));
  assert.equal(output, 'kk');
  assert.equal(exit.reason, 'poweroff');
});

test('an endless HLT with interrupts off', async () => {
  const { exit } = await run(bzImage(Uint8Array.of(HLT)));
  assert.equal(exit.reason, 'halted');
  assert.match(exit.details ?? '', /RIP=0{10}200201/);
});

test('a triple fault', async () => {
  const { exit } = await run(bzImage(Uint8Array.from(UD2)));
  assert.deepEqual([exit.reason, exit.message], ['shutdown', 'the guest crashed: triple fault']);
});

test('an unknown CPU model', async () => {
  await assert.rejects(run(bzImage(code), { cpu: 'qemu65' }), { name: 'UserError', message: /qemu65.*qemu64/ });
});
