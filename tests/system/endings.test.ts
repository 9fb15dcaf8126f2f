/** How guests end, well or badly: said as what it is, with the exit code that scripts look at. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tryDefaultGuest } from './guest.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

/** What to type, each line when the text before it has come. */
type Dialogue = readonly (readonly [expected: string, answer: string])[];

async function vireo(args: readonly string[], dialogue: Dialogue = []) {
  const child = spawn(process.execPath, [MAIN, 'run', ...args], { stdio: 'pipe', timeout: 120_000 });
  let [stdout, stderr, seen, turn] = ['', '', 0, 0];
  child.stderr.on('data', (bytes) => {
    stderr += bytes;
  });
  child.stdout.on('data', (bytes) => {
    stdout += bytes;
    while (turn < dialogue.length && stdout.includes(dialogue[turn][0], seen)) {
      seen = stdout.indexOf(dialogue[turn][0], seen) + dialogue[turn][0].length;
      child.stdin.write(dialogue[turn++][1]);
    }
  });
  const [status] = await once(child, 'close');
  return { status, stdout, stderr };
}

/** A file with a multiboot kernel: 32-bit code, loaded and entered at 1 MiB behind its header. */
async function kernelFile(context: TestContext, code: readonly number[]): Promise<string> {
  const base = 0x10_0000;
  const [magic, flags] = [0x1bad_b002, 1 << 16];
  const header = [magic, flags, -(magic + flags), base, base, 0, 0, base + 32];
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'kernel');
  await writeFile(path, Buffer.concat([Buffer.from(Int32Array.from(header).buffer), Buffer.from(code)]));
  return path;
}

const CRASHES: readonly [what: string, code: readonly number[], status: number, stderr: string][] = [
  // lidt [0x100000]: the header there is no descriptor table; ud2.
  ['triple fault', [0x0f, 0x01, 0x1d, 0, 0, 0x10, 0, 0x0f, 0x0b], 1, 'vireo: the guest crashed: triple fault\n'],
  // cli; hlt
  ['HLT with interrupts off', [0xfa, 0xf4], 1, 'vireo: the guest halted with interrupts off: nothing can wake it\n'],
  // mov dx, 0x501; mov al, 5; out dx, al
  ['debug-exit port', [0x66, 0xba, 0x01, 0x05, 0xb0, 0x05, 0xee, 0xeb, 0xfe], 11, ''],
];

for (const [what, code, status, stderr] of CRASHES) {
  test(what, async (context) => {
    const kernel = await kernelFile(context, code);
    assert.deepEqual(await vireo(['--kernel', kernel, '--memory', '64M']), { status, stdout: '', stderr });
  });
}

test('a kernel panic that resets', { skip }, async () => {
  const { status, stderr } = await vireo(['--append', 'rdinit=/nothing root=/dev/none']);
  assert.match(stderr, /^vireo: the guest's kernel panicked: VFS: Unable to mount root fs on [^\n]*\n$/);
  assert.equal(status, 1);
});

test('a kernel panic that stops for good', { skip }, async () => {
  const { status, stderr, stdout } = await vireo(['--append', 'panic=0'], [['# ', 'echo c > /proc/sysrq-trigger\n']]);
  assert.match(stderr, /^vireo: the guest's kernel panicked: sysrq triggered crash\n$/, stdout);
  assert.equal(status, 1);
});

test("init's death", { skip }, async () => {
  const { status, stderr } = await vireo(['--append', 'rdinit=/bin/busybox']);
  assert.match(stderr, /^vireo: the guest's kernel panicked: Attempted to kill init! exitcode=0x00000000\n$/);
  assert.equal(status, 1);
});

test('reboot starts the guest again, power-off ends it', { skip }, async () => {
  const banner = 'booted by Vireo';
  const { status, stdout, stderr } = await vireo(
    [],
    [
      [banner, ''],
      ['# ', 'reboot -f\n'],
      [banner, ''],
      ['# ', 'poweroff -f\n'],
    ],
  );
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.equal(stdout.split(banner).length - 1, 2, stdout);
});

test("a reboot by triple fault, as Linux's reboot=t does", { skip }, async () => {
  const { status, stderr } = await vireo(['--append', 'reboot=t'], [['# ', 'reboot -f\n']]);
  assert.deepEqual({ status, stderr }, { status: 1, stderr: 'vireo: the guest crashed: triple fault\n' });
});
