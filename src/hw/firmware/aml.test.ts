import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buffer, eisaId, integer, name, nameString, packageOf, resource, resources, uuid } from './aml.ts';

test('integers take their shortest form (ACPI 6.4, 20.2.3)', () => {
  assert.deepEqual(integer(0), [0x00]);
  assert.deepEqual(integer(1), [0x01]);
  assert.deepEqual(integer(0xff), [0x0a, 0xff]);
  assert.deepEqual(integer(0x100), [0x0b, 0x00, 0x01]);
  assert.deepEqual(integer(0x1_0000), [0x0c, 0, 0, 1, 0]);
  assert.deepEqual(integer(0x80_0000_0000), [0x0e, 0, 0, 0, 0, 0x80, 0, 0, 0]);
});

test('EISA identifiers are compressed and big-endian (19.3.4)', () => {
  assert.deepEqual(eisaId('PNP0A03'), [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  assert.throws(() => eisaId('pnp0a03'), RangeError);
});

test('names: one, two and more segments, padded (20.2.2)', () => {
  const segment = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0));
  assert.deepEqual(nameString('\\_SB'), [0x5c, ...segment('_SB_')]);
  assert.deepEqual(nameString('_SB.PCI0'), [0x2e, ...segment('_SB_PCI0')]);
  assert.deepEqual(nameString('\\_SB.PCI0.ISA'), [0x5c, 0x2f, 3, ...segment('_SB_PCI0ISA_')]);
  assert.throws(() => nameString('lower'), RangeError);
});

test('package lengths of one, two and three bytes count themselves (20.2.4)', () => {
  assert.deepEqual(packageOf(integer(5)), [0x12, 0x04, 1, 0x0a, 5]);
  const lengthBytes = (size: number) => buffer(new Array<number>(size).fill(0)).slice(1, 4);
  assert.equal(lengthBytes(0x3c - 2)[0], 0x3d, '1 + 2 for the size + 58');
  assert.deepEqual(lengthBytes(0x3d).slice(0, 2), [0x41, 0x04], '0x41 = 2 + 2 + 0x3d');
  assert.deepEqual(lengthBytes(0x1000), [0x86, 0x00, 0x01], '0x1006 = 3 + 3 + 0x1000');
});

test('a resource template is a buffer that ends in an end tag', () => {
  assert.deepEqual(resources(resource.irq(4)), [0x11, 0x08, 0x0a, 5, 0x22, 0x10, 0x00, 0x79, 0x00]);
});

test('a value that does not fit its field is our mistake', () => {
  assert.throws(() => resource.io(0x1_0000, 8), RangeError);
  assert.throws(() => name('_ADR', integer(-1)), RangeError);
});

test('UUIDs have their first three groups little-endian (19.6.142)', () => {
  assert.deepEqual(uuid('33DB4D5B-1FF7-401C-9657-7441C03DD766').slice(3), [
    ...[0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40],
    ...[0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66],
  ]);
  assert.throws(() => uuid('33DB4D5B'), RangeError);
});
