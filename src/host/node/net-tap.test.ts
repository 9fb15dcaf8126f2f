import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { test } from 'node:test';
import type { NetReceiver } from '../../contract/index.ts';
import { openTap } from './net-tap.ts';
import { decodeVnetHeader, encodeVnetHeader } from './net-vnet-header.ts';

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  if (spawnSync('ip', ['-V']).status !== 0) return 'ip is not installed';
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return '/dev/net/tun cannot be opened';
  }
}

test('the header before each frame, byte for byte (VIRTIO 1.2, 5.1.6)', () => {
  const unfinished = {
    checksumStart: 34,
    checksumOffset: 16,
    segments: { kind: 'tcp6', payloadBytes: 1440, headerBytes: 74 },
  } as const;
  const bytes = encodeVnetHeader(unfinished);
  assert.equal(Buffer.from(bytes).toString('hex'), '01044a00a00522001000');
  assert.deepEqual(decodeVnetHeader(bytes), unfinished);
  assert.equal(decodeVnetHeader(encodeVnetHeader(undefined)), undefined);
});

test('frames to and from the host’s own network', { skip: whyNot() }, async (t) => {
  const tap = openTap('');
  t.after(() => tap.close());
  const arrived: Uint8Array[] = [];
  const receiver: NetReceiver = {
    takes: { checksum: true, tcp4: true, tcp6: true },
    receive(frame) {
      arrived.push(frame.slice());
      return true;
    },
  };
  tap.connect(receiver);
  const mac = [0x52, 0x54, 0, 0, 0, 9];
  execFileSync('ip', ['addr', 'add', '198.18.77.1/24', 'dev', tap.name]);
  execFileSync('ip', ['link', 'set', tap.name, 'up']);
  // Who has 198.18.77.1? The host's kernel answers.
  const request = [
    ...new Array(6).fill(255),
    ...mac,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    1,
    ...mac,
    198,
    18,
    77,
    2,
    ...new Array(6).fill(0),
    198,
    18,
    77,
    1,
  ];
  const isReply = (frame: Uint8Array) => frame[12] === 8 && frame[13] === 6 && frame[21] === 2;
  for (let attempt = 0; attempt < 100 && !arrived.some(isReply); attempt++) {
    tap.send(Uint8Array.from(request));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const reply = arrived.find(isReply);
  assert.ok(reply !== undefined, 'no answer');
  assert.deepEqual([...reply.subarray(28, 32)], [198, 18, 77, 1]);
  assert.deepEqual([...reply.subarray(0, 6)], mac);
});

test('an interface that cannot be had is named', { skip: whyNot() }, () => {
  assert.throws(() => openTap('a name that is long'), { name: 'UserError', message: /is not an interface's name/ });
  assert.throws(() => openTap('lo'), { name: 'UserError', message: /^tap: cannot have interface lo/ });
});
