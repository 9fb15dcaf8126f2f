/** The socket device with a mock driver, and programs of the host on real unix sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { nodeSockets } from '../../../host/node/index.ts';
import { seededRandom } from '../../testing/device-state-suite.test.ts';
import { rig } from '../testing/rig.ts';
import { OPERATION, PACKET, PACKET_HEADER_BYTES, SHUTDOWN } from './packet.ts';
import { openVsockHost } from './unix-sockets.ts';
import { virtioVsock } from './vsock.ts';

const GUEST = 7;
const BUFFER = { bufferBytes: 4096, forwardedBytes: 0 };

interface Packet {
  readonly operation: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly flags?: number;
  readonly bufferBytes?: number;
  readonly forwardedBytes?: number;
  readonly data?: Uint8Array;
}

async function setUp(context: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  const path = join(folder, 'vsock');
  const host = await openVsockHost(path, nodeSockets);
  context.after(async () => {
    device.reset();
    host.close();
    await rm(folder, { recursive: true, force: true });
  });
  const device = virtioVsock({ name: 'vsock0', guestCid: GUEST, host });
  const made = rig(device, 'pci');
  const driver = made.driver({ features: [0], queueSize: 64 }).start(3);
  const [receive, transmit] = driver.queues;
  const received: Packet[] = [];
  const addBuffers = (count: number) => {
    for (let i = 0; i < count; i++) receive.add([], [PACKET_HEADER_BYTES + 1000]);
    receive.notify();
  };
  addBuffers(32);

  const send = ({ operation, hostPort, guestPort, flags, data = new Uint8Array(), ...credit }: Packet) => {
    const header = PACKET.encode({
      ...BUFFER,
      ...credit,
      sourceCid: GUEST,
      targetCid: 2,
      sourcePort: guestPort,
      targetPort: hostPort,
      length: data.length,
      type: 1,
      operation,
      flags,
    });
    transmit.send(data.length > 0 ? [header, data] : [header]);
    transmit.collect();
  };
  const collect = () => {
    for (const { data, written } of receive.collect()) {
      const { sourceCid, targetCid, type, ...header } = PACKET.decode(data.slice(0, PACKET_HEADER_BYTES));
      assert.deepEqual([sourceCid, targetCid, type], [2, GUEST, 1]);
      assert.equal(written, PACKET_HEADER_BYTES + header.length);
      const { operation, sourcePort: hostPort, targetPort: guestPort, flags, bufferBytes, forwardedBytes } = header;
      const payload = data.slice(PACKET_HEADER_BYTES, written);
      received.push({ operation, hostPort, guestPort, flags, bufferBytes, forwardedBytes, data: payload });
      addBuffers(1);
    }
  };
  /** The next packet to the guest. */
  const next = async (): Promise<Packet> => {
    for (collect(); received.length === 0; collect()) await setImmediate();
    return received.shift()!;
  };
  return { path, device, driver, transport: made.transport, send, next, collect, received };
}

const text = (bytes: Uint8Array = new Uint8Array()) => Buffer.from(bytes).toString();
const bytes = (value: string) => new Uint8Array(Buffer.from(value));

/** Collects what a socket receives. */
function reading(socket: Socket) {
  let content = '';
  let isEnded = false;
  socket.on('data', (part) => {
    content += part;
  });
  socket.on('end', () => {
    isEnded = true;
  });
  return {
    async until(done: (content: string) => boolean): Promise<string> {
      while (!done(content)) await setImmediate();
      return content;
    },
    async toEnd(): Promise<string> {
      while (!isEnded) await setImmediate();
      return content;
    },
  };
}

test('a program of the guest reaches one of the host, and both end in order', async (context) => {
  const { path, device, send, next } = await setUp(context);
  const server = createServer({ allowHalfOpen: true }).listen(`${path}_1234`);
  await once(server, 'listening');
  context.after(() => server.close());
  const port = { hostPort: 1234, guestPort: 99 };
  send({ ...port, operation: OPERATION.request });
  const [socket] = (await once(server, 'connection')) as [Socket];
  assert.equal((await next()).operation, OPERATION.response);
  send({ ...port, operation: OPERATION.data, data: bytes('hello ') });
  send({ ...port, operation: OPERATION.data, data: bytes('host') });
  send({ ...port, operation: OPERATION.shutdown, flags: SHUTDOWN.send });
  assert.equal(await reading(socket).toEnd(), 'hello host');
  socket.end('hello guest');
  const answer = await next();
  assert.deepEqual([answer.operation, text(answer.data), answer.forwardedBytes], [OPERATION.data, 'hello guest', 10]);
  const { operation, flags } = await next();
  assert.deepEqual([operation, flags], [OPERATION.shutdown, SHUTDOWN.send]);
  assert.equal((await next()).operation, OPERATION.reset);
  assert.equal(device.connectionCount, 0);
});

test('a program of the host asks for a port of the guest by a line', async (context) => {
  const { path, send, next } = await setUp(context);
  const socket = connect({ path, allowHalfOpen: true });
  const read = reading(socket);
  socket.write('CONNECT 80\nearly');
  const { operation, guestPort, hostPort } = await next();
  assert.deepEqual([operation, guestPort], [OPERATION.request, 80]);
  send({ hostPort, guestPort, operation: OPERATION.response });
  assert.equal(text((await next()).data), 'early');
  assert.equal(await read.until((content) => content.includes('\n')), `OK ${hostPort}\n`);
  send({ hostPort, guestPort, operation: OPERATION.data, data: bytes('content') });
  assert.equal(await read.until((content) => content.endsWith('t')), `OK ${hostPort}\ncontent`);
  send({ hostPort, guestPort, operation: OPERATION.shutdown, flags: SHUTDOWN.both });
  assert.equal((await next()).operation, OPERATION.reset);
  await read.toEnd();
  socket.end();
});

test('refusals: nobody listens, the guest says no, lines that ask for nothing', async (context) => {
  const { path, send, next } = await setUp(context);
  send({ hostPort: 1, guestPort: 2, operation: OPERATION.request });
  assert.equal((await next()).operation, OPERATION.reset);
  const socket = connect(path);
  socket.write('CONNECT 80\n');
  const { hostPort, guestPort } = await next();
  send({ hostPort, guestPort, operation: OPERATION.reset });
  await once(socket, 'close');
  for (const line of ['CONNECT x\n', 'CONNECT 4294967295\n', `${'C'.repeat(99)}`, '\n']) {
    const refused = connect(path);
    refused.on('error', () => {});
    refused.write(line);
    await once(refused, 'close');
  }
});

test('data waits for the guest’s credit, and the guest for ours', async (context) => {
  const { path, send, next, collect, received } = await setUp(context);
  const server = createServer().listen(`${path}_5`);
  await once(server, 'listening');
  context.after(() => server.close());
  const port = { hostPort: 5, guestPort: 6 };
  send({ ...port, operation: OPERATION.request, bufferBytes: 1500 });
  const [socket] = (await once(server, 'connection')) as [Socket];
  context.after(() => socket.destroy());
  await next();
  const content = Uint8Array.from({ length: 5000 }, (_, i) => i * 7);
  socket.write(content);
  const parts = [await next(), await next()];
  for (let turn = 0; turn < 20; turn++) await setImmediate();
  collect();
  assert.deepEqual([parts.map(({ data }) => data?.length), received.length], [[1000, 500], 0]);
  send({ ...port, operation: OPERATION.creditUpdate, bufferBytes: 5000, forwardedBytes: 1500 });
  while (parts.reduce((sum, { data }) => sum + data!.length, 0) < 5000) parts.push(await next());
  assert.deepEqual(Buffer.concat(parts.map(({ data }) => data!)), Buffer.from(content));

  send({ ...port, operation: OPERATION.creditRequest });
  const { operation, bufferBytes } = await next();
  assert.deepEqual([operation, bufferBytes], [OPERATION.creditUpdate, 256 * 1024]);
  // The program does not read: what is sent beyond the credit ends the connection.
  socket.pause();
  const piece = new Uint8Array(60_000);
  for (let sent = 0; sent <= 256 * 1024; sent += piece.length)
    send({ ...port, operation: OPERATION.data, data: piece });
  assert.equal((await next()).operation, OPERATION.reset);
});

test('packets that fit nothing are answered with a reset or lost; a reset ends every connection', async (context) => {
  const { path, device, transport, send, next, driver } = await setUp(context);
  const port = { hostPort: 9, guestPort: 9 };
  for (const operation of [OPERATION.response, OPERATION.data, OPERATION.shutdown, OPERATION.creditUpdate, 0, 77]) {
    send({ ...port, operation });
    assert.equal((await next()).operation, OPERATION.reset);
  }
  send({ ...port, operation: OPERATION.reset });
  const server = createServer().listen(`${path}_9`);
  await once(server, 'listening');
  context.after(() => server.close());
  send({ ...port, operation: OPERATION.request });
  const [socket] = (await once(server, 'connection')) as [Socket];
  await next();
  assert.equal(device.connectionCount, 1);
  const gone = once(socket, 'close');
  transport.writeStatus(0);
  await gone;
  assert.equal(device.connectionCount, 0);
  const again = driver.options;
  assert.equal(again.queueSize, 64);
  assert.ok(existsSync(path));
});

test('a guest that floods the device and takes nothing costs little', async (context) => {
  const { device, driver } = await setUp(context);
  const [, transmit] = driver.queues;
  const header = PACKET.encode({ sourceCid: GUEST, targetCid: 2, length: 0, type: 1, operation: 5, ...BUFFER });
  let taken = 0;
  for (let round = 0; round < 40; round++) {
    for (let i = transmit.outstanding; i < 60; i++) transmit.add([header]);
    transmit.notify();
    taken += transmit.collect().length;
  }
  // 32 buffers of the guest's, a bounded number of replies beside, and then no more packets are taken.
  assert.ok(taken >= 256 && taken <= 256 + 32 + 1, `${taken}`);
  assert.equal(device.connectionCount, 0);
});

test('random packets never make the device throw', async (context) => {
  const { seed, random } = seededRandom();
  const { send, collect, device } = await setUp(context);
  const below = (limit: number) => Math.floor(random() * limit);
  try {
    for (let step = 0; step < 3000; step++) {
      send({
        operation: below(9),
        hostPort: below(3),
        guestPort: below(3),
        flags: below(5),
        bufferBytes: random() < 0.5 ? below(5000) : below(2 ** 32),
        forwardedBytes: below(2 ** 32),
        data: new Uint8Array(random() < 0.5 ? 0 : below(200)),
      });
      collect();
      if (step % 100 === 0) await setImmediate();
    }
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  }
  assert.ok(device.connectionCount <= 9);
});
