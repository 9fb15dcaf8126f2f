import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOfHex, GdbDecoder, hexOf, PACKET_MAX, packet } from './packets.ts';
import { REGISTERS, targetDescription } from './registers.ts';

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

test('packets, acknowledgements and interrupts, whole and a byte at a time', () => {
  const stream = bytes('+$g#67\x03-$m1,2#fc$x#00');
  const expected = [
    { kind: 'packet', data: 'g' },
    { kind: 'interrupt' },
    { kind: 'resend' },
    { kind: 'packet', data: 'm1,2' },
    { kind: 'damaged' },
  ];
  assert.deepEqual(new GdbDecoder().feed(stream), expected);
  const decoder = new GdbDecoder();
  assert.deepEqual(
    [...stream].flatMap((byte) => decoder.feed(Uint8Array.of(byte))),
    expected,
  );
});

test('what is sent is escaped, and reads back', () => {
  const data = 'O$#}*\xff\x00';
  assert.deepEqual(new GdbDecoder().feed(packet(data)), [{ kind: 'packet', data }]);
  assert.equal(String.fromCharCode(...packet('OK')), '$OK#9a');
});

test('a packet without end takes no more room than the largest', () => {
  const decoder = new GdbDecoder();
  assert.deepEqual(decoder.feed(bytes(`$${'x'.repeat(PACKET_MAX * 2)}#00`)), [{ kind: 'damaged' }]);
  assert.deepEqual(decoder.feed(bytes('$g#67')), [{ kind: 'packet', data: 'g' }]);
});

test('hexadecimal', () => {
  assert.equal(hexOf(Uint8Array.of(0, 171)), '00ab');
  assert.deepEqual(bytesOfHex('00aB'), Uint8Array.of(0, 171));
  assert.equal(bytesOfHex('0'), undefined);
});

test('the target description names every register once, with the size that packets have', () => {
  const rows = [...targetDescription().matchAll(/<reg name="(\w+)" bitsize="(\d+)"/g)];
  assert.deepEqual(
    rows.map(([, name, bits]) => [name, Number(bits)]),
    REGISTERS.map(({ name, bytes: count }) => [name, count * 8]),
  );
});
