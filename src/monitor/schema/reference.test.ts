import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { schema } from '../qapi/index.ts';
import { referencePage } from './reference.ts';

test('docs/qemu-reference.md is what the tables say; scripts/qemu-reference.ts writes it', () => {
  const page = readFileSync(new URL('../../../docs/qemu-reference.md', import.meta.url), 'utf8');
  assert.equal(page, referencePage(schema));
});
