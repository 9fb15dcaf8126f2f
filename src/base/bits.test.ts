import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allOnes, bit, bits, fromBcd, highestBit, lowestBit, mergeBits, toBcd } from './bits.ts';

test('bit fields are unsigned up to all 32 bits', () => {
  assert.equal(bits(0xffff_ffff, 0, 32) >>> 0, 0xffff_ffff);
  assert.equal(bits(0xabcd_1234, 28, 4), 0xa);
  assert.deepEqual([bit(0x8000_0000, 31), bit(0x8000_0000, 30)], [true, false]);
  assert.equal(mergeBits(0xffff_0000, 0xff00_00ff, 0x1234_5678), 0x12ff_0078);
  assert.deepEqual([1, 2, 4].map(allOnes), [0xff, 0xffff, 0xffff_ffff]);
});

test('the highest and the lowest bit', () => {
  assert.deepEqual([0, 1, 0x8000_0000, 0x50].map(highestBit), [-1, 0, 31, 6]);
  assert.deepEqual([0, 1, 0x8000_0000, 0x50].map(lowestBit), [-1, 0, 31, 4]);
});

test('BCD there and back', () => {
  assert.deepEqual([0, 9, 10, 59, 99].map(toBcd), [0, 9, 0x10, 0x59, 0x99]);
  for (let value = 0; value < 100; value++) assert.equal(fromBcd(toBcd(value)), value);
});
