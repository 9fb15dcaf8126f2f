/** Pages of shared memory on Linux. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openPages } from './pages.ts';

const PAGE = 4096;
const pages = openPages();
const skip = pages === undefined && 'this Node or system has no calls for pages';
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

function sharedMemory(): { buffer: SharedArrayBuffer; bytes: Uint8Array } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const buffer = memory.buffer as SharedArrayBuffer;
  return { buffer, bytes: new Uint8Array(buffer).fill(7) };
}

test('pages become a file, privately, and zeros again', { skip }, () => {
  const path = join(folder, 'file');
  writeFileSync(path, new Uint8Array(4 * PAGE).fill(9));
  const { buffer, bytes } = sharedMemory();
  const fd = openSync(path, 'r');
  // From the middle of a page to the middle of another: both are the file's as a whole.
  assert.equal(pages!.mapFile(buffer, PAGE + 100, PAGE, fd, 2 * PAGE + 100), true);
  assert.equal(pages!.mapFile(buffer, 4 * PAGE, PAGE, fd, 1), false);
  closeSync(fd);
  const first = () => Array.from({ length: 5 }, (_, page) => bytes[page * PAGE]);
  assert.deepEqual(first(), [7, 9, 9, 7, 7]);
  bytes[PAGE] = 1;
  assert.equal(readFileSync(path).indexOf(1), -1);
  assert.equal(pages!.replace(buffer, PAGE, PAGE), true);
  assert.equal(pages!.drop(buffer, 3 * PAGE, PAGE), true);
  assert.deepEqual(first(), [7, 0, 9, 0, 7]);
});
