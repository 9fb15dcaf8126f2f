import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeKeys } from './escape-keys.ts';

/** Feeds each string at once; returns what goes to the guest, and the actions. */
function type(...parts: string[]) {
  const keys = new EscapeKeys();
  const results = parts.map((part) => keys.feed(Buffer.from(part, 'latin1')));
  const guest = results.map(({ bytes }) => Buffer.from(bytes).toString('latin1')).join('');
  return { guest, actions: results.flatMap(({ actions }) => actions) };
}

test('everything but Ctrl-A goes to the guest, Ctrl-C too', () => {
  assert.deepEqual(type('ls\r\x03\x04\x1b[Ax'), { guest: 'ls\r\x03\x04\x1b[Ax', actions: [] });
});

test('Ctrl-A x quits, Ctrl-A h and Ctrl-A ? help', () => {
  assert.deepEqual(type('a\x01xb'), { guest: 'ab', actions: ['quit'] });
  assert.deepEqual(type('\x01h\x01?'), { guest: '', actions: ['help', 'help'] });
});

test('Ctrl-A Ctrl-A sends one Ctrl-A', () => {
  assert.deepEqual(type('\x01\x01x'), { guest: '\x01x', actions: [] });
});

test('the two keys may come apart, and an unknown one does nothing', () => {
  assert.deepEqual(type('\x01', 'x'), { guest: '', actions: ['quit'] });
  assert.deepEqual(type('\x01', 'z', 'x'), { guest: 'x', actions: [] });
});
