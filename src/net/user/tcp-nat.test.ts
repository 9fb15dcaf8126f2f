import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostFailure } from '../../contract/index.ts';
import type { TcpSegment, UserNetOptions } from '../index.ts';
import { expectFrame, flagsOf, icmp, ip, tcp } from '../testing/expect.ts';
import { createWorld, type FakeStream, FakeStream as Stream, settle, type World } from '../testing/fake-host.ts';
import { address, GATEWAY_MAC, GUEST_MAC } from '../testing/guest.ts';
import { randomFrom } from '../testing/random.ts';
import { TestWire } from '../testing/wire.ts';
import {
  buildEthernet,
  buildIp,
  buildTcp,
  ETHER_TYPE,
  parseEthernet,
  parseIp4Packet,
  parseTcp,
} from '../wire/index.ts';

const SERVER = '192.0.2.1';
const NO_BYTES = new Uint8Array(0);

function segment(fields: Partial<TcpSegment>): TcpSegment {
  const standard = { sourcePort: 4000, destinationPort: 80, sequence: 100, acknowledgement: 0, window: 60_000 };
  return { ...standard, flags: flagsOf('ack'), options: {}, payload: NO_BYTES, ...fields };
}

function segmentOf(frame: Uint8Array | undefined): TcpSegment {
  assert.ok(frame !== undefined, 'no frame came');
  const packet = parseIp4Packet(parseEthernet(frame)!.payload)!;
  return parseTcp(packet.payload, packet)!;
}

/** A connection by hand: SYN 100, so the guest's first byte is 101. */
function connected(options: UserNetOptions = {}): World & { stream: FakeStream; theirs: number } {
  const world = createWorld(options);
  world.guest.sendTcp(SERVER, segment({ flags: flagsOf('syn'), options: { mss: 1460 } }));
  const [stream] = world.sockets.streams;
  assert.equal(world.guest.next(), undefined, 'answered before the host is connected');
  stream.events.connected?.();
  const { sequence } = segmentOf(world.guest.inbox[0]);
  expectFrame(world.guest.next(), ip({ source: SERVER }, tcp({ flags: flagsOf('syn', 'ack'), acknowledgement: 101 })));
  const theirs = (sequence + 1) >>> 0;
  world.guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: theirs }));
  return { ...world, stream, theirs };
}

test('a refused connection is reset, an unreachable one is told by ICMP', () => {
  for (const failure of ['refused', 'unreachable', 'timeout', 'denied'] as HostFailure[]) {
    const { guest, sockets, net } = createWorld();
    guest.sendTcp(SERVER, segment({ flags: flagsOf('syn') }));
    sockets.streams[0].events.closed(failure);
    if (failure === 'refused') {
      expectFrame(guest.next(), ip({ source: SERVER }, tcp({ flags: flagsOf('rst', 'ack'), acknowledgement: 101 })));
    } else {
      const code = failure === 'denied' ? 13 : 1;
      expectFrame(guest.next(), ip({ source: '10.0.2.2' }, icmp({ type: 3, code })));
    }
    assert.equal(net.statistics().tcpConnections, 0);
  }
});

test('a segment for no connection is reset (RFC 9293, 3.5.2)', () => {
  const { guest } = createWorld();
  guest.sendTcp(SERVER, segment({ acknowledgement: 777 }));
  expectFrame(guest.next(), ip({}, tcp({ flags: flagsOf('rst'), sequence: 777 })));
  guest.sendTcp(SERVER, segment({ flags: flagsOf('rst') }));
  assert.equal(guest.next(), undefined);
});

test('bytes go both ways; pieces out of order wait for the gap (RFC 9293, 3.10.7.4)', () => {
  const { guest, stream, theirs } = connected();
  const piece = (text: string) => new TextEncoder().encode(text);
  guest.sendTcp(SERVER, segment({ sequence: 104, acknowledgement: theirs, payload: piece('def') }));
  expectFrame(guest.next(), ip({}, tcp({ acknowledgement: 101 })));
  assert.equal(stream.content.length, 0);
  guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: theirs, payload: piece('abcd') }));
  expectFrame(guest.next(), ip({}, tcp({ acknowledgement: 107 })));
  assert.equal(stream.content.toString(), 'abcdef');
  stream.events.data(piece('hi'));
  expectFrame(
    guest.next(),
    ip(
      {},
      tcp({ flags: flagsOf('ack', 'psh'), sequence: theirs }, ({ payload }) => assert.deepEqual(payload, piece('hi'))),
    ),
  );
});

test('the guest ends first and still receives (half-close)', () => {
  const { guest, stream, theirs, net, clock } = connected();
  guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: theirs, flags: flagsOf('fin', 'ack') }));
  expectFrame(guest.next(), ip({}, tcp({ acknowledgement: 102 })));
  assert.equal(stream.state, 'ended');
  stream.events.data(Uint8Array.of(1));
  assert.equal(segmentOf(guest.next()).payload.length, 1);
  stream.events.ended();
  stream.events.closed(undefined);
  expectFrame(guest.next(), ip({}, tcp({ flags: flagsOf('fin', 'ack') })));
  guest.sendTcp(SERVER, segment({ sequence: 102, acknowledgement: (theirs + 2) >>> 0 }));
  clock.advance(0);
  assert.equal(net.statistics().tcpConnections, 0);
});

test('the guest resets: only the exact sequence number does it (RFC 5961, 3.2)', () => {
  const { guest, stream, net } = connected();
  guest.sendTcp(SERVER, segment({ sequence: 150, flags: flagsOf('rst') }));
  expectFrame(guest.next(), ip({}, tcp({ flags: flagsOf('ack'), acknowledgement: 101 })));
  assert.equal(stream.state, 'open');
  guest.sendTcp(SERVER, segment({ sequence: 101, flags: flagsOf('rst') }));
  assert.equal(stream.state, 'destroyed');
  assert.equal(net.statistics().tcpConnections, 0);
});

test("the host resets: so does the guest's connection", () => {
  const { guest, stream, net } = connected();
  stream.events.closed('reset');
  expectFrame(guest.next(), ip({ source: SERVER }, tcp({ flags: flagsOf('rst', 'ack') })));
  assert.equal(net.statistics().tcpConnections, 0);
});

test('a host that does not read closes the window, and opens it again when it does', () => {
  const world = createWorld({ limits: { connectionBytes: 50_000 } });
  const wire = new TestWire(world, randomFrom(1));
  const peer = wire.peer(SERVER, { localPort: 4000, remotePort: 80, initialSequence: 5 });
  peer.connect();
  wire.run(() => world.sockets.streams.length === 1);
  const [stream] = world.sockets.streams;
  stream.isReading = false;
  stream.events.connected?.();
  peer.write(new Uint8Array(120_000).fill(7));
  assert.equal(
    wire.run(() => stream.content.length > 50_000, 30e9),
    false,
    'more came than there was room for',
  );
  assert.equal(stream.content.length, 50_000);
  assert.equal(peer.remoteWindow, 0);
  stream.isReading = true;
  stream.events.written?.(50_000);
  assert.ok(wire.run(() => stream.content.length === 120_000));
});

test('a guest that does not read pauses the host; probes find out when it does (RFC 9293, 3.8.6.1)', () => {
  const world = createWorld({ limits: { connectionBytes: 50_000 } });
  const wire = new TestWire(world, randomFrom(1));
  const peer = wire.peer(SERVER, { localPort: 4000, remotePort: 80, initialSequence: 5 });
  peer.connect();
  wire.run(() => world.sockets.streams.length === 1);
  const [stream] = world.sockets.streams;
  stream.events.connected?.();
  wire.run(() => peer.state === 'open');
  peer.isReading = false;
  stream.events.data(new Uint8Array(60_000).fill(9));
  assert.equal(stream.isPaused, true);
  wire.run(() => false, 1800e9); // half an hour of probes
  assert.equal(peer.receivedBytes, 0);
  assert.equal(peer.state, 'open');
  peer.isReading = true; // without telling: the next probe is taken
  assert.ok(wire.run(() => peer.receivedBytes === 60_000, 120e9));
  assert.equal(stream.isPaused, false);
});

test('while the card has no room nothing is lost and nothing is sent twice', () => {
  const { guest, stream, theirs, clock } = connected();
  guest.isOpen = false;
  stream.events.data(new Uint8Array(8000).fill(3));
  clock.advance(100e9);
  guest.isOpen = true;
  guest.link.resume();
  let expected = theirs;
  for (let frame = guest.next(); frame !== undefined; frame = guest.next()) {
    const { sequence, payload } = segmentOf(frame);
    assert.equal(sequence, expected);
    expected = (sequence + payload.length) >>> 0;
    guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: expected }));
  }
  assert.equal((expected - theirs) >>> 0, 8000);
});

test('a lost segment is sent again after three duplicate acknowledgements (RFC 5681, 3.2)', () => {
  const { guest, stream, theirs } = connected();
  stream.events.data(new Uint8Array(1460 * 5));
  assert.equal(guest.inbox.length, 5);
  guest.inbox.length = 0;
  for (let i = 0; i < 2; i++) guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: theirs }));
  assert.equal(guest.next(), undefined);
  guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: theirs }));
  expectFrame(
    guest.next(),
    ip(
      {},
      tcp({ sequence: theirs }, ({ payload }) => assert.equal(payload.length, 1460)),
    ),
  );
});

test("without an answer the wait doubles, and in the end the host's side is ended too (RFC 6298, 5.5)", () => {
  const { guest, stream, clock, net } = connected();
  stream.events.data(new Uint8Array(10));
  const times: number[] = [];
  for (let i = 0; i < 10_000 && stream.state !== 'destroyed'; i++) {
    clock.advance(100e6);
    for (; guest.inbox.length > 0; guest.next()) times.push(clock.nowNanos() / 1e9);
  }
  assert.equal(stream.state, 'destroyed');
  const waits = times.slice(1, 5).map((time, i) => time - times[i]);
  for (const [i, wait] of waits.slice(1).entries()) assert.ok(wait > waits[i] * 1.5, waits.join(' '));
  assert.equal(net.statistics().runningTimers, 1, "only the router advertisement's timer is left");
});

test('a guest that vanished while idle is noticed (keep-alive)', () => {
  const { stream, clock, net } = connected();
  clock.advance(100e9);
  assert.equal(stream.state, 'open');
  clock.advance(400e9);
  assert.equal(stream.state, 'destroyed');
  assert.equal(net.statistics().tcpConnections, 0);
});

test('a card that takes large segments gets one frame for many, with the checksum left to it', () => {
  const { guest, stream, theirs } = connected();
  guest.takes = { checksum: true, tcp4: true, tcp6: true };
  guest.unfinished.length = 0;
  stream.events.data(new Uint8Array(10_000).fill(5));
  const [unfinished] = guest.unfinished;
  const frame = guest.next()!;
  assert.equal(frame.length, 54 + 10_000);
  assert.deepEqual(unfinished, {
    checksumStart: 34,
    checksumOffset: 16,
    segments: { kind: 'tcp4', payloadBytes: 1460, headerBytes: 54 },
  });
  guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: (theirs + 10_000) >>> 0 }));
});

test('a large segment from the guest, checksum undone, is taken whole', () => {
  const { guest, stream, theirs } = connected();
  const context = { source: guest.ipv4, destination: address(SERVER) };
  const payload = randomFrom(4).bytes(40_000);
  const bytes = buildTcp(segment({ sequence: 101, acknowledgement: theirs, payload }), context);
  bytes.fill(0, 16, 18);
  const packet = buildIp({ ...context, protocol: 6 }, bytes);
  const frame = buildEthernet({ destination: GATEWAY_MAC, source: GUEST_MAC, type: ETHER_TYPE.ipv4, payload: packet });
  guest.link.send(frame);
  assert.equal(stream.content.length, 0, 'a wrong checksum was accepted');
  guest.link.send(frame, {
    checksumStart: 34,
    checksumOffset: 16,
    segments: { kind: 'tcp4', payloadBytes: 1460, headerBytes: 54 },
  });
  assert.deepEqual(stream.content, Buffer.from(payload));
});

test('connections over the limit are refused', () => {
  const { guest, sockets, net } = createWorld({ limits: { tcpConnections: 10 } });
  for (let port = 1; port <= 50; port++) guest.sendTcp(SERVER, segment({ sourcePort: port, flags: flagsOf('syn') }));
  assert.equal(sockets.streams.length, 10);
  assert.equal(net.statistics().tcpConnections, 10);
  expectFrame(guest.next(), ip({}, tcp({ destinationPort: 11, flags: flagsOf('rst', 'ack') })));
});

test('at the limit, a connection that has ended but waits gives its place', () => {
  const { guest, stream, theirs, sockets, net } = connected({ limits: { tcpConnections: 1 } });
  stream.events.ended();
  guest.next();
  guest.sendTcp(SERVER, segment({ sequence: 101, acknowledgement: (theirs + 1) >>> 0, flags: flagsOf('fin', 'ack') }));
  stream.events.closed(undefined);
  assert.equal(net.statistics().tcpConnections, 1);
  guest.sendTcp(SERVER, segment({ sourcePort: 4001, flags: flagsOf('syn') }));
  assert.equal(sockets.streams.length, 2);
  assert.equal(net.statistics().tcpConnections, 1);
});

test('all connections together hold no more than the limit of memory', () => {
  const world = createWorld({ limits: { memoryBytes: 200_000, connectionBytes: 100_000 } });
  const wire = new TestWire(world, randomFrom(1));
  const peers = Array.from({ length: 20 }, (_, i) =>
    wire.peer(SERVER, { localPort: 4000 + i, remotePort: 80, initialSequence: i }),
  );
  for (const peer of peers) peer.connect();
  wire.run(() => world.sockets.streams.length === peers.length);
  for (const stream of world.sockets.streams) {
    stream.isReading = false;
    stream.events.connected?.();
  }
  for (const peer of peers) peer.write(new Uint8Array(100_000).fill(1));
  wire.run(() => false, 20e9);
  // What was offered before the memory ran out may still come: one SYN's window each.
  const held = world.net.statistics().bufferedBytes;
  assert.ok(held >= 200_000 && held < 200_000 + 20 * 65_535, `${held} bytes held`);
  for (const stream of world.sockets.streams) {
    stream.isReading = true;
    stream.events.written?.(stream.content.length);
  }
  assert.ok(wire.run(() => world.sockets.streams.every(({ content }) => content.length === 100_000), 300e9));
  assert.equal(world.net.statistics().bufferedBytes, 0);
});

test('a host port leads into the guest, and no more once it is removed', async () => {
  const world = createWorld();
  const { net, sockets } = world;
  await net.addHostForward('tcp:127.0.0.1:2222-:22');
  assert.deepEqual(sockets.listeners[0].at, { kind: 'inet', address: '127.0.0.1', port: 2222 });
  const wire = new TestWire(world, randomFrom(1));
  const sshd = wire.peer('10.0.2.2', { localPort: 22, remotePort: 50_123, initialSequence: 9 });
  const stream = new Stream({ data() {}, ended() {}, closed() {} });
  const events = sockets.listeners[0].accept(stream, { kind: 'inet', address: '127.0.0.1', port: 50_123 });
  assert.ok(wire.run(() => sshd.state === 'open'));
  sshd.write(new TextEncoder().encode('SSH-2.0-test'));
  events.data(new TextEncoder().encode('SSH-2.0-client'));
  assert.ok(
    wire.run(() => stream.content.toString() === 'SSH-2.0-test' && sshd.content.toString() === 'SSH-2.0-client'),
  );
  assert.equal(net.removeHostForward('tcp:127.0.0.1:2222'), true);
  assert.equal(sockets.listeners[0].isClosed, true);
  assert.equal(net.removeHostForward('tcp:127.0.0.1:2222'), false);
});

test('a forwarded connection asks by ARP for a guest that nobody has seen', async () => {
  const { net, sockets, guest } = createWorld({ dhcpStart: '10.0.2.20' });
  await net.addHostForward('tcp::8080-:80');
  sockets.listeners[0].accept(new Stream({ data() {}, ended() {}, closed() {} }), {
    kind: 'inet',
    address: '127.0.0.1',
    port: 5,
  });
  assert.equal(guest.inbox.length, 1, 'one ARP request');
  guest.next();
  guest.sendArp('reply', address('10.0.2.20'), address('10.0.2.2'));
  expectFrame(
    guest.next(),
    ip(
      { source: '10.0.2.2', destination: '10.0.2.20' },
      tcp({ flags: flagsOf('syn'), destinationPort: 80, sourcePort: 5 }),
    ),
  );
});

test('a UDP host port leads into the guest and back to whoever sent', async () => {
  const { net, sockets, guest } = createWorld();
  await net.addHostForward('udp:127.0.0.1:5353-:53');
  const clients = [7000, 7001].map((port) => ({ kind: 'inet', address: '127.0.0.1', port }) as const);
  for (const client of clients) {
    sockets.datagrams[0].events.message(Uint8Array.of(client.port & 0xff), client);
    guest.next();
    guest.sendUdp('10.0.2.2', client.port, 53, Uint8Array.of(42, client.port & 0xff));
  }
  assert.deepEqual(
    sockets.datagrams[0].sent.map(({ to, bytes }) => [to, bytes[1]]),
    clients.map((client) => [client, client.port & 0xff]),
  );
});

test('a restricted guest reaches nothing but what forwarding rules name', async () => {
  const { net, sockets, guest } = createWorld({ restrict: true });
  net.addGuestForward('tcp:10.0.2.100:80-tcp:192.0.2.9:8080');
  const syn = segment({ flags: flagsOf('syn') });
  for (const to of [SERVER, '10.0.2.2', '10.0.2.3', '10.0.2.100']) guest.sendTcp(to, syn);
  guest.sendUdp(SERVER, 5000, 4000, NO_BYTES);
  await settle();
  assert.deepEqual(
    sockets.streams.map(({ to }) => to),
    [{ kind: 'inet', address: '192.0.2.9', port: 8080 }],
  );
  assert.equal(sockets.datagrams.length, 0);
  guest.inbox.length = 0;
  guest.sendArp('request', guest.ipv4, address('10.0.2.100'));
  assert.equal(guest.inbox.length, 1, 'ARP finds the forwarded address');
  assert.equal(net.removeGuestForward(address('10.0.2.100'), 80), true);
});

test('addresses that mean something else on the host cannot be reached', () => {
  const { guest, sockets } = createWorld();
  const syn = segment({ flags: flagsOf('syn') });
  for (const to of ['127.0.0.1', '0.0.0.0', '169.254.169.254', '224.0.0.1', '255.255.255.255', '10.0.2.99'])
    guest.sendTcp(to, syn);
  for (const to of [
    '::1',
    '::',
    '::ffff:127.0.0.1',
    '::127.0.0.1',
    'fe80::1',
    'ff02::1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
  ]) {
    guest.sendTcp(to, syn);
  }
  assert.deepEqual(sockets.streams, []);
  guest.sendTcp('10.0.2.2', syn);
  guest.sendTcp('fec0::2', syn);
  assert.deepEqual(
    sockets.streams.map(({ to }) => to),
    [
      { kind: 'inet', address: '127.0.0.1', port: 80 },
      { kind: 'inet', address: '::1', port: 80 },
    ],
  );
});

test('pieces that came too early are named in acknowledgements, the latest first (RFC 2018, 4)', () => {
  const { guest, sockets } = createWorld();
  guest.sendTcp(SERVER, segment({ flags: flagsOf('syn'), options: { mss: 1460, sackPermitted: true } }));
  sockets.streams[0].events.connected?.();
  const syn = segmentOf(guest.next());
  assert.equal(syn.options.sackPermitted, true);
  const acknowledgement = (syn.sequence + 1) >>> 0;
  const early = (sequence: number, length: number) =>
    guest.sendTcp(SERVER, segment({ sequence, acknowledgement, payload: new Uint8Array(length) }));
  early(201, 10);
  guest.next();
  early(301, 10);
  guest.next();
  early(211, 5);
  const frame = guest.next()!;
  expectFrame(frame, ip({}, tcp({ acknowledgement: 101 })));
  // No-operation twice, SACK of 18 bytes, 201 to 216 and 301 to 311.
  const expected = '01010512 000000c9000000d8 0000012d00000137'.replaceAll(' ', '');
  assert.equal(Buffer.from(frame.subarray(54)).toString('hex'), expected);
});
