/** The network of a real guest: Debian's own virtio driver on the user-mode network, and servers of the test's beside it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { defaultGuest } from '../host/node/index.ts';
import { exec } from './exec.ts';

const skip = await defaultGuest().then(
  () => false as const,
  (error: Error) => error.message,
);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test('the guest fetches from a server on the host’s loopback and sends back, byte for byte', {
  skip,
}, async (context) => {
  const file = randomBytes(5_000_000);
  const received: Buffer[] = [];
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET') response.end(file);
    else void buffer(incoming).then((body) => response.end(String(received.push(body))));
  });
  context.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const script = `
    wget -q -O /tmp/file http://10.0.2.2:${port}/ && sha256sum < /tmp/file
    { printf 'POST / HTTP/1.0\\r\\nContent-Length: 5000000\\r\\n\\r\\n'; cat /tmp/file; } | nc 10.0.2.2 ${port} | tail -1`;
  const { stdout } = await exec(script, { networks: [{ kind: 'user' }] });
  assert.equal(text(stdout), `${sha256(file)}  -\n1`);
  assert.equal(sha256(received[0]), sha256(file));
});

test('the host reaches a server in the guest through a forwarded port', { skip }, async () => {
  const probe = createTcpServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');

  const networks = [{ kind: 'user', hostForwards: [`tcp:127.0.0.1:${port}-:8080`] } as const];
  // nc takes one connection: the first may be one that was given up while the guest booted.
  const serve = `{ printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; seq 1 100000; } | nc -l -p 8080 >/tmp/request`;
  const guest = exec(`until ${serve}; grep -q GET /tmp/request; do :; done; cat /tmp/request >&2`, { networks });
  const expected = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join('');
  assert.equal(text(await fetchUntilThere(port, '/numbers', guest)), expected);
  assert.match(text((await guest).stderr), /^GET \/numbers HTTP/);
});

/** The guest takes a while to boot: until then connections are refused or end. */
async function fetchUntilThere(port: number, path: string, guest: Promise<unknown>): Promise<Uint8Array> {
  let hasEnded = false;
  const ended = () => {
    hasEnded = true;
  };
  guest.then(ended, ended);
  while (!hasEnded) {
    try {
      const outgoing = request({ host: '127.0.0.1', port, path, timeout: 20_000 }).end();
      outgoing.on('timeout', () => outgoing.destroy());
      const [response] = await once(outgoing, 'response');
      return await buffer(response);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
  throw new Error('the guest ended without an answer');
}

test('two cards, each with its own address', { skip }, async () => {
  const networks = [{ kind: 'user' }, { kind: 'user', mac: '52:54:00:00:00:99' }] as const;
  const { stdout } = await exec('cat /sys/class/net/eth0/address /sys/class/net/eth1/address', { networks });
  assert.equal(text(stdout), '52:54:00:12:34:56\n52:54:00:00:00:99\n');
});
