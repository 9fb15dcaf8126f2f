import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from './errors.ts';
import { parseSize } from './units.ts';

test('sizes in powers of 1024', () => {
  const sizes = { 0: 0, 4096: 4096, '1K': 1024, '512M': 512 * 1024 ** 2, '2g': 2 * 1024 ** 3, '3GiB': 3 * 1024 ** 3 };
  for (const [text, bytes] of Object.entries(sizes)) assert.equal(parseSize(text), bytes, text);
});

test('a number alone can mean another unit', () => {
  assert.equal(parseSize('512', 'M'), 512 * 1024 ** 2);
  assert.equal(parseSize('512K', 'M'), 512 * 1024);
});

test('what is no size is refused by name', () => {
  for (const text of ['', 'M', '-1M', '1.5G', '0x10', '12Q', '1e3', '99999999999T']) {
    assert.throws(
      () => parseSize(text),
      (error) => error instanceof UserError && error.message.startsWith(`"${text}" is not a size`),
    );
  }
});
