/** The kernels' program, run on this computer: its results are right, and every kernel of the table is in it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseLine } from './console-lines.ts';
import { GROUPS } from './groups.ts';
import { compileKernels, kernelVersion } from './guest-image.ts';

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const isLinux64 = process.platform === 'linux' && process.arch === 'x64';
const unavailable = isLinux64
  ? await compileKernels(folder).then(
      () => false as const,
      (error: Error) => error.message,
    )
  : 'the program is for Linux on x86-64';

function runKernel(name: string, size: number) {
  const { status, stdout, stderr } = spawnSync(join(folder, 'kernels'), [name, `${size}`], { encoding: 'utf8' });
  const [begin, end] = stdout.split('\n').map(parseLine);
  return { status, stderr, begin, end, result: end?.kind === 'end' ? BigInt(`0x${end.result}`) : undefined };
}

/** These need programs of the guest. */
const PROGRAMS = ['gzip', 'awk', 'perl'];

test('every kernel says when it begins and ends', { skip: unavailable }, () => {
  const names = GROUPS.flatMap(({ kernels }) => kernels.map(({ name }) => name));
  for (const name of names.filter((candidate) => !PROGRAMS.includes(candidate))) {
    const { status, stderr, begin, end } = runKernel(name, 4);
    assert.equal(begin?.kind === 'begin' && begin.kernel, name);
    if (stderr.includes('no AVX2')) continue;
    assert.equal(status, 0, stderr);
    assert.equal(end?.kind === 'end' && end.kernel, name);
  }
});

test('results that another way gives too', { skip: unavailable }, () => {
  const isPrime = (n: number) => n > 1 && !Array.from({ length: n }, (_, d) => d).some((d) => d > 1 && n % d === 0);
  const primes = Array.from({ length: 1000 }, (_, n) => n).filter(isPrime);
  assert.equal(runKernel('sieve', 1000).result, BigInt(primes.reduce((sum, prime) => sum + prime)));
  assert.equal(runKernel('calls', 3).result, 3n * 6765n);
  assert.equal(runKernel('syscalls', 1234).result, 1234n);
  assert.equal(runKernel('signals', 50).result, 50n);

  const collatz = (n: number): number => (n === 1 ? 0 : 1 + collatz(n % 2 === 0 ? n / 2 : 3 * n + 1));
  const lengths = Array.from({ length: 100 }, (_, index) => collatz(index + 1));
  assert.equal(runKernel('bytecode', 100).result, BigInt(lengths.reduce((sum, length) => sum + length)));

  const x87Math = Array.from({ length: 1000 }, (_, index) => {
    const x = (index + 1) / 1000;
    return Math.log2(x + 1) + 2 ** (x / 2) - 1 + Math.atan2(x, 2 - x);
  }).reduce((sum, value) => sum + value);
  assert.equal(runKernel('x87-math', 1000).result, BigInt(Math.round((x87Math * 1e6) / 1000)));
});

test('an unknown kernel', { skip: unavailable }, () => {
  const { status, stderr } = runKernel('nonsense', 1);
  assert.equal(status, 2);
  assert.match(stderr, /^usage: kernels /);
});

test("a kernel file's version text", () => {
  const kernel = new Uint8Array(0x400);
  new DataView(kernel.buffer).setUint16(0x20e, 0x100, true);
  kernel.set(Buffer.from('6.1.0-1-amd64 (a@b.org) #1 SMP Debian 6.1.9-1 (2023-01-02)\0'), 0x300);
  assert.equal(kernelVersion(kernel), '6.1.0-1-amd64 (Debian 6.1.9-1)');
});
