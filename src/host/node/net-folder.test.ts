/** A folder that TFTP serves: what is in it, and nothing else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { nodeFolder } from './net-folder.ts';

function setUp(context: TestContext) {
  const outside = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  context.after(() => rmSync(outside, { recursive: true, force: true }));
  const root = join(outside, 'served');
  mkdirSync(join(root, 'inner'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(root, 'inner', 'file'), 'content');
  const folder = nodeFolder(root);
  const read = async (path: string) => {
    const file = await folder.open(path);
    if (file === undefined) return undefined;
    const bytes = new Uint8Array(file.sizeBytes);
    const count = await file.read(0, bytes);
    await file.close();
    return Buffer.from(bytes.subarray(0, count)).toString();
  };
  return { outside, root, read };
}

test('files are found by their path from the folder, links inside it followed', async (context) => {
  const { root, read } = setUp(context);
  symlinkSync('inner/file', join(root, 'link'));
  for (const path of ['inner/file', '/inner/file', 'inner/../inner/./file', 'link', '../../inner/file']) {
    assert.equal(await read(path), 'content', path);
  }
});

test('nothing outside can be opened, nor what is no plain file', async (context) => {
  const { outside, root, read } = setUp(context);
  symlinkSync(join(outside, 'secret'), join(root, 'absolute'));
  symlinkSync('../secret', join(root, 'relative'));
  symlinkSync('..', join(root, 'up'));
  symlinkSync('round', join(root, 'round'));
  execFileSync('mkfifo', [join(root, 'fifo')]);
  const paths = ['../secret', '/../secret', 'inner/../../secret', 'absolute', 'relative', 'up/secret', 'round', 'fifo'];
  const others = [
    '',
    '.',
    'inner',
    'nosuch',
    'inner/file\0',
    join(outside, 'secret'),
    'a'.repeat(5000),
    'inner/file/x',
  ];
  for (const path of [...paths, ...others]) assert.equal(await read(path), undefined, path);
});

test('a folder that becomes a link while it is read from never gives what is outside', async (context) => {
  const { outside, root, read } = setUp(context);
  const elsewhere = join(outside, 'elsewhere');
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, 'file'), 'secret');
  const [inner, aside] = [join(root, 'inner'), join(root, 'aside')];
  const seen = new Set<string | undefined>();
  for (let round = 0; round < 100; round++) {
    const reading = [read('inner/file'), read('inner/file'), read('inner/file')];
    renameSync(inner, aside);
    symlinkSync(elsewhere, inner);
    reading.push(read('inner/file'));
    for (const content of await Promise.all(reading)) seen.add(content);
    rmSync(inner);
    renameSync(aside, inner);
  }
  assert.equal(seen.has('secret'), false);
  assert.equal(await read('inner/file'), 'content');
});
