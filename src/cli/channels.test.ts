/** Ports of a guest's console behind unix sockets: the bytes that go through them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Machine } from '../machine/index.ts';
import { parseChannels, serveChannels } from './channels.ts';

/** A machine with nothing but console ports, whose guest's side is in the test's hands. */
function consoleMachine(count: number) {
  const ports = Array.from({ length: count }, () => ({
    output: new TransformStream<Uint8Array, Uint8Array>(),
    input: new TransformStream<Uint8Array, Uint8Array>(),
  }));
  const consolePorts = ports.map(({ output, input }) => ({ readable: output.readable, writable: input.writable }));
  let isStopped = false;
  const machine = {
    consolePorts,
    stop: async () => {
      isStopped = true;
    },
  } as unknown as Machine;
  const guest = ports.map(({ output, input }) => ({
    out: output.writable.getWriter(),
    in: input.readable.getReader(),
  }));
  return { machine, guest, isStopped: () => isStopped };
}

async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test('bytes go both ways between a port and its socket, more than the queues hold, and the end is told', async (context) => {
  const folder = await temporaryFolder(context);
  const [terminal, agent] = [join(folder, 'terminal'), join(folder, 'agent')];
  const { machine, guest } = consoleMachine(2);
  await serveChannels(machine, parseChannels([terminal], [`org.example.0=${agent}`]));
  const socket = connect(agent);
  await once(socket, 'connect');

  const [down, up] = [randomBytes(300_000), randomBytes(1_000_000)];
  socket.write(down);
  const received: Uint8Array[] = [];
  for (let count = 0; count < down.length; ) {
    const { value } = await guest[1].in.read();
    assert.ok(value !== undefined);
    received.push(value);
    count += value.length;
  }
  assert.deepEqual(Buffer.concat(received), down);

  const taken: Buffer[] = [];
  socket.on('data', (bytes) => taken.push(Buffer.from(bytes)));
  for (let at = 0; at < up.length; at += 50_000) await guest[1].out.write(up.subarray(at, at + 50_000));
  const closed = once(socket, 'close');
  await guest[1].out.close();
  await closed;
  assert.deepEqual(Buffer.concat(taken), up);
  await guest[0].out.close();
});

test('the next client of a socket gets what the guest says next', async (context) => {
  const folder = await temporaryFolder(context);
  const path = join(folder, 'port');
  const { machine, guest } = consoleMachine(1);
  await serveChannels(machine, parseChannels([], [`port=${path}`]));
  for (const round of ['one', 'two']) {
    const client = connect(path);
    client.write(round);
    const { value } = await guest[0].in.read();
    assert.equal(Buffer.from(value ?? []).toString(), round);
    const [answer] = await Promise.all([once(client, 'data'), guest[0].out.write(Buffer.from(`${round} heard`))]);
    assert.equal(String(answer[0]), `${round} heard`);
    client.destroy();
    await once(client, 'close');
  }
  await guest[0].out.close();
});

test('a socket that cannot be made, or a port that is not there, is said, and the others are closed', async (context) => {
  const folder = await temporaryFolder(context);
  const { machine, isStopped } = consoleMachine(2);
  const good = join(folder, 'good');
  const channels = parseChannels([], [`a=${good}`, `b=${join(folder, 'no', 'such', 'folder')}`]);
  await assert.rejects(serveChannels(machine, channels), { name: 'UserError' });
  assert.deepEqual([isStopped(), existsSync(good)], [true, false]);
  await assert.rejects(serveChannels(consoleMachine(1).machine, channels), {
    name: 'UserError',
    message: "the machine's console has 1 ports, not 2",
  });
});
