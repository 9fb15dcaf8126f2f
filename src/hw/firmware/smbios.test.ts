import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestMemory } from '../../contract/index.ts';
import { putSmbios, smbiosStructures } from './smbios.ts';

const MACHINE = { product: 'pc', cpus: 2, memoryBytes: 20 * 2 ** 30 };

/** Structures by type: the formatted part and the strings. */
function parse(bytes: Uint8Array) {
  const found: { type: number; body: Uint8Array; strings: string[] }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const body = bytes.subarray(at, at + bytes[at + 1]);
    let end = at + body.length;
    while (bytes[end] !== 0 || bytes[end + 1] !== 0) end += 1;
    const strings = Buffer.from(bytes.subarray(at + body.length, end))
      .toString('utf8')
      .split('\0');
    found.push({ type: bytes[at], body, strings: strings.filter(Boolean) });
    at = end + 2;
  }
  return found;
}

test('structures end where they say, and hold what was asked for', () => {
  const fields = { 1: { product: 'OpenStack Nova', serial: 'abc' }, 2: { manufacturer: 'me' } };
  const raw = [Uint8Array.of(200, 4, 0, 0x40, 0, 0)];
  const uuid = '00112233-4455-6677-8899-aabbccddeeff';
  const all = parse(smbiosStructures({ fields, oemStrings: ['one', 'two'], uuid, raw }, MACHINE));
  assert.deepEqual(
    all.map(({ type }) => type),
    [0, 1, 2, 3, 4, 4, 11, 16, 17, 17, 19, 32, 200, 127],
  );
  const system = all.find(({ type }) => type === 1)!;
  assert.deepEqual(system.strings, ['Vireo', 'OpenStack Nova', '1.0', 'abc']);
  assert.equal(Buffer.from(system.body.subarray(8, 24)).toString('hex'), '33221100554477668899aabbccddeeff');
  assert.deepEqual(all.find(({ type }) => type === 11)!.strings, ['one', 'two']);
});

test('they lie where a kernel looks, with an entry point whose bytes sum up to 0; too much is refused', () => {
  const buffer = new SharedArrayBuffer(2 ** 20);
  const memory: GuestMemory = {
    buffer,
    ranges: [{ base: 0, size: 2 ** 20, offset: 0 }],
    size: 2 ** 20,
    view: (base, length) => new Uint8Array(buffer, base, length),
    written() {},
  };
  putSmbios(memory, {}, MACHINE);
  const entry = memory.view(0xf_c000, 24)!;
  assert.equal(Buffer.from(entry.slice(0, 5)).toString(), '_SM3_');
  assert.equal(entry.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  assert.throws(
    () => putSmbios(memory, { oemStrings: new Array(100).fill('x'.repeat(255)) }, MACHINE),
    /there is room/,
  );
});
