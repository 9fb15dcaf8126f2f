/** Looking over memory: by WebAssembly as without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksumOf, PAGE_BYTES } from './format.ts';
import { scannerOf } from './scan.ts';

const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
const buffer = memory.buffer as SharedArrayBuffer;
const bytes = new Uint8Array(buffer);
const scanners = { 'by WebAssembly': scannerOf({ buffer, memory }), 'without it': scannerOf({ buffer }) };

for (const [how, scanner] of Object.entries(scanners)) {
  test(`a page is zero until one of its bits is set, ${how}`, () => {
    bytes.fill(0xff);
    bytes.fill(0, PAGE_BYTES, 2 * PAGE_BYTES);
    assert.deepEqual(
      [0, 1, 2].map((page) => scanner.isZeroPage(page * PAGE_BYTES)),
      [false, true, false],
    );
    for (const at of [0, 1, 15, 16, 63, 64, 2049, PAGE_BYTES - 1]) {
      bytes[PAGE_BYTES + at] = 1;
      assert.equal(scanner.isZeroPage(PAGE_BYTES), false, `byte ${at}`);
      bytes[PAGE_BYTES + at] = 0;
    }
    bytes.fill(0, buffer.byteLength - PAGE_BYTES);
    assert.equal(scanner.isZeroPage(buffer.byteLength - PAGE_BYTES), true);
  });

  test(`checksums are those of the format, ${how}`, () => {
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 167) ^ (at >> 7);
    for (const [at, length] of [
      [0, PAGE_BYTES],
      [PAGE_BYTES, 3 * PAGE_BYTES],
      [64, 64],
      [8, 128],
      [3, 640],
      [0, 65],
      [9, 0],
    ]) {
      const piece = bytes.subarray(at, at + length);
      assert.equal(scanner.checksum(piece), checksumOf(piece.slice()), `${length} bytes at ${at}`);
      assert.equal(scanner.checksum(piece.slice()), checksumOf(piece.slice()));
    }
  });
}
