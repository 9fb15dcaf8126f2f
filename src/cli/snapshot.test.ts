/** `vireo snapshot` and `vireo run --from-snapshot`, as a person uses them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaultGuest } from '../host/node/index.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const unavailable = await defaultGuest().then(
  () => false as const,
  (error: Error) => error.message,
);
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

async function vireo(args: string[], input = '') {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'pipe', cwd: folder });
  child.stdin.end(input);
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { status, stdout, stderr };
}

test('a guest goes on from its snapshot, as often as one likes', { skip: unavailable }, async () => {
  const made = await vireo(['snapshot', '-o', 'guest.snapshot', '--memory', '256M', '--net', 'user']);
  assert.deepEqual(made, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(readdirSync(folder), ['guest.snapshot']);
  for (let round = 0; round < 2; round++) {
    const run = ['run', '--from-snapshot', 'guest.snapshot', '--net', 'user'];
    const { status, stdout, stderr } = await vireo(
      run,
      'cat /tmp/round; echo said $((6 * 7)) > /tmp/round; cat /tmp/round\n',
    );
    assert.match(stdout, /^~ # /);
    assert.equal(stdout.match(/^said 42$/gm)?.length, 1, stdout);
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  }
  const whole = readFileSync(join(folder, 'guest.snapshot'));
  const altered = openSync(join(folder, 'guest.snapshot'), 'r+');
  const at = whole.length >> 1;
  writeSync(altered, Uint8Array.of(whole[at] ^ 1), 0, 1, at);
  closeSync(altered);
  writeFileSync(join(folder, 'half.snapshot'), whole.subarray(0, whole.length >> 1));
  const wrong: readonly (readonly [args: string[], message: RegExp])[] = [
    [['half.snapshot', '--net', 'user'], /^vireo: half\.snapshot: the snapshot is damaged: its end, which is missing/],
    [
      ['guest.snapshot', '--net', 'user'],
      /^vireo: guest\.snapshot: the snapshot is damaged: the checksum of a section/,
    ],
    [
      ['guest.snapshot'],
      /^vireo: guest\.snapshot: the machine of the snapshot has 1 network card: give as many, not 0$/m,
    ],
  ];
  for (const [args, message] of wrong) {
    const { status, stdout, stderr } = await vireo(['run', '--from-snapshot', ...args]);
    assert.match(stderr, message);
    assert.deepEqual({ status, stdout }, { status: 1, stdout: '' });
  }
});

const USAGE: readonly (readonly [args: string[], status: number, message: RegExp])[] = [
  [['snapshot'], 2, /^vireo: a file is missing: -o FILE$/m],
  [['snapshot', '-o', 'x', '--kernel', 'k'], 2, /^vireo: --wait TEXT must say/],
  [['snapshot', '-o', 'x', '--exec', 'true'], 2, /^vireo: unknown option --exec/],
  [['run', '--from-snapshot', 'x', '--memory', '1G'], 2, /^vireo: --memory does not go with --from-snapshot/],
  [['run', '--from-snapshot', 'x', '--exec', 'true'], 2, /^vireo: --exec does not go with --from-snapshot/],
  [['run', '--from-snapshot', 'none'], 1, /^vireo: cannot read the snapshot none: ENOENT/],
  [['run', '--from-snapshot', MAIN], 1, /: this is not a snapshot of a Vireo machine$/m],
];

for (const [args, status, message] of USAGE) {
  test(`one line: ${args
    .slice(0, 3)
    .map((word) => word.replace(MAIN, 'FILE'))
    .join(' ')} …`, async () => {
    const result = await vireo(args);
    assert.match(result.stderr, message);
    assert.equal(result.stderr.trimEnd().includes('\n'), false);
    assert.deepEqual({ status: result.status, stdout: result.stdout }, { status, stdout: '' });
  });
}
