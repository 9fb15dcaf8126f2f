import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserNetOptions } from '../index.ts';
import { createWorld } from '../testing/fake-host.ts';
import { type Random, randomFrom } from '../testing/random.ts';
import { TestWire, type WireOptions } from '../testing/wire.ts';

const WIRES: Readonly<Record<string, WireOptions>> = {
  clean: {},
  '5 % loss': { lossRatio: 0.05 },
  '20 % loss': { lossRatio: 0.2 },
  'out of order': { reorderRatio: 0.3 },
  twice: { duplicateRatio: 0.3 },
  'all of it': { lossRatio: 0.05, reorderRatio: 0.2, duplicateRatio: 0.1 },
};

interface Case {
  readonly name: string;
  readonly to: string;
  /** Near 2^32, so that it wraps in the middle. */
  readonly initialSequence: number;
  readonly windowScale?: number;
  readonly windowBytes?: number;
  readonly mss?: number;
}

const CASES: readonly Case[] = [
  { name: 'IPv4, scaled windows', to: '192.0.2.1', initialSequence: 1000, windowScale: 4, windowBytes: 400_000 },
  { name: 'IPv6, no scaling, wrapping', to: '2001:db8::1', initialSequence: 0xffff_f000 },
  { name: 'small window and segments', to: '192.0.2.1', initialSequence: 0x7fff_ff00, windowBytes: 2000, mss: 700 },
];

const UP_BYTES = 150_000;
const DOWN_BYTES = 200_000;

/** A guest's connection with both streams full of random bytes and both ends; everything must arrive. */
function exchange(random: Random, wireOptions: WireOptions, { to, ...options }: Case): void {
  const limits: UserNetOptions = { limits: { connectionBytes: 100_000 } };
  const world = createWorld(limits);
  const wire = new TestWire(world, random, wireOptions);
  const peer = wire.peer(to, { ...options, localPort: 4000, remotePort: 80 });
  peer.connect();
  assert.ok(
    wire.run(() => world.sockets.streams.length === 1),
    'no connection reached the host',
  );
  const [stream] = world.sockets.streams;
  assert.deepEqual(stream.to, { kind: 'inet', address: to, port: 80 });
  stream.events.connected?.();
  assert.ok(
    wire.run(() => peer.state === 'open'),
    'the handshake did not end',
  );

  const [up, down] = [random.bytes(UP_BYTES), random.bytes(DOWN_BYTES)];
  peer.write(up);
  let sent = 0;
  const feed = () => {
    while (sent < down.length && !stream.isPaused) {
      const count = 1 + random.below(9000);
      stream.events.data(down.slice(sent, sent + count));
      sent += count;
      if (sent >= down.length) stream.events.ended();
    }
    return peer.receivedBytes === down.length && peer.isRemoteEnded && stream.content.length === up.length;
  };
  assert.ok(
    wire.run(feed),
    `stuck at ${peer.receivedBytes} of ${down.length} down, ${stream.content.length} of ${up.length} up`,
  );
  assert.deepEqual(stream.content, Buffer.from(up));
  assert.deepEqual(peer.content, Buffer.from(down));
  if (wireOptions.lossRatio === undefined)
    assert.equal(peer.resends, 0, 'nothing was lost, and yet something was not taken');
  peer.end();
  assert.ok(
    wire.run(() => peer.isLocalEnded && stream.state === 'ended'),
    'the end did not reach the host',
  );
  stream.events.closed(undefined);
  world.clock.advance(600e9);
  const { tcpConnections, bufferedBytes } = world.net.statistics();
  assert.deepEqual({ tcpConnections, bufferedBytes }, { tcpConnections: 0, bufferedBytes: 0 });
}

for (const [wireName, wireOptions] of Object.entries(WIRES)) {
  for (const one of CASES) {
    test(`TCP over a wire with ${wireName}: ${one.name}`, () => {
      for (const seed of [1, 2]) {
        try {
          exchange(randomFrom(seed), wireOptions, one);
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
      }
    });
  }
}
