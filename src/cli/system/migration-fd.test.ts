/** A machine that moves over a socket which both emulators inherited. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertUnbroken, MEMORY_CHECKER } from '../../machine/testing/memory-checker.ts';
import { temporaryFolder } from './testing/emulator.ts';
import { startSide } from './testing/side.ts';

/** Both ends of a connection, for other processes. */
async function socketPair(path: string): Promise<[Socket, Socket]> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(path);
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = createConnection(path);
  const [[socket]] = await Promise.all([accepted, once(client, 'connect')]);
  server.close();
  return [client, socket];
}

test('fd:NUMBER is a way for both sides', async () => {
  const folder = await temporaryFolder();
  try {
    await writeFile(join(folder, 'kernel'), MEMORY_CHECKER);
    const [here, there] = await socketPair(join(folder, 'pair'));
    await using source = await startSide(folder, 'a', [], [here]);
    await using target = await startSide(folder, 'b', ['-incoming', 'fd:3'], [there]);
    for (const socket of [here, there]) socket.destroy();
    await source.more(3);
    await assert.rejects(source.qmp.call('migrate', { uri: 'fd:name' }), /descriptor named 'name' has not been found/);
    await source.qmp.call('migrate', { uri: 'fd:3' });
    await source.untilStatus('completed');
    await target.more(3);
    assertUnbroken((await source.letters()) + (await target.letters()));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
