/** The network against real servers and clients on 127.0.0.1, in real time. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { nodeSockets, systemClock } from '../../host/node/index.ts';
import { createUserNet, type UserNet, type UserNetOptions } from '../index.ts';
import { NO_NAMES } from '../testing/fake-host.ts';
import { LiveGuest } from '../testing/live-guest.ts';
import { randomFrom } from '../testing/random.ts';

async function listen(
  t: TestContext,
  onConnection: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    t.after(() => socket.destroy());
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1', 4096);
  t.after(() => server.close());
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

async function withNet(
  options: UserNetOptions,
  body: (net: UserNet, guest: LiveGuest) => Promise<void>,
): Promise<void> {
  const random = randomFrom(3);
  const ports = { clock: systemClock(), sockets: nodeSockets, resolver: NO_NAMES, random: () => random.below(2 ** 32) };
  const net = createUserNet(options, ports);
  try {
    await body(net, new LiveGuest(net.link));
  } finally {
    net.close();
  }
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

async function until(isDone: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 120_000; !isDone(); ) {
    assert.ok(Date.now() < end, `timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('a thousand connections at once to an echo server, and nothing is left of them', async (t) => {
  const before = descriptors();
  const { server, port } = await listen(t, (socket) => {
    socket.pipe(socket);
    socket.on('error', () => {});
  });
  await withNet({}, async (net, guest) => {
    const random = randomFrom(5);
    const peers = Array.from({ length: 1000 }, (_, i) => {
      const peer = guest.peer('10.0.2.2', {
        localPort: 2000 + i,
        remotePort: port,
        initialSequence: i * 7919,
        windowScale: 2,
      });
      return { peer, sent: random.bytes(3000 + (i % 5) * 1000) };
    });
    for (const { peer, sent } of peers) {
      peer.connect();
      peer.write(sent);
      peer.end();
    }
    await until(() => peers.every(({ peer }) => peer.isRemoteEnded && peer.isLocalEnded), 'all streams to end');
    for (const { peer, sent } of peers) assert.deepEqual(peer.content, Buffer.from(sent));
    await until(() => net.statistics().tcpConnections === 0, 'connections to be forgotten');
    assert.equal(net.statistics().bufferedBytes, 0);
  });
  server.close();
  await until(() => descriptors() <= before, 'descriptors to be closed');
});

/** What is in use after a collection: the heap and the buffers outside it. */
async function usedBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  // What a collection frees may hold more until its finalizers ran.
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise(setImmediate);
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** VIREO_LONG=1 makes it twenty thousand connections. */
const ROUNDS = process.env.VIREO_LONG ? 100 : 6;
const PER_ROUND = 200;
/** What one connection may leave behind, and what the process may take for itself. */
const LEFT_BYTES = 64;
const OWN_BYTES = 4 * 2 ** 20;

test(`${ROUNDS * PER_ROUND} connections one after the other leave no descriptors and no memory behind`, async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket));
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1', 4096), 'listening');
  const { port } = server.address() as AddressInfo;
  await withNet({}, async (net) => {
    const bytes = randomFrom(9).bytes(4000);
    const round = async () => {
      const guest = new LiveGuest(net.link);
      const peers = Array.from({ length: PER_ROUND }, (_, i) =>
        guest.peer('10.0.2.2', { localPort: 2000 + i, remotePort: port, initialSequence: i, windowScale: 2 }),
      );
      for (const [i, peer] of peers.entries()) {
        peer.connect();
        peer.write(bytes);
        if (i % 2 === 0) peer.end();
      }
      await until(() => peers.every(({ receivedBytes }) => receivedBytes === bytes.length), 'all bytes to come back');
      for (const [i, peer] of peers.entries()) if (i % 2 === 1) peer.end();
      await until(() => net.statistics().tcpConnections === 0, 'connections to be forgotten');
    };
    for (let i = 0; i < 2; i++) await round();
    const before = { descriptors: descriptors(), bytes: await usedBytes() };
    for (let i = 2; i < ROUNDS; i++) await round();
    await until(() => descriptors() <= before.descriptors, 'descriptors to be closed');
    const grown = (await usedBytes()) - before.bytes;
    t.diagnostic(`${before.descriptors} descriptors before, ${descriptors()} after; ${grown} bytes more in use`);
    assert.ok(grown < OWN_BYTES + ROUNDS * PER_ROUND * LEFT_BYTES, `${grown} bytes more in use`);
    assert.deepEqual([net.statistics().bufferedBytes, net.statistics().udpAssociations], [0, 0]);
  });
});

test('8 MiB each way through one connection, with large segments', async (t) => {
  const total = 8 * 1024 * 1024;
  const chunk = Buffer.from(randomFrom(6).bytes(64 * 1024));
  const received = createHash('sha256');
  let receivedBytes = 0;
  const { port } = await listen(t, (socket) => {
    socket.on('data', (bytes) => {
      received.update(bytes);
      receivedBytes += bytes.length;
    });
    for (let i = 0; i < total / chunk.length; i++) socket.write(chunk);
    socket.end();
  });
  const expected = createHash('sha256');
  for (let i = 0; i < total / chunk.length; i++) expected.update(chunk);
  await withNet({}, async (_net, guest) => {
    guest.takes = { checksum: true, tcp4: true, tcp6: true };
    const options = { localPort: 2000, remotePort: port, initialSequence: 1, windowScale: 7, windowBytes: 4_000_000 };
    const peer = guest.peer('10.0.2.2', options);
    peer.connect();
    let sent = 0;
    const down = createHash('sha256');
    await until(() => {
      for (; sent < total && peer.outputBytes < 1_000_000; sent += chunk.length) peer.write(chunk);
      for (const bytes of peer.received.splice(0)) down.update(bytes);
      return peer.receivedBytes === total && receivedBytes === total;
    }, 'all bytes to arrive');
    const want = expected.digest('hex');
    assert.equal(down.digest('hex'), want);
    assert.equal(received.digest('hex'), want);
  });
});

test('a client of the host is forwarded into the guest, and both ends reach the other side', async () => {
  await withNet({}, async (net, guest) => {
    const { hostPort } = await net.addHostForward('tcp:127.0.0.1:0-:22');
    const client = connect({ host: '127.0.0.1', port: hostPort, allowHalfOpen: true });
    const clientPort = await once(client, 'connect').then(() => client.localPort!);
    const sshd = guest.peer('10.0.2.2', { localPort: 22, remotePort: clientPort, initialSequence: 77 });
    client.end('from the host');
    sshd.write(new TextEncoder().encode('from the guest'));
    sshd.end();
    const chunks: Buffer[] = [];
    client.on('data', (bytes: Buffer) => chunks.push(bytes));
    await once(client, 'end');
    assert.equal(Buffer.concat(chunks).toString(), 'from the guest');
    await until(() => sshd.isRemoteEnded, 'the end of the client');
    assert.equal(sshd.content.toString(), 'from the host');
    await assert.rejects(net.addHostForward(`tcp:127.0.0.1:${hostPort}-:22`), /exists already/);
    net.removeHostForward(`tcp:127.0.0.1:${hostPort}`);
  });
});

test('a port that is in use is named', async (t) => {
  const { port } = await listen(t, () => {});
  await withNet({}, async (net) => {
    await assert.rejects(net.addHostForward(`tcp:127.0.0.1:${port}-:22`), {
      name: 'UserError',
      message: `cannot listen on 127.0.0.1:${port}: it is in use`,
    });
  });
});

test('a program answers behind a guest forward', async () => {
  await withNet({}, async (net, guest) => {
    net.addGuestForward('tcp:10.0.2.100:7-cmd:tr a-z A-Z');
    const peer = guest.peer('10.0.2.100', { localPort: 2000, remotePort: 7, initialSequence: 1 });
    peer.connect();
    peer.write(new TextEncoder().encode('shout\n'));
    peer.end();
    await until(() => peer.isRemoteEnded, 'the program to end');
    assert.equal(peer.content.toString(), 'SHOUT\n');
  });
});

/** VIREO_LONG=1 makes it a million. */
const DATAGRAMS = process.env.VIREO_LONG ? 1_000_000 : 20_000;

test(`${DATAGRAMS} short datagrams to an echo server all come back`, async (t) => {
  const server = createSocket('udp4');
  server.bind(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  server.on('message', (message, from) => server.send(message, from.port, from.address));
  const count = DATAGRAMS;
  await withNet({}, async (net, guest) => {
    const seen = new Uint8Array(count);
    let returned = 0;
    guest.onUdp = ({ payload }) => {
      returned++;
      seen[Buffer.from(payload).readUInt32BE()]++;
    };
    for (let sent = 0; sent < count; sent++) {
      const payload = Uint8Array.of(sent >> 24, sent >> 16, sent >> 8, sent);
      guest.sendUdp('10.0.2.2', server.address().port, 3000 + (sent % 8), payload);
      // Datagrams have no flow control: no more are under way than the host's queues hold.
      if (sent - returned >= 100)
        await until(() => sent - returned < 50, `datagrams to return: ${returned} of ${sent}`);
    }
    await until(() => returned === count, `datagrams to return: ${returned}`);
    assert.ok(seen.every((times) => times === 1));
    assert.equal(net.statistics().udpAssociations, 8);
    assert.equal(net.statistics().bufferedBytes, 0);
  });
});
