import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const oldNode = findOldNode();
const skip = oldNode === undefined ? 'no Node older than 26 on PATH' : false;

function findOldNode(): string | undefined {
  const binaries = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'node'));
  return binaries.find((path) => {
    const version = existsSync(path) ? spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout : '';
    const major = Number(/^v(\d+)/.exec(version)?.[1]);
    return major >= 20 && major < 26;
  });
}

test('an old Node hands over to the pinned one: output and exit code pass through', { skip }, () => {
  const { status, stdout } = spawnSync(oldNode!, [join(root, 'bin/vireo'), '--version'], { encoding: 'utf8' });
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.deepEqual({ status, stdout }, { status: 0, stdout: `vireo ${version}\n` });
  assert.equal(spawnSync(oldNode!, [join(root, 'bin/vireo'), '--nonsense']).status, 2);
});

test('an old Node without a pinned one is told what to install', { skip }, (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  context.after(() => rmSync(folder, { recursive: true }));
  cpSync(join(root, 'bin'), join(folder, 'bin'), { recursive: true });
  const { status, stderr } = spawnSync(oldNode!, [join(folder, 'bin/vireo'), 'run'], { encoding: 'utf8' });
  assert.match(stderr, /^vireo: needs Node 26 or newer, and this is v\d[^\n]*; install it from nodejs.org[^\n]*\n$/);
  assert.equal(status, 1);
});

test('the pinned version is the same wherever it is written', () => {
  const pinned = JSON.parse(readFileSync(join(root, 'tools/node/package.json'), 'utf8'));
  const versions = new Set([pinned.version, ...Object.values(pinned.optionalDependencies)]);
  assert.equal(versions.size, 1);
  const [, written] = /PINNED_VERSION = '([^']+)'/.exec(readFileSync(join(root, 'bin/node.mjs'), 'utf8')) ?? [];
  assert.equal(written, pinned.version);
});
