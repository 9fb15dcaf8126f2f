/** Notes on files that are whole. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { wholeFiles } from './whole-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

test('a file is known until it changes', () => {
  const known = wholeFiles(join(folder, 'notes'));
  const path = join(folder, 'file');
  const file = () => statSync(path, { bigint: true });
  writeFileSync(path, 'content');
  assert.equal(known.has(file()), false);
  known.add(file());
  assert.equal(known.has(file()), true);
  const { mtimeNs, ctimeNs, size } = file();
  for (const change of [{ mtimeNs: mtimeNs + 1n }, { ctimeNs: ctimeNs + 1n }, { size: size + 1n }]) {
    assert.equal(known.has(Object.assign(file(), change)), false);
  }
  writeFileSync(join(folder, 'other'), 'content');
  renameSync(join(folder, 'other'), path);
  assert.equal(known.has(file()), false);
});

test('where nothing can be kept no file is known', () => {
  writeFileSync(join(folder, 'blocked'), '');
  const known = wholeFiles(join(folder, 'blocked', 'notes'));
  const file = statSync(folder, { bigint: true });
  known.add(file);
  assert.equal(known.has(file), false);
});
