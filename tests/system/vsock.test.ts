/** Streams between programs of a real guest and of the host, by Linux's own vsock driver. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { exec } from '../../src/cli/exec.ts';
import { ENTER_TOOLS } from './debian.ts';
import { skip, toolsShare } from './tools.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('megabytes both ways, connections begun by either side', { skip }, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'v');
  const [toGuest, toHost] = [randomBytes(3_000_000), 2_000_000];

  // The guest's program connects to port 1000, sends what it has and takes what there is.
  const server = createServer({ allowHalfOpen: true }).listen(`${path}_1000`);
  // The guest says on port 1001 that it listens at port 2000.
  const ready = createServer().listen(`${path}_1001`);
  await Promise.all([once(server, 'listening'), once(ready, 'listening')]);
  context.after(() => {
    server.close();
    ready.close();
  });
  const received = once(server, 'connection').then(async ([socket]: Socket[]) => {
    const hash = createHash('sha256');
    socket.on('data', (part) => hash.update(part));
    socket.end(toGuest);
    await once(socket, 'end');
    return hash.digest('hex');
  });
  const fromGuest = once(ready, 'connection').then(async () => {
    const socket = connect(path);
    socket.write('CONNECT 2000\n');
    return buffer(socket);
  });

  const script = `${ENTER_TOOLS}
    chroot /t bash -ec '
      head -c ${toHost} /dev/urandom > /tmp/up; sha256sum < /tmp/up
      socat -t 60 VSOCK-CONNECT:2:1000 STDIO < /tmp/up | sha256sum
      socat VSOCK-LISTEN:2000 EXEC:"seq 1 50000" &
      sleep 1
      echo | socat - VSOCK-CONNECT:2:1001; wait'`;
  const { stdout, stderr } = await exec(script, { shares: [toolsShare], vsock: { path, guestCid: 42 } });
  const lines = Buffer.from(stdout).toString().split('\n');
  assert.equal(lines[1], `${sha256(toGuest)}  -`, Buffer.from(stderr).toString());
  assert.equal(lines[0], `${await received}  -`);
  const numbers = Array.from({ length: 50_000 }, (_, i) => `${i + 1}\n`).join('');
  assert.equal((await fromGuest).toString().replace(/^OK \d+\n/, ''), numbers);
});
