/** Debian's cloud kernel and busybox, in one boot after the other. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { goldenChecks, runChecks } from './checks.ts';
import { runInGuest, tryDefaultGuest } from './guest.ts';
import { KERNEL_CHECKS, TIME_CHECKS } from './kernel-checks.ts';

const guest = await tryDefaultGuest();
const skip = typeof guest === 'string' && guest;

test("busybox's programs", { skip }, async (context) => runChecks(context, await goldenChecks('busybox')));

test('processes, signals, memory', { skip }, (context) => runChecks(context, KERNEL_CHECKS));

test('time', { skip }, (context) => runChecks(context, TIME_CHECKS));

test('64 MiB through sha256sum and gzip', { skip }, async () => {
  const [line, size] = ['Vireo 0123456789 abcdef', 64 * 1024 * 1024];
  const script = `
    cd /tmp; yes '${line}' | dd bs=1M count=64 iflag=fullblock of=data 2>/dev/null
    sha256sum < data; gzip -1 < data > data.gz; gunzip < data.gz | cmp - data && gunzip < data.gz | sha256sum`;
  const data = Buffer.alloc(size, `${line}\n`);
  const expected = `${createHash('sha256').update(data).digest('hex')}  -\n`;
  assert.deepEqual(await runInGuest(script), { exitCode: 0, stdout: expected + expected, stderr: '' });
});
