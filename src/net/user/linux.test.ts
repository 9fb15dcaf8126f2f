/** Linux's own TCP/IP as the guest: a network namespace of the host's behind a tap device. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { nodeSockets, openTap, systemClock } from '../../host/node/index.ts';
import { createUserNet, type Impairment, impairLink, joinLinks, Timers, type UserNet } from '../index.ts';
import { NO_NAMES } from '../testing/fake-host.ts';
import { whyNoNamespaces } from '../testing/namespaces.ts';
import { randomFrom, runSeed } from '../testing/random.ts';

const skip = whyNoNamespaces();
let worlds = 0;

/** A namespace that has our network as its only one; runs programs of Node inside. */
function linuxGuest(t: TestContext, impairment?: Impairment): { net: UserNet; run(code: string): Promise<string> } {
  const namespace = `vireo-${process.pid}-${worlds++}`;
  const [tap, clock] = [openTap(), systemClock()];
  const random = randomFrom(runSeed());
  const net = createUserNet(
    {},
    { clock, sockets: nodeSockets, resolver: NO_NAMES, random: () => random.below(2 ** 32) },
  );
  const ip = (...args: string[]) => execFileSync('ip', args);
  ip('netns', 'add', namespace);
  t.after(() => ip('netns', 'del', namespace));
  t.after(() => net.close());
  t.after(() => tap.close());
  ip('link', 'set', tap.name, 'netns', namespace);
  ip('-n', namespace, 'addr', 'add', '10.0.2.15/24', 'dev', tap.name);
  ip('-n', namespace, 'addr', 'add', 'fec0::15/64', 'dev', tap.name, 'nodad');
  ip('-n', namespace, 'link', 'set', tap.name, 'up');
  const timers = new Timers(clock);
  const link =
    impairment === undefined ? net.link : impairLink(net.link, impairment, { timers, random: () => random.ratio() });
  joinLinks(tap, link, timers);
  return {
    net,
    async run(code) {
      const command = ['netns', 'exec', namespace, process.execPath, '-e', code];
      const child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'], timeout: 30_000 });
      t.after(() => child.kill('SIGKILL'));
      return text(child.stdout);
    },
  };
}

/** Answers each connection with the hash of what it got, after bytes of its own. */
async function hashServer(t: TestContext, own: Uint8Array): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    socket.on('error', () => {});
    socket.on('data', (bytes) => hash.update(bytes));
    socket.write(own);
    socket.on('end', () => socket.end(hash.digest()));
  });
  server.listen(0, '::');
  t.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A program that sends and takes `count` times at once, and prints the hash of all it got, sorted. */
function client(host: string, port: number, bytes: number, count: number): string {
  return `const { createHash } = require('node:crypto');
  const one = () => new Promise((resolve) => {
    const hash = createHash('sha256');
    const socket = require('node:net').connect({ host: '${host}', port: ${port}, allowHalfOpen: true });
    socket.on('error', (error) => resolve(error.message));
    socket.on('data', (bytes) => hash.update(bytes));
    socket.on('end', () => resolve(hash.digest('hex')));
    socket.end(Buffer.alloc(${bytes}, 'guest'));
  });
  Promise.all(Array.from({ length: ${count} }, one)).then((all) => console.log([...new Set(all)].join(' ')));`;
}

const CASES = [
  { name: 'IPv4', host: '10.0.2.2', bytes: 3_000_000, count: 1 },
  { name: 'IPv6', host: 'fec0::2', bytes: 3_000_000, count: 1 },
  { name: '200 at once', host: '10.0.2.2', bytes: 20_000, count: 200 },
  {
    name: '5 % loss',
    host: '10.0.2.2',
    bytes: 200_000,
    count: 4,
    impairment: { lossRatio: 0.05, duplicateRatio: 0.02 },
  },
];

for (const { name, host, bytes, count, impairment } of CASES) {
  test(`Linux connects to a server on the host's loopback: ${name}`, { skip }, async (t) => {
    const own = Buffer.alloc(bytes, 'host');
    const port = await hashServer(t, own);
    const { run } = linuxGuest(t, impairment);
    const digest = createHash('sha256').update(Buffer.alloc(bytes, 'guest')).digest();
    assert.equal((await run(client(host, port, bytes, count))).trim(), sha256(Buffer.concat([own, digest])));
  });
}

test('a client of the host reaches a server in Linux through a forwarded port', { skip }, async (t) => {
  const { net, run } = linuxGuest(t);
  const { hostPort } = await net.addHostForward('tcp:127.0.0.1:0-:80');
  const served = run(`const server = require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('end', () => { socket.end(Buffer.alloc(1000000, 'x')); server.close(); }).resume();
  }).listen(80, '10.0.2.15', () => console.log('listening'));`);
  let answer = '';
  for (let attempt = 0; attempt < 100 && answer.length === 0; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const socket = connect({ host: '127.0.0.1', port: hostPort, allowHalfOpen: true }); // until it listens, connections are reset
    socket.end('please');
    answer = await text(socket).catch(() => '');
  }
  assert.equal(answer, 'x'.repeat(1_000_000));
  assert.equal(await served, 'listening\n');
});
