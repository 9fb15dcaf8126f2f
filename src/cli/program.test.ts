import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

function vireo(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', input: '' });
  return { status, stdout, stderr };
}

/** A file of that name; text, or zeros of that size. */
function file(name: string, content: string | number): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : '');
  if (typeof content === 'number') truncateSync(path, content);
  return path;
}

const MIB = 1024 ** 2;
const text = file('text', 'not a kernel\n');
const huge = file('huge', 64 * MIB);

const WRONG: [args: string[], status: number, message: RegExp][] = [
  [[], 2, /^a command is missing; vireo -h lists them$/],
  [['rnu'], 2, /^unknown command rnu; did you mean run\?$/],
  [['--versoin'], 2, /^unknown option --versoin; did you mean --version\?$/],
  [['run', '--kernal', 'x'], 2, /^unknown option --kernal; did you mean --kernel\?$/],
  [['run', 'vmlinuz'], 2, /^unexpected argument "vmlinuz"$/],
  [['run', '--memory', 'lots'], 2, /^--memory: "lots" is not a size: /],
  [['run', '--memory', '1K'], 2, /^--memory 1K is out of range: it goes from 16M to \d+M$/],
  [['run', '--memory', '512G'], 2, /^--memory 512G is out of range: it goes from 16M to \d+M$/],
  [['run', '--cpu', 'quemu64'], 2, /^--cpu: unknown CPU model 'quemu64' \(did you mean 'qemu64'\?\)/],
  [['run', '--exec', 'true', '--initrd', text], 2, /^--exec needs the default guest's initrd, not --initrd$/],
  [['run', '--kernel', join(folder, 'none')], 1, /^cannot read the kernel \S+none: there is no such file$/],
  [['run', '--kernel', folder], 1, /^cannot read the kernel \S+: it is a folder$/],
  [['run', '--kernel', text, '--initrd', join(text, 'x')], 1, /^cannot read the initrd \S+: a part of the path /],
  [
    ['run', '--kernel', text, '--initrd', huge, '-m', '32'],
    1,
    /^the initrd \S+huge is larger than the guest's memory$/,
  ],
  [['run', '--kernel', '/dev/zero', '-m', '16'], 1, /^the kernel \/dev\/zero is larger than the guest's memory$/],
  [['run', '--kernel', text], 1, /^the kernel is a text file; /],
  [['run', '--kernel', file('empty', '')], 1, /^the kernel is an empty file; /],
];

for (const [args, status, message] of WRONG) {
  test(`one line and exit code ${status}: vireo ${args.map((arg) => arg.replace(folder, '...')).join(' ')}`, () => {
    const result = vireo(...args);
    assert.match(result.stderr, /^vireo: [^\n]*\n$/);
    assert.match(result.stderr.slice('vireo: '.length, -1), message);
    assert.equal(result.status, status);
    assert.equal(result.stdout, '');
  });
}

test('help and version go to standard output', () => {
  for (const args of [['-h'], ['--help'], ['help'], ['run', '-h'], ['run', '--kernel', 'x', '--help']]) {
    const { status, stdout, stderr } = vireo(...args);
    assert.match(stdout, /^Usage: vireo /);
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  }
  assert.match(vireo('run', '-h').stdout, /^ +--append STRING {2}/m);
  assert.match(vireo('--version').stdout, /^vireo \d+\.\d+\.\d+\n$/);
});
