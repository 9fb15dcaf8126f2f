import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlainText } from './plain-text.ts';

const CASES: [string, string, string][] = [
  ['text with newlines', 'a\r\nb\n', 'a\nb\n'],
  ['several returns before a newline', 'a\r\r\n', 'a\n'],
  ['a return alone, which starts the line again', '10%\r20%\r\n', '10%\r20%\n'],
  ['control sequences', '\x1b[6n/ # \x1b[J\x1b[1;31mred\x1b[0m', '/ # red'],
  ['other escape sequences', '\x1b7x\x1b(By\x1b=', 'xy'],
  ['an escape that interrupts a sequence', '\x1b[1\x1b[0mx', 'x'],
  ['bytes above ASCII', '\u00c3\u00a4', '\u00c3\u00a4'],
];

for (const [name, terminal, plain] of CASES) {
  test(name, () => {
    const bytes = Buffer.from(terminal, 'latin1');
    assert.equal(Buffer.from(new PlainText().feed(bytes)).toString('latin1'), plain);
    const stream = new PlainText();
    const pieces = [...bytes].map((byte) => Buffer.from(stream.feed(Uint8Array.of(byte))).toString('latin1'));
    assert.equal(pieces.join(''), plain, 'one byte at a time');
  });
}
