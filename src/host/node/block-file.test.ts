import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { openFileNode } from './block-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const withoutQemu = spawnSync('qemu-io', ['--version']).status === 0 ? false : 'qemu-io is not installed';

for (const io of ['threads', 'blocking', 'cached', 'mixed'] as const) {
  const path = join(folder, io);
  blockNodeSuite(`file, ${io}`, {
    async create(size) {
      const node = openFileNode(path, { create: true, io });
      await node.resize!(size);
      return node;
    },
    reopen: async () => openFileNode(path, { io }),
  });
}

test('large writes under way at once all arrive, those that neighbour each other in one call', async () => {
  const node = openFileNode(join(folder, 'queue'), { create: true, io: 'mixed' });
  const piece = 256 * 1024;
  const writes = Array.from({ length: 40 }, (_, i) => [(i * 7) % 40, new Uint8Array(piece).fill(i + 1)] as const);
  await Promise.all(writes.map(([place, bytes]) => node.write(place * piece, bytes)));
  for (const [place, bytes] of writes) {
    const found = new Uint8Array(piece);
    await node.read(place * piece, found);
    assert.deepEqual(found, bytes);
  }
  await node.close();
});

test('complaints name the file and the reason', () => {
  assert.throws(() => openFileNode(join(folder, 'none')), /Could not open '.*none': No such file or directory/);
  assert.throws(() => openFileNode(folder, { readOnly: true }), /it is a folder/);
});

test('holes of a file are known', { skip: process.platform !== 'linux' }, async () => {
  const node = openFileNode(join(folder, 'holes'), { create: true });
  await node.resize!(1024 * 1024);
  await node.write(512 * 1024, new Uint8Array(4096).fill(1));
  const extents = [...(await node.extents(0, 1024 * 1024)), ...(await node.extents(512 * 1024, 512 * 1024))];
  assert.deepEqual(
    extents.map(({ offset, length, zero }) => ({ offset, length, zero })),
    [
      { offset: 0, length: 512 * 1024, zero: true },
      { offset: 512 * 1024, length: 4096, zero: false },
    ],
  );
  await node.close();
});

test('readers share an image; a second writer is refused', { skip: process.platform !== 'linux' }, async () => {
  const path = join(folder, 'locked');
  writeFileSync(path, new Uint8Array(4096));
  const [first, second] = [openFileNode(path, { readOnly: true }), openFileNode(path, { readOnly: true })];
  assert.throws(() => openFileNode(path), /Failed to get "write" lock on .*locked/);
  await first.close();
  await second.close();
  const writer = openFileNode(path);
  assert.throws(() => openFileNode(path, { readOnly: true }), /Failed to get "write" lock/);
  openFileNode(path, { readOnly: true, lock: false }).close();
  await writer.close();
});

test('locks hold between us and QEMU', { skip: withoutQemu }, async () => {
  const path = join(folder, 'shared');
  writeFileSync(path, new Uint8Array(4096));
  const node = openFileNode(path);
  const refused = spawnSync('qemu-io', ['-f', 'raw', '-c', 'read 0 512', path], { encoding: 'utf8' });
  assert.match(refused.stderr, /Failed to get .* lock/);
  await node.close();

  const holder = spawn('qemu-io', ['-f', 'raw', path], { stdio: ['pipe', 'pipe', 'ignore'] });
  await once(holder.stdout, 'data');
  assert.throws(() => openFileNode(path), new RegExp(`process ${holder.pid} \\(qemu-io\\) has the image open`));
  holder.kill();
  await once(holder, 'exit');
});
