import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLine } from './console-lines.ts';

test('what the guest says about its kernels', () => {
  assert.deepEqual(parseLine('bench init'), { kind: 'init' });
  assert.deepEqual(parseLine('bench begin fork-exec\r'), { kind: 'begin', kernel: 'fork-exec' });
  assert.deepEqual(parseLine('bench end sieve 1200000 00ff'), {
    kind: 'end',
    kernel: 'sieve',
    nanos: 1_200_000,
    result: '00ff',
  });
  assert.deepEqual(parseLine('bench failed awk 139'), { kind: 'failed', kernel: 'awk', exitCode: 139 });
});

test('other lines mean nothing', () => {
  for (const line of ['', '[    0.1] bench init', 'bench', 'bench end sieve', 'bench end sieve -1 0', 'bench idle']) {
    assert.equal(parseLine(line), undefined, line);
  }
});
