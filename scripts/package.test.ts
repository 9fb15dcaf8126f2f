import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const skip = existsSync(join(root, 'dist/cli/main.js')) ? false : 'dist/ is not built (npm run build)';

/** Runs a program to success; returns its standard output. */
function run(folder: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('the packed package installs into an empty folder and works there', { skip }, (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  context.after(() => rmSync(folder, { recursive: true }));
  // dist/ is built by now; npm pack's own build would pull it away from tests that run meanwhile.
  const [packed] = JSON.parse(run(root, 'npm', 'pack', '--ignore-scripts', '--json', '--pack-destination', folder));
  const paths: string[] = packed.files.map(({ path }: { path: string }) => path);
  assert.deepEqual(
    paths.filter((path) => !/^(dist\/.*\.(js|d\.ts)|bin\/[\w.-]+|package\.json|[A-Z]+(\.md)?)$/.test(path)),
    [],
  );
  assert.deepEqual(
    paths.filter((path) => path.includes('.test.') || path.includes('/testing/')),
    [],
  );

  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }');
  run(folder, 'npm', 'install', '--offline', '--no-audit', '--no-fund', join(folder, packed.filename));
  const { version, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const installed = join(folder, 'node_modules/vireo');
  assert.equal(run(folder, process.execPath, join(installed, 'bin/vireo'), '--version'), `vireo ${version}\n`);
  for (const [subpath, target] of Object.entries<{ types: string } | string>(exports)) {
    if (typeof target === 'string') continue;
    assert.ok(existsSync(join(installed, target.types)), `${subpath} has types`);
    const specifier = `vireo${subpath.slice(1)}`;
    const script = `console.log(Object.keys(await import('${specifier}')).length)`;
    assert.match(run(folder, process.execPath, '--input-type=module', '-e', script), /^\d+\n$/);
  }
});
