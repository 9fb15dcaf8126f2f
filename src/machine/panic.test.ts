import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PanicWatch } from './panic.ts';

function watch(text: string): PanicWatch {
  const panic = new PanicWatch();
  for (const byte of new TextEncoder().encode(text)) panic.feed(Uint8Array.of(byte));
  return panic;
}

const PANIC = '[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n';
const END = '[    1.240000] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\r\n';

test('a panic is told with its reason', () => {
  assert.equal(watch(`hello\n${PANIC}`).message, 'VFS: Unable to mount root fs on unknown-block(0,0)');
  assert.equal(watch(`${PANIC}[    1.23] CPU: 0 PID: 1\r\n`).ended, false);
});

test('with time stamps off, or with the caller shown', () => {
  assert.equal(watch('Kernel panic - not syncing: No init\n').message, 'No init');
  assert.equal(watch('[    0.1][    T1] Kernel panic - not syncing: No init\n').message, 'No init');
});

test('the last line of a kernel that stops for good', () => {
  assert.equal(watch(PANIC + END).ended, true);
  assert.equal(watch(`${PANIC}${END}$ `).ended, false, 'a prompt follows: it was an old log');
  assert.equal(watch(END).ended, false);
});

test('what is no panic: other lines, talk about it, an old log with a long sequel, a guest one talks to', () => {
  assert.equal(watch('grep "Kernel panic - not syncing: x"\n').message, undefined);
  assert.equal(watch(PANIC + 'more\n'.repeat(201)).message, undefined);
  const answered = watch(PANIC + END);
  answered.forget();
  assert.equal(answered.message, undefined);
  assert.equal(answered.ended, false);
});

test('an endless line costs no memory', () => {
  assert.equal(watch(`${'x'.repeat(1_000_000)}\n${PANIC}`).message?.slice(0, 3), 'VFS');
});
