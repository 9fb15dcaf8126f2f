import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { HostEndpoint, NetLink, NetReceiver } from '../../contract/index.ts';
import { nodeSockets, systemClock } from '../../host/node/index.ts';
import {
  createSwitch,
  dumpLink,
  framed,
  impairLink,
  joinLinks,
  openDatagramLink,
  openStreamLink,
  type PortVlan,
  StreamFrameReader,
  Timers,
} from '../index.ts';
import { arp, expectFrame } from '../testing/expect.ts';
import { FakeClock } from '../testing/fake-clock.ts';
import { createWorld } from '../testing/fake-host.ts';
import { address, GUEST_MAC, TestGuest } from '../testing/guest.ts';
import { randomFrom, runSeed } from '../testing/random.ts';

const NO_OFFLOADS = { checksum: false, tcp4: false, tcp6: false };

/** Keeps what comes. */
class Sink implements NetReceiver {
  readonly takes = NO_OFFLOADS;
  readonly frames: Uint8Array[] = [];
  readonly carrier: boolean[] = [];

  receive(frame: Uint8Array): boolean {
    this.frames.push(frame.slice());
    return true;
  }

  carrierChanged(isUp: boolean): void {
    this.carrier.push(isUp);
  }
}

function sinkOf(link: NetLink): Sink {
  const sink = new Sink();
  link.connect(sink);
  return sink;
}

const mac = (n: number) => Uint8Array.of(2, 0, 0, 0, 0, n);
const frame = (to: number, from: number, ...rest: number[]) => Uint8Array.of(...mac(to), ...mac(from), ...rest);
const tag = (id: number) => [0x81, 0, id >> 8, id & 0xff];
const DATA = [8, 0, 1, 2, 3];

async function until(isDone: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 5000; !isDone(); ) {
    assert.ok(Date.now() < end, `timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('a switch floods what it does not know and then learns (IEEE 802.1D, 7.8)', () => {
  const clock = new FakeClock();
  const hub = createSwitch(new Timers(clock));
  const ports = [0, 1, 2].map(() => hub.addPort());
  const sinks = ports.map(({ link }) => sinkOf(link));
  ports[0].link.send(frame(2, 1, ...DATA));
  assert.deepEqual(
    sinks.map(({ frames }) => frames.length),
    [0, 1, 1],
  );
  ports[1].link.send(frame(1, 2, ...DATA));
  assert.deepEqual(
    sinks.map(({ frames }) => frames.length),
    [1, 1, 1],
  );
  clock.advance(301e9); // what was learned is forgotten
  ports[1].link.send(frame(1, 2, ...DATA));
  assert.deepEqual(
    sinks.map(({ frames }) => frames.length),
    [2, 1, 2],
  );
  ports[1].remove();
  ports[0].link.send(frame(2, 1, ...DATA));
  assert.deepEqual(
    sinks.map(({ frames }) => frames.length),
    [2, 1, 3],
  );
});

test('VLANs are kept apart, and tagged on trunks (IEEE 802.1Q)', () => {
  const hub = createSwitch(new Timers(new FakeClock()));
  const vlans: PortVlan[] = [
    { kind: 'access', id: 10 },
    { kind: 'access', id: 20 },
    { kind: 'trunk', native: 20, allowed: [10] },
    { kind: 'trunk' },
  ];
  const ports = vlans.map((vlan) => hub.addPort(vlan));
  const sinks = ports.map(({ link }) => sinkOf(link));
  const sent = (port: number, bytes: Uint8Array) => {
    for (const { frames } of sinks) frames.length = 0;
    ports[port].link.send(bytes);
    return sinks.map(({ frames }) => frames.map((one) => [...one.subarray(12)]));
  };
  assert.deepEqual(sent(0, frame(99, 1, ...DATA)), [[], [], [[...tag(10), ...DATA]], [[...tag(10), ...DATA]]]);
  assert.deepEqual(sent(2, frame(99, 2, ...DATA)), [[], [DATA], [], [[...tag(20), ...DATA]]]);
  assert.deepEqual(sent(3, frame(99, 3, ...tag(10), ...DATA)), [[DATA], [], [[...tag(10), ...DATA]], []]);
  assert.deepEqual(
    sent(0, frame(99, 1, ...tag(20), ...DATA)),
    [[], [], [], []],
    'an access port may not choose its VLAN',
  );
  assert.deepEqual(sent(2, frame(99, 1, ...tag(30), ...DATA)), [[], [], [], []], 'nor a trunk one it does not carry');
  assert.deepEqual(sent(3, frame(99, 3, ...DATA)), [[], [], [], []], 'no native VLAN');
  assert.throws(() => hub.addPort({ kind: 'access', id: 4095 }), /VLAN 4095/);
});

test('a switch remembers no more addresses than its limit', () => {
  const hub = createSwitch(new Timers(new FakeClock()));
  const { link } = hub.addPort();
  for (let i = 0; i < 10_000; i++) link.send(Uint8Array.of(...mac(1), 2, 0, 0, 0, i >> 8, i, ...DATA));
  assert.equal(hub.addressCount, 4096);
});

test('a switch in front of a user-mode network', () => {
  const { clock, net, guest: direct } = createWorld();
  const timers = new Timers(clock);
  const hub = createSwitch(timers);
  joinLinks(hub.addPort().link, net.link, timers);
  const guest = new TestGuest(hub.addPort().link);
  guest.sendArp('request', guest.ipv4, address('10.0.2.2'));
  clock.advance(1);
  expectFrame(guest.next(), arp({ operation: 'reply', senderIp: '10.0.2.2' }));
  assert.equal(direct.next(), undefined);
});

test('frames survive any way a stream is cut; a wrong length ends it', () => {
  const random = randomFrom(runSeed());
  const frames = Array.from({ length: 50 }, () => random.bytes(1 + random.below(300)));
  const stream = Buffer.concat(frames.map(framed));
  for (const size of [1, 3, 7, 1000, stream.length]) {
    const got: Buffer[] = [];
    const reader = new StreamFrameReader((one) => got.push(Buffer.from(one)));
    for (let at = 0; at < stream.length; at += size) assert.equal(reader.push(stream.subarray(at, at + size)), true);
    assert.deepEqual(
      got,
      frames.map((one) => Buffer.from(one)),
    );
  }
  assert.equal(new StreamFrameReader(() => {}).push(Uint8Array.of(0, 2, 0, 0)), false);
  assert.equal(new StreamFrameReader(() => {}).push(Uint8Array.of(0, 0, 0, 0)), false);
});

test('a stream link over TCP and unix sockets: both ways, carrier, reconnection', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-net-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const endpoints: HostEndpoint[] = [
    { kind: 'inet', address: '127.0.0.1', port: 0 },
    { kind: 'unix', path: join(folder, 'link') },
  ];
  for (const asked of endpoints) {
    const ports = { sockets: nodeSockets, timers: new Timers(systemClock()) };
    const server = await openStreamLink({ endpoint: asked, server: true }, ports);
    t.after(() => server.close());
    const { endpoint } = server;
    const client = await openStreamLink({ endpoint, server: false, reconnectNanos: 1e7 }, ports);
    t.after(() => client.close());
    const [atServer, atClient] = [sinkOf(server), sinkOf(client)];
    await until(() => atServer.carrier.at(-1) === true && atClient.carrier.at(-1) === true, 'the carrier');
    for (let i = 0; i < 100; i++) client.send(frame(1, 2, ...DATA, i));
    server.send(frame(2, 1, ...DATA));
    await until(() => atServer.frames.length === 100 && atClient.frames.length === 1, 'the frames');
    assert.deepEqual(atServer.frames[99], frame(1, 2, ...DATA, 99));
    server.close();
    await until(() => atClient.carrier.at(-1) === false, 'the loss of the carrier');
    const again = await openStreamLink({ endpoint, server: true }, ports);
    t.after(() => again.close());
    await until(() => atClient.carrier.at(-1) === true, 'the reconnection');
  }
});

test('a peer that does not speak frames is dropped, and the next one is taken', async (t) => {
  const ports = { sockets: nodeSockets, timers: new Timers(systemClock()) };
  const server = await openStreamLink(
    { endpoint: { kind: 'inet', address: '127.0.0.1', port: 0 }, server: true },
    ports,
  );
  t.after(() => server.close());
  const sink = sinkOf(server);
  assert.ok(server.endpoint.kind === 'inet');
  const stranger = connect(server.endpoint.port, '127.0.0.1').on('error', () => {});
  stranger.write('GET / HTTP/1.0\r\n\r\n');
  await new Promise((resolve) => stranger.on('close', resolve));
  const peer = connect(server.endpoint.port, '127.0.0.1');
  peer.write(framed(frame(1, 2, ...DATA)));
  await until(() => sink.frames.length === 1, 'the frame');
  peer.destroy();
});

test('a datagram link carries a frame in each datagram, from its peer only', async (t) => {
  const at = (port: number) => ({ kind: 'inet', address: '127.0.0.1', port }) as const;
  const probe = await nodeSockets.openDatagram(at(0), { message() {}, failed() {} });
  const portA = (probe.endpoint as { port: number }).port;
  const b = await openDatagramLink({ remote: at(portA), local: at(0) }, nodeSockets);
  probe.close();
  const a = await openDatagramLink({ remote: b.endpoint as ReturnType<typeof at>, local: at(portA) }, nodeSockets);
  t.after(() => {
    a.close();
    b.close();
  });
  const [atA, atB] = [sinkOf(a), sinkOf(b)];
  a.send(frame(1, 2, ...DATA));
  b.send(frame(2, 1, ...DATA));
  await until(() => atA.frames.length === 1 && atB.frames.length === 1, 'the frames');
  const stranger = await nodeSockets.openDatagram(at(0), { message() {}, failed() {} });
  stranger.send(frame(9, 9), a.endpoint);
  b.send(frame(2, 1, ...DATA, 7));
  await until(() => atA.frames.length === 2, 'the second frame');
  assert.deepEqual(atA.frames[1], frame(2, 1, ...DATA, 7));
  stranger.close();
});

test('a dump is a pcap file, byte for byte', () => {
  const { net, guest } = createWorld();
  const parts: Uint8Array[] = [];
  const link = dumpLink(net.link, {
    wallClock: { nowMillis: () => 1_700_000_000_123 },
    write: (bytes) => parts.push(bytes),
    maxBytes: 20,
  });
  link.connect(guest);
  guest.sendArp('request', guest.ipv4, address('10.0.2.77'));
  const sent = Uint8Array.of(...new Uint8Array(6).fill(255), ...GUEST_MAC, 8, 6, ...new Uint8Array(28).fill(1));
  link.send(sent);
  const expected = `a1b2c3d4 00020004 00000000 00000000 00000014 00000001
    6553f100 0001e078 00000014 0000002a ffffffffffff 525400123456 0806 010101010101`;
  assert.equal(Buffer.concat(parts).toString('hex'), expected.replace(/\s/g, ''));
});

/** Sends `count` frames of 100 bytes through and says when each arrived, in milliseconds. */
function through(impairment: Parameters<typeof impairLink>[1], count: number): number[] {
  const clock = new FakeClock();
  const random = randomFrom(7);
  const arrivals: number[] = [];
  const far: NetLink = {
    takes: NO_OFFLOADS,
    send: () => arrivals.push(clock.nowNanos() / 1e6),
    connect() {},
    resume() {},
  };
  const link = impairLink(far, impairment, { timers: new Timers(clock), random: () => random.ratio() });
  for (let i = 0; i < count; i++) link.send(new Uint8Array(100));
  clock.advance(1e12);
  return arrivals;
}

test('a worse link loses, repeats, delays and holds back as much as it is told', () => {
  const lost = through({ lossRatio: 0.1 }, 10_000).length;
  assert.ok(lost > 8700 && lost < 9300, `${lost} of 10000 arrived`);
  const repeated = through({ duplicateRatio: 0.1 }, 10_000).length;
  assert.ok(repeated > 10_700 && repeated < 11_300, `${repeated} of 10000 arrived`);
  assert.deepEqual(through({ delayNanos: 5e6 }, 2), [5, 5]);
  assert.deepEqual(through({ bitsPerSecond: 800_000 }, 3), [1, 2, 3]);
  assert.deepEqual(through({ queueMaxBytes: 250 }, 5).length, 2);
  const late = through({ delayNanos: 1e6, jitterNanos: 1e6 }, 100);
  assert.ok(late.every((millis) => millis >= 1 && millis <= 2) && new Set(late).size > 50);
  assert.throws(() => through({ lossRatio: 2 }, 1), /lossRatio 2/);
});
