import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../src/base/index.ts';
import type { GuestEvent } from './console-lines.ts';
import { runGuest } from './guest-run.ts';

const { signal } = new AbortController();

function run(script: string, onEvent: (event: GuestEvent, atSeconds: number) => void = () => {}, stop = signal) {
  return runGuest([process.execPath, '-e', script], { onEvent, signal: stop });
}

test('events come with their time, and the wall time is to the end of the process', async () => {
  const seen: [string, number][] = [];
  const script = "console.log('bench init'); setTimeout(() => console.log('bench filled'), 100)";
  const wallSeconds = await run(script, ({ kind }, at) => seen.push([kind, at]));
  assert.deepEqual(
    seen.map(([kind]) => kind),
    ['init', 'filled'],
  );
  const [[, first], [, second]] = seen;
  assert.ok(second - first >= 0.08 && wallSeconds >= second, JSON.stringify({ seen, wallSeconds }));
});

test('a process that fails is told with its last lines', async () => {
  const script = "for (let i = 0; i < 9; i++) console.error('line ' + i); process.exitCode = 3";
  await assert.rejects(run(script), (error: Error) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /ended with code 3; its last lines: line 4 \| line 5 \| line 6 \| line 7 \| line 8$/);
    return true;
  });
});

test('an interruption ends the process', async () => {
  const stop = new AbortController();
  const running = run("console.log('bench init'); setInterval(() => {}, 1000)", () => stop.abort(), stop.signal);
  await assert.rejects(running, { name: 'AbortError' });
});
