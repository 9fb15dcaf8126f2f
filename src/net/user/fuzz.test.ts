/** Hostile guests and peers: whatever the bytes are, nothing throws, and nothing grows beyond its limit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWorld, type FakeSockets, settle, type World } from '../testing/fake-host.ts';
import { address, GATEWAY_MAC, GUEST_MAC } from '../testing/guest.ts';
import { type Random, randomFrom, runSeed } from '../testing/random.ts';
import {
  buildArp,
  buildEthernet,
  buildIcmp,
  buildIp,
  buildIpPackets,
  buildTcp,
  buildUdp,
  dnsAddresses,
  ETHER_TYPE,
  encodeDnsName,
  parseArp,
  parseDhcpQuery,
  parseDhcpv6,
  parseDnsQuery,
  parseEthernet,
  parseIcmp,
  parseIp4Packet,
  parseIp6Packet,
  parseNeighbour,
  parseTcp,
  parseTftp,
  parseUdp,
} from '../wire/index.ts';
import { DnsMessageReader, framedDns } from './dns-forwarder.ts';

const seed = runSeed();
const v4 = { source: address('10.0.2.15'), destination: address('10.0.2.2') };
const v6 = { source: address('fec0::15'), destination: address('fec0::2') };

function seeded(name: string, body: (random: Random) => void | Promise<void>): void {
  test(`${name} (VIREO_SEED=${seed})`, () => body(randomFrom(seed)));
}

/** One valid packet of each kind, to be damaged. */
function samples(random: Random): Uint8Array[] {
  const tcpFields = {
    sourcePort: 4000 + random.below(4),
    destinationPort: 80,
    sequence: random.below(2 ** 32),
    acknowledgement: random.below(2 ** 32),
  };
  const segment = {
    ...tcpFields,
    flags: random.below(32),
    window: random.below(65_536),
    options: { mss: 1460, windowScale: 7 },
    payload: random.bytes(random.below(100)),
  };
  const query = Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...encodeDnsName('a.example')!, 0, 1, 0, 1);
  const dhcp = new Uint8Array(300);
  dhcp.set([1, 1, 6]);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1 + random.below(8), 50, 4, 10, 0, 2, 15 + random.below(4), 255], 236);
  const read = new TextEncoder().encode('\0\x01file\0octet\0blksize\x00512\0');
  const dhcpv6 = Uint8Array.of(11, 1, 2, 3, 0, 1, 0, 4, 1, 2, 3, 4, 0, 6, 0, 2, 0, 23);
  const udpOf = (port: number, payload: Uint8Array) => ({
    sourcePort: [68, 546, 4000][random.below(3)],
    destinationPort: port,
    payload,
  });
  const datagrams = [
    udpOf(67, dhcp),
    udpOf(69, read),
    udpOf(547, dhcpv6),
    udpOf(53, query),
    udpOf(5000, random.bytes(20)),
  ];
  const packets: Uint8Array[] = [];
  for (const context of [v4, v6]) {
    packets.push(buildIp({ ...context, protocol: 6 }, buildTcp(segment, context)));
    for (const datagram of datagrams) {
      const bytes = buildUdp(datagram, context);
      packets.push(
        buildIp({ ...context, protocol: 17 }, bytes),
        ...buildIpPackets({ ...context, protocol: 17 }, bytes, 80, random.below(100)),
      );
    }
    const types = [8, 0, 3, 128, 133, 134, 135, 136];
    const message = { type: types[random.below(types.length)], code: 0, body: random.bytes(4 + random.below(40)) };
    packets.push(
      buildIp(
        { ...context, protocol: context === v4 ? 1 : 58, hopLimit: 255 },
        buildIcmp(message, context.source, context.destination),
      ),
    );
  }
  const frames = packets.map((payload) => frameOf(payload[0] >> 4 === 6 ? ETHER_TYPE.ipv6 : ETHER_TYPE.ipv4, payload));
  const request = {
    operation: 'request',
    senderMac: GUEST_MAC,
    senderIp: v4.source,
    targetMac: GUEST_MAC,
    targetIp: v4.destination,
  } as const;
  return [...frames, frameOf(ETHER_TYPE.arp, buildArp(request))];
}

function frameOf(type: number, payload: Uint8Array): Uint8Array {
  return buildEthernet({ destination: GATEWAY_MAC, source: GUEST_MAC, type, payload });
}

function damage(random: Random, bytes: Uint8Array): Uint8Array {
  const damaged = bytes.slice(0, random.below(4) === 0 ? random.below(bytes.length + 1) : bytes.length);
  for (let i = random.below(4); i > 0 && damaged.length > 0; i--)
    damaged[random.below(damaged.length)] = random.below(256);
  return damaged;
}

const PARSERS: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  ethernet: parseEthernet,
  arp: parseArp,
  ipv4: parseIp4Packet,
  ipv6: parseIp6Packet,
  'udp over IPv4': (bytes) => parseUdp(bytes, { ...v4, trustChecksum: true }),
  'udp over IPv6': (bytes) => parseUdp(bytes, v6),
  tcp: (bytes) => parseTcp(bytes, { ...v4, trustChecksum: true }),
  icmp: (bytes) => parseIcmp(bytes, v4.source, v4.destination),
  neighbour: (bytes) => parseNeighbour({ type: 135 + (bytes.length & 1), code: 0, body: bytes }),
  dhcp: parseDhcpQuery,
  dhcpv6: parseDhcpv6,
  'dns query': parseDnsQuery,
  'dns answers': dnsAddresses,
  tftp: parseTftp,
};

for (const [name, parse] of Object.entries(PARSERS)) {
  seeded(`the ${name} parser takes anything`, (random) => {
    for (let i = 0; i < 2000; i++) parse(random.bytes(random.below(120)));
    for (let i = 0; i < 40; i++) {
      for (const frame of samples(random)) {
        for (const offset of [0, 14, 34, 42, 54, 62])
          parse(damage(random, frame.subarray(Math.min(offset, frame.length))));
      }
    }
  });
}

seeded('a guest that sends damaged packets', async (random) => {
  const folder = { open: async () => ({ sizeBytes: 100, read: async () => 100, close: async () => {} }) };
  const resolver = {
    servers: () => [{ kind: 'inet', address: '192.0.2.53', port: 53 } as const],
    searchDomains: () => ['example.org'],
    hosts: () => [],
  };
  const world = createWorld({ limits: { tcpConnections: 20, udpAssociations: 20 } }, { tftpFolder: folder, resolver });
  for (let round = 0; round < 150; round++) {
    for (const frame of samples(random)) {
      const isTrusted = random.below(2) === 0;
      world.guest.link.send(
        random.below(3) === 0 ? frame : damage(random, frame),
        isTrusted ? { checksumStart: 34, checksumOffset: 16 } : undefined,
      );
    }
    act(random, world.sockets);
    if (random.below(5) === 0) world.clock.advance(random.below(2e9));
    world.guest.isOpen = random.below(4) !== 0;
    if (world.guest.isOpen) world.guest.link.resume();
    world.guest.inbox.length = 0;
    await settle();
  }
  checkLimits(world);
});

/** The host's side does what hosts do. */
function act(random: Random, sockets: FakeSockets): void {
  for (const stream of sockets.streams) {
    if (stream.state === 'destroyed') continue;
    const choice = random.below(12);
    if (choice < 4) stream.events.connected?.();
    if (choice === 1) stream.events.data(random.bytes(5000));
    if (choice === 9) stream.events.ended();
    if (choice === 11) {
      stream.state = 'destroyed';
      stream.events.closed(random.below(2) === 0 ? 'reset' : 'refused');
    }
  }
  for (const { isClosed, events, sent } of sockets.datagrams) {
    if (!isClosed && sent.length > 0) events.message(damage(random, sent[0].bytes), sent[0].to);
  }
}

function checkLimits({ net, clock, sockets }: World): void {
  const { tcpConnections, udpAssociations, dnsQueries } = net.statistics();
  assert.ok(tcpConnections <= 20 && udpAssociations <= 20 && dnsQueries <= 256, JSON.stringify(net.statistics()));
  net.close();
  clock.advance(1e12);
  assert.equal(net.statistics().runningTimers, 0);
  assert.equal(net.statistics().bufferedBytes, 0);
  for (const { isClosed } of sockets.datagrams) assert.equal(isClosed, true);
}

seeded('DNS over TCP arrives in any pieces', (random) => {
  const messages = Array.from({ length: 20 }, () => random.bytes(random.below(200)));
  const stream = Buffer.concat(messages.map(framedDns));
  for (const size of [1, 2, 3, 100, stream.length]) {
    const got: Uint8Array[] = [];
    const reader = new DnsMessageReader((message) => got.push(message.slice()));
    for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
    assert.deepEqual(
      got.map((message) => [...message]),
      messages.map((message) => [...message]),
    );
  }
});
