import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutputBuffer } from '../serial/output-buffer.ts';
import { FakeCharPort, FakeClock } from '../testing/fakes.ts';
import { debugConsole, debugExit } from './debug.ts';

test('the exit port hands over what is written', () => {
  const written: number[] = [];
  const port = debugExit((value) => written.push(value));
  port.write(0, 4, 0x10);
  port.write(0, 1, 0);
  assert.deepEqual([written, port.read(0, 1)], [[0x10, 0], 0]);
});

test('the console port answers E9h and sends what is written', () => {
  const out = new FakeCharPort();
  const clock = new FakeClock();
  const port = debugConsole(new OutputBuffer(out, clock));
  for (const byte of Buffer.from('hi')) port.write(0, 1, byte);
  clock.advance(1_000_000);
  assert.deepEqual([port.read(0, 1), Buffer.from(out.sent).toString()], [0xe9, 'hi']);
});
