/** Images over http, from a server of our own that can misbehave. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { httpNode } from '../../block/index.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { openHttpSource } from '../../host/node/index.ts';
import { openImage } from './open.ts';

const content = Buffer.from(randomFrom(1).bytes(1_500_000));
const seen: { method: string; url: string; range: string; auth: string }[] = [];
let etag = '"one"';

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { method = '', url = '', headers } = request;
  seen.push({ method, url, range: headers.range ?? '', auth: headers.authorization ?? '' });
  const common = { 'accept-ranges': 'bytes', etag };
  if (url === '/missing') response.writeHead(404).end();
  else if (url === '/moved') response.writeHead(302, { location: '/disk.raw' }).end();
  else if (url === '/away') response.writeHead(302, { location: `http://localhost:${port}/disk.raw` }).end();
  else if (url === '/loop') response.writeHead(302, { location: '/loop' }).end();
  else if (url === '/whole') response.writeHead(200, { 'content-length': content.length }).end();
  else if (method === 'HEAD') response.writeHead(200, { ...common, 'content-length': content.length }).end();
  else {
    const [from, to] = /^bytes=(\d+)-(\d+)$/
      .exec(headers.range ?? '')!
      .slice(1)
      .map(Number);
    const part = content.subarray(from, to + 1);
    if (url === '/ignores') response.writeHead(200, { ...common, 'content-length': content.length }).end(content);
    else {
      response.writeHead(206, { ...common, 'content-range': `bytes ${from}-${to}/${content.length}` });
      response.end(url === '/short' ? part.subarray(1) : url === '/long' ? Buffer.concat([part, part]) : part);
    }
  }
}

const server = createServer(answer).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
after(() => server.close());
const url = (path: string) => `http://127.0.0.1:${port}${path}`;

async function open(path: string, readAheadBytes = 65536) {
  return httpNode(await openHttpSource(url(path)), { name: path, readAheadBytes });
}

test('reads any range, and the same bytes once', async () => {
  const node = await open('/disk.raw');
  assert.equal(node.sizeBytes, content.length);
  const random = randomFrom(2);
  for (let i = 0; i < 30; i += 1) {
    const offset = random.next(content.length);
    const target = new Uint8Array(random.next(Math.min(200_000, content.length - offset)));
    await node.read(offset, target);
    assert.ok(content.subarray(offset, offset + target.length).equals(target));
  }
  seen.length = 0;
  const target = new Uint8Array(100);
  await node.read(content.length - 100, target);
  await node.read(content.length - 90, target.subarray(0, 90));
  assert.ok(seen.length <= 1);
  await node.close();
});

test('what is read one after the other is asked for ahead', async () => {
  const node = await open('/disk.raw');
  seen.length = 0;
  await node.read(0, new Uint8Array(65536));
  await node.read(65536, new Uint8Array(10));
  assert.deepEqual(
    seen.map(({ range }) => range),
    ['bytes=0-65535', 'bytes=65536-131071'],
  );
  await node.close();
});

test('follows redirections, and tells no other host what was meant for this', async () => {
  for (const [path, expected] of [
    ['/moved', 'Basic dXNlcjpzZWNyZXQ='],
    ['/away', ''],
  ]) {
    seen.length = 0;
    const source = await openHttpSource(url(path), { username: 'user', password: 'secret' });
    assert.deepEqual(await source.fetch(5, 10), new Uint8Array(content.subarray(5, 15)));
    source.close();
    assert.equal(seen[0].auth, 'Basic dXNlcjpzZWNyZXQ=');
    assert.deepEqual(
      seen.slice(1).map(({ auth }) => auth),
      [expected, expected],
    );
  }
});

test('names what is wrong with a server', async () => {
  await assert.rejects(openHttpSource(url('/missing')), /Could not open 'http:.*missing': the server answered 404/);
  await assert.rejects(openHttpSource(url('/whole')), /does not support 'range'/);
  await assert.rejects(openHttpSource(url('/loop')), /more than 5 redirections/);
  const read = async (path: string) => (await open(path)).read(0, new Uint8Array(10));
  await assert.rejects(read('/ignores'), { code: 'io', message: /answered 200 instead of this range/ });
  await assert.rejects(read('/short'), { code: 'io', message: /65535 bytes only/ });
  await assert.rejects(read('/long'), { code: 'io', message: /more than it was asked for/ });
  const node = await open('/disk.raw');
  await node.read(0, new Uint8Array(10));
  etag = '"two"';
  await assert.rejects(node.read(500_000, new Uint8Array(10)), { code: 'io', message: /has changed/ });
  etag = '"one"';
  await node.close();
});

test('is a protocol of the image programs', async () => {
  const target = new Uint8Array(1000);
  for (const [name, imageOpts] of [
    [url('/disk.raw'), false],
    [`driver=raw,offset=512,size=4096,file.driver=http,file.url=${url('/disk.raw')},file.readahead=64k`, true],
  ] as const) {
    const { node } = await openImage(name, { imageOpts });
    await node.read(0, target);
    assert.ok(
      content
        .subarray(imageOpts ? 512 : 0)
        .subarray(0, 1000)
        .equals(target),
    );
    assert.equal(node.sizeBytes, imageOpts ? 4096 : content.length);
    await node.close();
  }
  await assert.rejects(openImage(url('/disk.raw'), { writable: true }), /can only be read/);
  await assert.rejects(openImage(`driver=http,url=ftp://x/`, { imageOpts: true }), /no URL that begins with http/);
  await assert.rejects(
    openImage(`driver=http,url=${url('/disk.raw')},readahead=7`, { imageOpts: true }),
    /power of two/,
  );
});

test('throttle and copy-on-read are drivers too', async () => {
  const name = `driver=throttle,bps-read=100G,file.driver=raw,file.file.driver=http,file.file.url=${url('/disk.raw')}`;
  const { node } = await openImage(name, { imageOpts: true });
  const target = new Uint8Array(10);
  await node.read(3, target);
  assert.ok(content.subarray(3, 13).equals(target));
  await node.close();
});
