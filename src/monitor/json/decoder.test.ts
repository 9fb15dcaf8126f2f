import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonDecoder } from './decoder.ts';
import { encodeJson } from './encode.ts';
import { parseJson } from './parse.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const STREAM = `{"execute": "a", 'single': 'quo"tes', "u": "\\u00e4\\n"} [1, -2.5e3, 12345678901234567890]\n"text"42 true\tnull `;
const VALUES = [
  { execute: 'a', single: 'quo"tes', u: 'ä\n' },
  [1, -2500, 12345678901234567890n],
  'text',
  42,
  true,
  null,
].map((value) => ({ value }));

test('values one after another, whole and a byte at a time', () => {
  assert.deepEqual(new JsonDecoder().feed(bytes(STREAM)), VALUES);
  const decoder = new JsonDecoder();
  assert.deepEqual(
    [...bytes(STREAM)].flatMap((byte) => decoder.feed(Uint8Array.of(byte))),
    VALUES,
  );
});

const FAULTS: readonly [string, string][] = [
  ['#', "JSON parse error, stray '#'"],
  ['{"a" 1}', 'JSON parse error, missing : in object pair'],
  ['{"a": 1, "a": 2}', 'JSON parse error, duplicate key'],
  ['[1 2]', 'JSON parse error, expected separator in list or object'],
  ['{1: 2}', 'JSON parse error, key is not a string in object'],
  ['[1, nul]', "JSON parse error, invalid keyword 'nul'"],
  ['["\\x"]', "JSON parse error, invalid escape sequence '\\x' in string"],
  ['["\\u12"]', 'JSON parse error, invalid hex escape in string'],
  ['}', 'JSON parse error, expecting value'],
  ['[01]', 'JSON parse error, expected separator in list or object'],
];

for (const [text, error] of FAULTS) {
  test(`a fault costs one error, and a newline leads back: ${text}`, () => {
    assert.deepEqual(new JsonDecoder().feed(bytes(`${text}\n{}\n`)), [{ error }, { value: {} }]);
  });
}

test('text that is not UTF-8', () => {
  const decoder = new JsonDecoder();
  const found = decoder.feed(Uint8Array.of(0x22, 0xc3, 0x28, 0x22, 0x0a));
  assert.deepEqual(found, [{ error: 'JSON parse error, invalid UTF-8 sequence in string' }]);
});

test('limits: nesting and size', () => {
  const deep = new JsonDecoder({ messageBytes: 1000, depth: 4 });
  assert.deepEqual(deep.feed(bytes('[[[[1]]]]\n[[[[[1]]]]]\n7 ')), [
    { value: [[[[1]]]] },
    { error: 'JSON nesting depth limit exceeded' },
    { value: 7 },
  ]);
  const small = new JsonDecoder({ messageBytes: 10, depth: 4 });
  assert.deepEqual(small.feed(bytes('"0123456789"\n"01234567" ')), [
    { error: 'JSON token size limit exceeded' },
    { value: '01234567' },
  ]);
});

test('random bytes never throw and never keep the decoder from finding back', () => {
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  const decoder = new JsonDecoder({ messageBytes: 4096, depth: 16 });
  for (let round = 0; round < 300; round += 1) {
    decoder.feed(
      Uint8Array.from({ length: 40 }, () =>
        random() % 3 === 0 ? bytes('{}[]",:\\ 1')[random() % 10] : random() & 0xff,
      ),
    );
  }
  decoder.feed(Uint8Array.of(0xff));
  assert.deepEqual(decoder.feed(bytes('\n{}\n')).at(-1), { value: {} });
});

test('output is as QEMU writes it, and reads back', () => {
  const value = { a: [1, 'ü"\n', null, true], big: 18446744073709551615n, none: undefined, empty: {} };
  const text = encodeJson(value);
  assert.equal(text, '{"a": [1, "\\u00fc\\"\\n", null, true], "big": 18446744073709551615, "empty": {}}');
  const { none: _, ...rest } = value;
  assert.deepEqual(parseJson(text), rest);
  assert.equal(encodeJson({ a: [1], b: {} }, true), '{\n    "a": [\n        1\n    ],\n    "b": {}\n}');
});
