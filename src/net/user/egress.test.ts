import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EgressRule } from '../index.ts';
import { expectFrame, flagsOf, icmp, ip, udp } from '../testing/expect.ts';
import { createWorld, settle } from '../testing/fake-host.ts';
import { address } from '../testing/guest.ts';
import { encodeDnsName } from '../wire/index.ts';
import { parseEgress } from './egress.ts';

function allows(
  rules: EgressRule[],
  to: string,
  port = 80,
  protocol: 'tcp' | 'udp' = 'tcp',
  standard: 'allow' | 'deny' = 'deny',
): boolean {
  return parseEgress(rules, standard).allows({ address: address(to), port, protocol }, 0);
}

test('the first rule that fits decides, else the default', () => {
  const rules: EgressRule[] = [
    { action: 'deny', cidr: '10.1.0.0/16' },
    { action: 'allow', cidr: '10.0.0.0/8', protocol: 'tcp', port: [80, 89] },
    { action: 'allow', cidr: '2001:db8::/33' },
  ];
  assert.equal(allows(rules, '10.1.2.3'), false);
  assert.equal(allows(rules, '10.2.2.3'), true);
  assert.equal(allows(rules, '10.2.2.3', 90), false);
  assert.equal(allows(rules, '10.2.2.3', 80, 'udp'), false);
  assert.equal(allows(rules, '2001:db8:7fff::1'), true);
  assert.equal(allows(rules, '2001:db8:8000::1'), false);
  assert.equal(allows(rules, '192.0.2.1', 80, 'tcp', 'allow'), true);
});

test('a name opens its addresses once it was resolved, for as long as they last', () => {
  const egress = parseEgress([{ action: 'allow', name: '*.example.org', port: 443 }], 'deny');
  const to = { address: address('192.0.2.1'), port: 443, protocol: 'tcp' } as const;
  assert.equal(egress.allows(to, 0), false);
  egress.learn('www.example.org', [{ address: to.address, ttlSeconds: 300 }], 0);
  assert.equal(egress.allows(to, 299e9), true);
  assert.equal(egress.allows({ ...to, port: 80 }, 0), false);
  assert.equal(egress.allows({ ...to, isVirtual: true }, 0), false, 'a name led to the host itself');
  assert.equal(egress.allows(to, 301e9), false);
  egress.learn('www.example.com', [{ address: address('192.0.2.2'), ttlSeconds: 300 }], 0);
  assert.equal(egress.allows({ ...to, address: address('192.0.2.2') }, 0), false);
  assert.deepEqual(
    ['www.example.org', 'a.b.example.org', 'example.org', 'wwwexample.org', 'example.com'].map((name) =>
      egress.allowsName(name),
    ),
    [true, true, false, false, false],
  );
});

test('what is not allowed gets an ICMP error, and its name is not resolved', async () => {
  const resolver = {
    servers: () => [{ kind: 'inet', address: '192.0.2.53', port: 53 } as const],
    searchDomains: () => [],
    hosts: () => [],
  };
  const egress: EgressRule[] = [{ action: 'allow', name: 'good.example' }];
  const { guest, sockets } = createWorld({ egress, egressDefault: 'deny' }, { resolver });
  const syn = {
    sourcePort: 4000,
    destinationPort: 80,
    sequence: 1,
    acknowledgement: 0,
    flags: flagsOf('syn'),
    window: 1000,
    options: {},
    payload: new Uint8Array(0),
  };
  const prohibited = ip({ source: '10.0.2.2' }, icmp({ type: 3, code: 13 }));
  guest.sendTcp('192.0.2.1', syn);
  expectFrame(guest.next(), prohibited);
  guest.sendUdp('192.0.2.1', 80, 4000, new Uint8Array(1));
  expectFrame(guest.next(), prohibited);
  const query = (name: string) =>
    Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...encodeDnsName(name)!, 0, 1, 0, 1);
  guest.sendUdp('10.0.2.3', 53, 4000, query('bad.example'));
  expectFrame(
    guest.next(),
    ip(
      {},
      udp({}, (answer) => assert.equal(answer[3] & 0xf, 5)),
    ),
  );
  await settle();
  assert.equal(sockets.datagrams.length, 0, 'nothing of it left the machine');

  guest.sendUdp('10.0.2.3', 53, 4000, query('good.example'));
  await settle();
  const [{ bytes: asked, to }] = sockets.datagrams[0].sent;
  const answer = Uint8Array.of(...asked, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1);
  answer.set([0x80], 2);
  answer.set([1], 7);
  sockets.datagrams[0].events.message(answer, to);
  guest.sendTcp('192.0.2.1', { ...syn, sourcePort: 4001 });
  assert.deepEqual(
    sockets.streams.map((stream) => stream.to),
    [{ kind: 'inet', address: '192.0.2.1', port: 80 }],
  );
});
