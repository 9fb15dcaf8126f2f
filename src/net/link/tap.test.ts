/** Two network namespaces of the host's, joined through two tap devices and our links between them. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { openTap, systemClock } from '../../host/node/index.ts';
import { createSwitch, joinLinks, Timers } from '../index.ts';
import { whyNoNamespaces } from '../testing/namespaces.ts';

const ip = (...args: string[]) => execFileSync('ip', args);
const BYTES = 4_000_000;
const SERVER = `require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
  const hash = require('node:crypto').createHash('sha256');
  socket.on('data', (bytes) => hash.update(bytes));
  socket.on('end', () => { socket.end(hash.digest('hex')); });
}).listen(7, '198.18.78.1', () => console.log('ready'));`;
const CLIENT = `const socket = require('node:net').connect({ host: '198.18.78.1', port: 7, allowHalfOpen: true });
  socket.end(Buffer.alloc(${BYTES}, 'vireo'));
  socket.on('data', (bytes) => process.stdout.write(bytes));`;

for (const kind of ['a cable', 'a switch'] as const) {
  // A cable carries unfinished frames as they are, a switch only finished ones.
  test(`TCP between two namespaces over tap devices and ${kind}`, { skip: whyNoNamespaces() }, async (t) => {
    const timers = new Timers(systemClock());
    const taps = [1, 2].map((host) => {
      const tap = openTap();
      const namespace = `vireo-${process.pid}-${host}`;
      ip('netns', 'add', namespace);
      t.after(() => ip('netns', 'del', namespace));
      t.after(() => tap.close());
      ip('link', 'set', tap.name, 'netns', namespace);
      ip('-n', namespace, 'addr', 'add', `198.18.78.${host}/24`, 'dev', tap.name);
      ip('-n', namespace, 'link', 'set', tap.name, 'up');
      return { tap, namespace };
    });
    const [server, client] = taps;
    if (kind === 'a cable') joinLinks(server.tap, client.tap, timers);
    else {
      const hub = createSwitch(timers);
      for (const { tap } of taps) joinLinks(tap, hub.addPort().link, timers);
    }
    const inside = (namespace: string, code: string) =>
      spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    const serving = inside(server.namespace, SERVER);
    t.after(() => serving.kill('SIGKILL'));
    await once(serving.stdout, 'data');
    const calling = inside(client.namespace, CLIENT);
    const late = setTimeout(() => calling.kill('SIGKILL'), 20_000);
    const expected = createHash('sha256').update(Buffer.alloc(BYTES, 'vireo')).digest('hex');
    assert.equal(await text(calling.stdout), expected);
    clearTimeout(late);
  });
}
