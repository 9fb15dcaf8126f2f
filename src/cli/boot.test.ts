/** `vireo run` with the default guest, as a person and as a script use it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaultGuest } from '../host/node/index.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const unavailable = await defaultGuest().then(
  () => false as const,
  (error: Error) => error.message,
);

async function vireo(args: string[], input: string) {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'pipe' });
  child.stdin.end(input);
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { status, stdout, stderr };
}

test('--exec: output, errors and exit code are the command’s, byte for byte', { skip: unavailable }, async () => {
  const command = 'printf "tab\\t cr\\r nul\\0 bell\\a\\n"; echo "error ä" >&2; cat; exit 7';
  const { status, stdout, stderr } = await vireo(['run', '--exec', command], 'not for the guest');
  assert.deepEqual(
    { status, stdout, stderr },
    { status: 7, stdout: 'tab\t cr\r nul\0 bell\x07\n', stderr: 'error ä\n' },
  );
});

test('--exec: a guest that ends before its command does', { skip: unavailable }, async () => {
  const { status, stdout, stderr } = await vireo(['run', '--exec', 'echo begun; echo c > /proc/sysrq-trigger'], '');
  assert.equal(stdout, 'begun\n');
  assert.match(
    stderr,
    /^vireo: the guest ended before the command did: the guest's kernel panicked: sysrq triggered crash\n$/,
  );
  assert.equal(status, 1);
});

test('--exec: a guest that powers off by itself; its console tells more', { skip: unavailable }, async () => {
  const { status, stderr } = await vireo(['run', '--exec', 'poweroff -f'], '');
  assert.match(stderr, /^vireo: the guest ended .*: the guest powered off; its console said last: ".*Power down"\n$/);
  assert.equal(status, 1);
});

test('pipes: plain text, and the end of input ends the guest', { skip: unavailable }, async () => {
  const { status, stdout, stderr } = await vireo(
    ['run', '--memory', '256M'],
    'id -u\nread word\nhello\necho got $word\n',
  );
  assert.match(stdout, /^~ # 0\n~ # ~ # got hello\n/m);
  for (const control of ['\r', '\x1b']) assert.ok(!stdout.includes(control));
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});

const scriptMissing = spawnSync('script', ['--version']).status !== 0 && 'script (bsdutils) is not installed';

/** Types each answer when its prompt has appeared on the terminal. */
async function talk(child: ChildProcess, turns: readonly (readonly [prompt: string, answer: string])[]) {
  let [screen, seen, turn] = ['', 0, 0];
  // A shell that has not yet handed the terminal to its child loses a Ctrl-C: a person presses it again.
  const again = setInterval(() => {
    if (turn > 0 && turns[turn - 1][1] === '\x03') child.stdin!.write('\x03');
  }, 5000);
  child.stdout!.on('data', (bytes: Buffer) => {
    screen += bytes.toString('latin1');
    while (turn < turns.length && screen.includes(turns[turn][0], seen)) {
      seen = screen.indexOf(turns[turn][0], seen) + turns[turn][0].length;
      child.stdin!.write(turns[turn++][1], 'latin1');
    }
  });
  await once(child, 'close');
  clearInterval(again);
  return screen;
}

test('a terminal: Ctrl-C goes to the guest, Ctrl-A x quits, and the terminal is as before', {
  skip: unavailable || scriptMissing,
}, async () => {
  const program = `'${process.execPath}' '${MAIN}' run`;
  const shell = `stty cols 91 rows 33; before=$(stty -g); ${program}; echo "code $?"; [ "$before" = "$(stty -g)" ] && echo restored`;
  const child = spawn('script', ['-qec', shell, '/dev/null'], {
    env: { ...process.env, TERM: 'vt100', SHELL: '/bin/sh' },
  });
  const screen = await talk(child, [
    ['~ # ', 'echo ready$((40 + 2)); sleep 1000\r'],
    ['ready42', '\x03'],
    ['~ # ', 'stty size; echo $TERM\r'],
    // The typed line is echoed first; what follows it is the answer.
    ['33 91', ''],
    ['vt100', '\x01h'],
    ['sends Ctrl-A to the guest', '\x01x'],
  ]);
  assert.match(screen, /vireo: Ctrl-A x quits, Ctrl-A h helps/);
  assert.match(screen, /33 91\s+vt100/);
  assert.match(screen, /code 0\s+restored\s*$/);
});
