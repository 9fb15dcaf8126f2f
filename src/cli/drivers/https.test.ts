/** Images over https: certificates that are believed, and those that are not. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { randomFrom } from '../../contract/testing/random.ts';

const VIREO_IMG = fileURLToPath(new URL('../../../bin/vireo-img', import.meta.url));
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);
const content = Buffer.from(randomFrom(3).bytes(300_000));
let port = 0;
const server = createServer();
after(() => {
  server.closeAllConnections();
  server.close();
});

before(async () => {
  if (skip) return;
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', path('key.pem')];
  const made = spawnSync('openssl', ['req', '-x509', ...key, '-out', path('cert.pem'), '-days', '2', ...subject]);
  assert.equal(made.status, 0, made.stderr.toString());
  writeFileSync(path('disk.raw'), content);
  server.setSecureContext({ key: readFileSync(path('key.pem')), cert: readFileSync(path('cert.pem')) });
  server.on('request', ({ method, headers }, response) => {
    const common = { 'accept-ranges': 'bytes', etag: '"x"' };
    if (method === 'HEAD') {
      response.writeHead(200, { ...common, 'content-length': content.length }).end();
      return;
    }
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')!;
    response.writeHead(206, { ...common, 'content-range': `bytes ${from}-${to}/${content.length}` });
    response.end(content.subarray(Number(from), Number(to) + 1));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});

/** `vireo-img compare` of the file with what the server has. */
async function compare(image: string, env: Record<string, string> = {}) {
  const args = [VIREO_IMG, 'compare', '--image-opts', `driver=raw,file.filename=${path('disk.raw')}`, image];
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const [status] = await once(child, 'close');
  return { status, output };
}

const image = (more = '') => `driver=raw,file.driver=https,file.url=https://localhost:${port}/disk.raw${more}`;

test('a certificate that nobody vouches for is refused, in one line that says so', { skip }, async () => {
  const { status, output } = await compare(image());
  assert.equal(status, 2);
  assert.match(output, /^vireo-img: [^\n]*localhost[^\n]*self-signed certificate[^\n]*\n$/);
});

test('sslverify=off takes any certificate', { skip }, async () => {
  assert.deepEqual(await compare(image(',file.sslverify=off')), { status: 0, output: 'Images are identical.\n' });
});

test('a certificate of an authority that the environment names is believed', { skip }, async () => {
  const env = { NODE_EXTRA_CA_CERTS: path('cert.pem') };
  assert.deepEqual(await compare(image(), env), { status: 0, output: 'Images are identical.\n' });
});
