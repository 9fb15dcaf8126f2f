import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { immediateTransfer } from './block-immediate.ts';
import { loadFfi } from './ffi.ts';

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const skip = process.platform === 'linux' && loadFfi() ? false : 'it takes Linux and node:ffi';

function withFile(use: (path: string, fd: number) => void): void {
  const path = join(folder, 'file');
  writeFileSync(
    path,
    Uint8Array.from({ length: 8192 }, (_, i) => i >> 5),
  );
  const fd = openSync(path, 'r+');
  try {
    use(path, fd);
  } finally {
    closeSync(fd);
  }
}

test('bytes move between a file and pieces of memory, shared or not', { skip }, () => {
  withFile((path, fd) => {
    const { read, write } = immediateTransfer(fd, () => false, { monotonicNanos: () => 0 })!;
    const shared = new Uint8Array(new SharedArrayBuffer(4096));
    const other = new Uint8Array(new SharedArrayBuffer(4096));
    const own = new Uint8Array(300);
    const content = readFileSync(path);
    // The page cache has what was written just now.
    assert.equal(read(1000, [shared.subarray(7, 107), own, other.subarray(1)]), true);
    assert.deepEqual(Buffer.concat([shared.subarray(7, 107), own, other.subarray(1)]), content.subarray(1000, 5495));
    assert.deepEqual([shared[6], shared[107], other[0]], [0, 0, 0]);

    assert.equal(write(500, [own.fill(1).subarray(100), shared.fill(2).subarray(0, 10)]), true);
    content.fill(1, 500, 700).fill(2, 700, 710);
    assert.deepEqual(readFileSync(path), content);
  });
});

test('what is not done in full is not done: beyond the end, too long, too many pieces, a closed file', { skip }, () => {
  withFile((_path, fd) => {
    const { read } = immediateTransfer(fd, () => false)!;
    assert.equal(read(8000, [new Uint8Array(193)]), false);
    assert.equal(read(0, [new Uint8Array(2 ** 20 + 1)]), false);
    assert.equal(
      read(
        0,
        Array.from({ length: 1025 }, () => new Uint8Array(1)),
      ),
      false,
    );
    assert.equal(immediateTransfer(-1, () => false)!.read(0, [new Uint8Array(1)]), false);
  });
});

test('writes go to threads while one writes, and for a while after two that waited', { skip }, () => {
  withFile((path, fd) => {
    let isBusy = true;
    let now = 0;
    let tookNanos = 0;
    const monotonicNanos = () => {
      now += tookNanos;
      return now;
    };
    const { read, write } = immediateTransfer(fd, () => isBusy, { monotonicNanos })!;
    const bytes = new Uint8Array(512).fill(9);
    assert.equal(write(0, [bytes]), false);
    assert.notEqual(readFileSync(path)[0], 9);
    isBusy = false;
    assert.equal(write(0, [bytes]), true);
    for (const nanos of [3_000_000, 0, 3_000_000, 3_000_000]) {
      tookNanos = nanos;
      assert.equal(write(0, [bytes]), true);
    }
    tookNanos = 0;
    let refused = 0;
    while (!write(0, [bytes])) refused++;
    assert.equal(refused, 64);
    assert.equal(read(0, [bytes]), true);
  });
});
