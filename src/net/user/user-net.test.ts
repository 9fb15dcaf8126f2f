import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { nodeSockets, systemClock } from '../../host/node/index.ts';
import { createUserNet } from '../index.ts';
import { dhcpMessage, dhcpOption } from '../testing/boot-client.ts';
import { arp, ethernet, expectFrame, icmp, ip, udp } from '../testing/expect.ts';
import { createWorld, NO_NAMES, settle } from '../testing/fake-host.ts';
import { address, TestGuest } from '../testing/guest.ts';
import { buildIpPackets, buildUdp, encodeDnsName, ipText } from '../wire/index.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test('ARP finds the gateway and the name server, and nobody else (RFC 826)', () => {
  const { guest } = createWorld();
  for (const target of ['10.0.2.2', '10.0.2.3']) {
    guest.sendArp('request', guest.ipv4, address(target));
    const source = target === '10.0.2.2' ? '52:55:0a:00:02:02' : '52:55:0a:00:02:03';
    expectFrame(
      guest.next(),
      ethernet({ source }),
      arp({ operation: 'reply', senderIp: target, targetIp: '10.0.2.15' }),
    );
  }
  guest.sendArp('request', guest.ipv4, address('10.0.2.77'));
  assert.equal(guest.next(), undefined);
});

test('DHCP gives 10.0.2.15, the gateway and the name server (RFC 2131)', () => {
  const { guest } = createWorld({ hostName: 'box', searchDomains: ['example.org'] });
  const nobody = address('0.0.0.0');
  const send = (message: Uint8Array) => guest.sendUdp('255.255.255.255', 67, 68, message, nobody);

  send(dhcpMessage(1));
  expectFrame(
    guest.next(),
    ip(
      { source: '10.0.2.2', destination: '10.0.2.15' },
      udp({ sourcePort: 67, destinationPort: 68 }, (reply) => {
        assert.deepEqual([...reply.subarray(16, 20)], [10, 0, 2, 15]);
        assert.deepEqual(dhcpOption(reply, 53), [2]);
      }),
    ),
  );

  send(dhcpMessage(3, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]));
  expectFrame(
    guest.next(),
    ip(
      {},
      udp({}, (reply) => {
        assert.deepEqual(dhcpOption(reply, 53), [5]);
        assert.deepEqual(dhcpOption(reply, 1), [255, 255, 255, 0]);
        assert.deepEqual(dhcpOption(reply, 3), [10, 0, 2, 2]);
        assert.deepEqual(dhcpOption(reply, 6), [10, 0, 2, 3]);
        assert.deepEqual(dhcpOption(reply, 12), [...bytes('box')]);
        assert.deepEqual(dhcpOption(reply, 119), [...encodeDnsName('example.org')!]);
      }),
    ),
  );

  send(dhcpMessage(3, [50, 4, 10, 0, 2, 99]));
  expectFrame(
    guest.next(),
    ip(
      { destination: '255.255.255.255' },
      udp({}, (reply) => assert.deepEqual(dhcpOption(reply, 53), [6])),
    ),
  );
});

test('the gateway answers echo requests; an address that nobody has is unreachable', () => {
  const { guest } = createWorld();
  const body = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  guest.sendIcmp('10.0.2.2', 8, body);
  expectFrame(guest.next(), ip({ source: '10.0.2.2', destination: '10.0.2.15' }, icmp({ type: 0, body })));
  guest.sendIcmp('10.0.2.77', 8, body);
  expectFrame(guest.next(), ip({ source: '10.0.2.2' }, icmp({ type: 3, code: 1 })));
  guest.sendIcmp('192.0.2.1', 8, body, { hopLimit: 1 });
  expectFrame(guest.next(), ip({ source: '10.0.2.2' }, icmp({ type: 11, code: 0 })));
});

test('router advertisements and neighbour discovery (RFC 4861)', () => {
  const { guest } = createWorld();
  const linkLocal = address('fe80::5054:ff:fe12:3456');
  guest.sendIcmp('ff02::2', 133, new Uint8Array(4), { source: linkLocal, hopLimit: 255 });
  expectFrame(
    guest.next(),
    ip(
      { source: 'fe80::2', destination: ipText(linkLocal), hopLimit: 255 },
      icmp({ type: 134 }, ({ body }) => {
        const text = Buffer.from(body).toString('hex');
        assert.ok(text.includes('030440c0'), 'the prefix may be used for addresses');
        assert.ok(text.includes(Buffer.from(address('fec0::')).toString('hex')));
        assert.ok(text.includes(Buffer.from(address('fec0::3')).toString('hex')), 'RDNSS');
      }),
    ),
  );
  guest.sendIcmp('ff02::1:ff00:2', 135, Uint8Array.of(0, 0, 0, 0, ...address('fec0::2')), { hopLimit: 255 });
  expectFrame(
    guest.next(),
    ethernet({ source: '52:56:00:00:00:02' }),
    ip(
      { source: 'fec0::2' },
      icmp({ type: 136 }, ({ body }) => assert.equal(body[0], 0xe0)),
    ),
  );
  // Over a router it is false.
  guest.sendIcmp('ff02::1:ff00:2', 135, Uint8Array.of(0, 0, 0, 0, ...address('fec0::2')), { hopLimit: 64 });
  assert.equal(guest.next(), undefined);
});

test('UDP goes out and comes back, and only from where the guest has sent to', async () => {
  const { guest, sockets } = createWorld();
  guest.sendUdp('192.0.2.7', 5000, 4000, bytes('there'));
  await settle();
  const [socket] = sockets.datagrams;
  assert.deepEqual(socket.sent, [{ bytes: bytes('there'), to: { kind: 'inet', address: '192.0.2.7', port: 5000 } }]);
  socket.events.message(bytes('stranger'), { kind: 'inet', address: '192.0.2.8', port: 5000 });
  assert.equal(guest.next(), undefined);
  socket.events.message(bytes('back'), { kind: 'inet', address: '192.0.2.7', port: 5000 });
  expectFrame(
    guest.next(),
    ip(
      { source: '192.0.2.7', destination: '10.0.2.15' },
      udp({ sourcePort: 5000, destinationPort: 4000 }, (payload) => assert.deepEqual(payload, bytes('back'))),
    ),
  );
});

test('a refused datagram is told by ICMP, with the ports that it was sent between (RFC 1122, 4.1.3.1)', async () => {
  for (const [to, type, code, headerBytes] of [
    ['192.0.2.7', 3, 3, 20],
    ['2001:db8::7', 1, 4, 40],
  ] as const) {
    const { guest, sockets } = createWorld();
    guest.sendUdp(to, 5000, 4000, bytes('there'));
    await settle();
    const [socket] = sockets.datagrams;
    assert.deepEqual(socket.peer, { kind: 'inet', address: to, port: 5000 });
    socket.events.failed('refused');
    const quote = (message: { body: Uint8Array }) => {
      const udpHeader = message.body.subarray(4 + headerBytes);
      assert.deepEqual([...udpHeader.subarray(0, 4)], [4000 >> 8, 4000 & 0xff, 5000 >> 8, 5000 & 0xff]);
    };
    expectFrame(guest.next(), ip({ source: to }, icmp({ type, code }, quote)));
    // From the second peer on nobody knows whose refusal it is.
    guest.sendUdp(to, 5001, 4000, bytes('there too'));
    assert.equal(socket.peer, undefined);
    socket.events.failed('refused');
    assert.equal(guest.next(), undefined);
  }
});

test('a UDP association ends after it was idle', async () => {
  const { guest, sockets, clock, net } = createWorld();
  guest.sendUdp('192.0.2.7', 5000, 4000, bytes('x'));
  await settle();
  clock.advance(239e9);
  assert.equal(sockets.datagrams[0].isClosed, false);
  clock.advance(2e9);
  assert.equal(sockets.datagrams[0].isClosed, true);
  assert.equal(net.statistics().udpAssociations, 0);
});

test('UDP larger than the MTU comes and goes in fragments', async () => {
  const { guest, sockets } = createWorld();
  for (const [to, mtu] of [
    ['192.0.2.7', 1500],
    ['2001:db8::7', 1500],
  ] as const) {
    const payload = Uint8Array.from({ length: 5000 }, (_, i) => i * 7);
    const context = { source: guest.sourceFor(address(to)), destination: address(to) };
    const udpBytes = buildUdp({ sourcePort: 4000, destinationPort: 5000, payload }, context);
    for (const packet of buildIpPackets({ ...context, protocol: 17 }, udpBytes, mtu, 99).reverse())
      guest.sendPacket(packet);
    await settle();
    const socket = sockets.datagrams.at(-1)!;
    assert.deepEqual(socket.sent[0].bytes, payload);
    socket.events.message(payload, { kind: 'inet', address: to, port: 5000 });
    assert.equal(guest.inbox.length, 4);
    assert.ok(guest.inbox.every((frame) => frame.length <= mtu + 14));
    guest.inbox.length = 0;
  }
});

/** A query by hand (RFC 1035, 4.1). */
function dnsQuery(name: string, type: number): Uint8Array {
  return Uint8Array.of(0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...encodeDnsName(name)!, 0, type, 0, 1);
}

test('names from the table of hosts are answered here, others by the resolver', async () => {
  const resolver = {
    servers: () => [{ kind: 'inet', address: '192.0.2.53', port: 53 } as const],
    searchDomains: () => [],
    hosts: (name: string) => (name === 'printer' ? ['192.0.2.9'] : []),
  };
  const { guest, sockets } = createWorld({}, { resolver });
  guest.sendUdp('10.0.2.3', 53, 4000, dnsQuery('Printer', 1));
  expectFrame(
    guest.next(),
    ip(
      { source: '10.0.2.3' },
      udp({ sourcePort: 53 }, (answer) => {
        assert.deepEqual([...answer.subarray(0, 2)], [0xab, 0xcd]);
        assert.deepEqual([...answer.subarray(-4)], [192, 0, 2, 9]);
      }),
    ),
  );
  guest.sendUdp('10.0.2.3', 53, 4000, dnsQuery('example.org', 1));
  await settle();
  const [{ bytes: asked, to }] = sockets.datagrams[0].sent;
  assert.deepEqual(to, { kind: 'inet', address: '192.0.2.53', port: 53 });
  const answer = Uint8Array.of(...asked, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80);
  answer[2] |= 0x80;
  answer[7] = 1;
  sockets.datagrams[0].events.message(answer, to);
  expectFrame(
    guest.next(),
    ip(
      { source: '10.0.2.3' },
      udp({}, (bytes) =>
        assert.deepEqual([...bytes.subarray(0, 2), ...bytes.subarray(-4)], [0xab, 0xcd, 192, 0, 2, 80]),
      ),
    ),
  );
  assert.equal(sockets.datagrams[0].isClosed, true);
});

test('a resolver that is silent makes the next one be asked, and then a failure', async () => {
  const servers = ['192.0.2.53', '192.0.2.54'].map((text) => ({ kind: 'inet', address: text, port: 53 }) as const);
  const { guest, sockets, clock, net } = createWorld({}, { resolver: { ...NO_NAMES, servers: () => servers } });
  guest.sendUdp('10.0.2.3', 53, 4000, dnsQuery('example.org', 1));
  for (let i = 0; i < 4; i++) {
    await settle();
    clock.advance(3.1e9);
  }
  assert.deepEqual(
    sockets.datagrams.map(({ sent }) => sent[0].to),
    [...servers, ...servers],
  );
  assert.ok(sockets.datagrams.every(({ isClosed }) => isClosed));
  expectFrame(
    guest.next(),
    ip(
      {},
      udp({}, (answer) => assert.equal(answer[3] & 0xf, 2)),
    ),
  );
  assert.equal(net.statistics().dnsQueries, 0);
});

test('a port of the host where nobody listens is told by ICMP', async () => {
  const gone = createSocket('udp4').bind(0, '127.0.0.1');
  await once(gone, 'listening');
  const { port } = gone.address();
  gone.close();
  const net = createUserNet({}, { clock: systemClock(), sockets: nodeSockets, resolver: NO_NAMES, random: () => 1 });
  try {
    const guest = new TestGuest(net.link);
    const arrived = new Promise<void>((resolve) => {
      const receive = guest.receive.bind(guest);
      guest.receive = (frame) => {
        resolve();
        return receive(frame);
      };
    });
    guest.sendUdp('10.0.2.2', port, 4000, bytes('hello'));
    await arrived;
    expectFrame(guest.next(), ip({ source: '10.0.2.2' }, icmp({ type: 3, code: 3 })));
  } finally {
    net.close();
  }
});

test('a real UDP server on the host is reached through the gateway', async () => {
  const server = createSocket('udp4');
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  server.on('message', (message, from) => server.send(`echo ${message}`, from.port, from.address));
  const net = createUserNet({}, { clock: systemClock(), sockets: nodeSockets, resolver: NO_NAMES, random: () => 1 });
  try {
    const guest = new TestGuest(net.link);
    const arrived = new Promise<void>((resolve) => {
      const receive = guest.receive.bind(guest);
      guest.receive = (frame) => {
        resolve();
        return receive(frame);
      };
    });
    guest.sendUdp('10.0.2.2', server.address().port, 4000, bytes('hello'));
    await arrived;
    expectFrame(
      guest.next(),
      ip(
        { source: '10.0.2.2' },
        udp({ destinationPort: 4000 }, (payload) => assert.deepEqual(payload, bytes('echo hello'))),
      ),
    );
  } finally {
    net.close();
    server.close();
  }
});
