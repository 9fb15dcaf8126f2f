/** The bench program's command line, as far as it goes without running a guest. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

function bench(args: readonly string[], path = folder) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    env: { ...process.env, PATH: path },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const WRONG: readonly (readonly [args: readonly string[], status: number, message: RegExp])[] = [
  [['--runs', '0'], 2, /^--runs 0 is not a number from 1 to 999$/],
  [['--scale', '-1'], 2, /^--scale -1 is not a number above 0/],
  [['--only', 'sieve,quicksort'], 2, /^there is no group or kernel "quicksort"; did you mean qsort\?$/],
  [['--run', '3'], 2, /^unknown option --run; did you mean --runs\?$/],
  [[], 1, /: apt install qemu-system-x86, or use --alone$/],
  [['--alone'], 1, /: apt install gcc libc6-dev$/],
];

for (const [args, status, message] of WRONG) {
  test(`one line and exit code ${status}: bench ${args.join(' ')}`, () => {
    const result = bench(args);
    assert.match(result.stderr, /^vireo bench: [^\n]*\n$/);
    assert.match(result.stderr.slice('vireo bench: '.length, -1), message);
    assert.deepEqual({ status: result.status, stdout: result.stdout }, { status, stdout: '' });
  });
}

test('a compiler without a C library', () => {
  const script =
    '#!/bin/sh\n[ "$1" = -dumpmachine ] && echo x86_64-linux-gnu && exit\necho "x.c:1: fatal error: stdio.h" >&2\nexit 1\n';
  writeFileSync(join(folder, 'gcc'), script);
  chmodSync(join(folder, 'gcc'), 0o755);
  const { status, stderr } = bench(['--alone']);
  assert.match(stderr, /^vireo bench: gcc failed: x\.c:1: fatal error: stdio\.h; [^\n]*apt install libc6-dev\n$/);
  assert.equal(status, 1);
});

test('help goes to standard output', () => {
  const { status, stdout, stderr } = bench(['-h']);
  assert.match(stdout, /^Usage: npm run bench /);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});
