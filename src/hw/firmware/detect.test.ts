import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { UserError } from '../../base/index.ts';
import { bzImage, elfFile, memoryView, multibootHeader, testMemory } from '../testing/kernels.ts';
import { loadKernel } from './detect.ts';

const MIB = 1024 * 1024;
const CODE = Uint8Array.of(0xfa, 0xf4);

const NOT_KERNELS: readonly [Uint8Array, RegExp][] = [
  [new Uint8Array(0), /^the kernel is an empty file; it must be a bzImage, a PVH ELF or a multiboot kernel$/],
  [new Uint8Array(4096), /a file of zeroes/],
  [gzipSync('hello'), /a gzip file \(decompress it first\)/],
  [Buffer.from('#!/bin/sh\n'), /a script/],
  [Buffer.from('hello, world\n'), /a text file/],
  [Buffer.from('07070100000000'), /a cpio archive \(an initrd\?\)/],
  [Uint8Array.of(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3), /a qcow2 disk image/],
  [Uint8Array.of(1, 2, 3, 0xff), /of unknown kind/],
];

for (const [file, message] of NOT_KERNELS) {
  test(`not a kernel: ${message.source}`, () => {
    assert.throws(() => loadKernel({ kernel: file }, testMemory(16 * MIB)), { name: 'UserError', message });
  });
}

test('a Xen-like ELF with both a multiboot header and a PVH note', () => {
  const content = Uint8Array.of(...multibootHeader(0), ...CODE);
  const both = (bits: 32 | 64) => elfFile(content, { bits, pvhEntry: 2 * MIB });
  assert.equal(loadKernel({ kernel: both(64) }, testMemory(16 * MIB)).protocol, 'pvh');
  assert.equal(loadKernel({ kernel: both(32) }, testMemory(16 * MIB)).protocol, 'multiboot');
});

test('the BIOS data area tells COM ports, the extended data area and 639 KiB of low RAM', () => {
  const memory = testMemory(16 * MIB);
  loadKernel({ kernel: bzImage(CODE) }, memory);
  const data = memoryView(memory, 0x400, 0x100);
  assert.deepEqual(
    [0, 2, 4, 6].map((at) => data.getUint16(at, true)),
    [0x3f8, 0x2f8, 0x3e8, 0x2e8],
  );
  assert.equal(data.getUint16(0x0e, true) * 16, 0x9_fc00);
  assert.equal(data.getUint16(0x13, true), 639);
});

test('damaged kernels of every kind load or are refused, and nothing else', { timeout: 60_000 }, () => {
  const seed = Number(process.env.VIREO_SEED ?? 1);
  console.log(`seed ${seed} (set VIREO_SEED to repeat)`);
  const random = mulberry32(seed);
  const memory = testMemory(16 * MIB);
  const flat = Uint8Array.of(...multibootHeader(1 << 16, [MIB, MIB, 0, 0, MIB]), ...CODE);
  const kernels = [
    bzImage(CODE),
    elfFile(CODE, { pvhEntry: 2 * MIB }),
    elfFile(CODE, { bits: 32, pvhEntry: 2 * MIB }),
    elfFile(multibootHeader(3), { bits: 32 }),
    flat,
  ];
  const counts = { loaded: 0, refused: 0 };
  for (let round = 0; round < 5000; round++) {
    const kernel = mutate(kernels[round % kernels.length], random);
    try {
      loadKernel({ kernel, initrd: CODE, commandLine: 'x' }, memory);
      counts.loaded++;
    } catch (error) {
      if (!(error instanceof UserError)) assert.fail(`seed ${seed}, round ${round}: ${(error as Error).stack}`);
      counts.refused++;
    }
  }
  assert.ok(counts.loaded > 100 && counts.refused > 100, `one-sided fuzzing: ${JSON.stringify(counts)}`);
});

/** One to eight damaged bytes, mostly in the headers, sometimes extreme ones; or a file cut short. */
function mutate(kernel: Uint8Array, random: () => number): Uint8Array {
  const copy = kernel.slice();
  if (random() < 0.1) return copy.subarray(0, Math.floor(random() * copy.length));
  const count = 1 + Math.floor(random() * 8);
  const start = copy.length > 0x400 ? 0x1f0 : 0;
  const span = Math.min(copy.length - start, 0x80);
  for (let index = 0; index < count; index++) {
    const at = start + Math.floor(random() * span);
    copy[at] = random() < 0.3 ? 0xff : Math.floor(random() * 256);
  }
  return copy;
}

/** A small seeded random number generator (mulberry32). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
