/** Guest forwarding rules that come and go while the guest runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arp, expectFrame, ip, tcp } from '../testing/expect.ts';
import { createWorld, FakeStream } from '../testing/fake-host.ts';
import { address, type TestGuest } from '../testing/guest.ts';
import { TCP_FLAG } from '../wire/index.ts';

const PLACE = address('10.0.2.100');

/** Sends a SYN; what came back. */
function knock(guest: TestGuest, sourcePort: number): Uint8Array | undefined {
  guest.inbox.length = 0;
  const segment = { sourcePort, destinationPort: 7, sequence: 1000, acknowledgement: 0, window: 65_535 };
  guest.sendTcp('10.0.2.100', { ...segment, flags: TCP_FLAG.syn, options: {}, payload: new Uint8Array(0) });
  return guest.next();
}

function asksByArp(guest: TestGuest): Uint8Array | undefined {
  guest.inbox.length = 0;
  guest.sendArp('request', guest.ipv4, PLACE);
  return guest.next();
}

test('a rule answers from the moment that it is added until it is removed; connections stay', () => {
  const { net, guest, sockets } = createWorld();
  assert.equal(asksByArp(guest), undefined);
  net.addGuestForward('tcp:10.0.2.100:7-tcp:127.0.0.1:9');
  expectFrame(asksByArp(guest), arp({ operation: 'reply', senderIp: '10.0.2.100' }));

  assert.equal(knock(guest, 2000), undefined, 'first the other side must accept');
  const [stream] = sockets.streams;
  assert.deepEqual(stream.to, { kind: 'inet', address: '127.0.0.1', port: 9 });
  stream.events.connected?.();
  expectFrame(guest.next(), ip({ source: '10.0.2.100' }, tcp({ flags: TCP_FLAG.syn | TCP_FLAG.ack })));

  assert.deepEqual([net.removeGuestForward(PLACE, 8), net.removeGuestForward(PLACE, 7)], [false, true]);
  assert.equal(net.removeGuestForward(PLACE, 7), false);
  assert.equal(asksByArp(guest), undefined, 'the address is nobody’s again');
  knock(guest, 2001);
  assert.deepEqual([sockets.streams.length, net.statistics().tcpConnections], [1, 1]);
  assert.equal(stream.state, 'open');

  net.addGuestForward('tcp:10.0.2.100:7-tcp:127.0.0.1:10');
  knock(guest, 2002);
  assert.deepEqual(sockets.streams[1].to, { kind: 'inet', address: '127.0.0.1', port: 10 });
  net.close();
});

test('a rule may have a stream of its own; a second one for the same place takes over', () => {
  const { net, guest } = createWorld();
  const opened: string[] = [];
  for (const name of ['first', 'second']) {
    net.addGuestForward({
      address: PLACE,
      port: 7,
      open(events) {
        opened.push(name);
        return new FakeStream(events);
      },
    });
    knock(guest, 2000 + opened.length);
  }
  assert.deepEqual(opened, ['first', 'second']);
  net.close();
});

test('rules have a limit', () => {
  const { net } = createWorld();
  for (let port = 1; port <= 1024; port++) net.addGuestForward(`tcp:10.0.2.100:${port}-tcp:127.0.0.1:9`);
  assert.throws(() => net.addGuestForward('tcp:10.0.2.101:1-tcp:127.0.0.1:9'), {
    name: 'UserError',
    message: 'there cannot be more than 1024 guest forwarding rules',
  });
  assert.equal(net.removeGuestForward(PLACE, 1024), true);
  net.addGuestForward('tcp:10.0.2.101:1-tcp:127.0.0.1:9');
  net.close();
});
