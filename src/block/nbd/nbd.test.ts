/** NBD client against NBD server, in memory: every mode, a byte at a time, lost connections, peers that send garbage. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockNode, ByteStream } from '../../contract/index.ts';
import { blockNodeSuite } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { memoryNode } from '../memory.ts';
import { createQcow2, qcow2 } from '../qcow2/index.ts';
import { listNbdExports, negotiateClient } from './client-negotiation.ts';
import { bitmapContext, depthContext, type NbdExport, type NbdNodeOptions, openNbd, serveNbd } from './index.ts';
import { negotiation } from './negotiation.ts';
import { nbdSession } from './session.ts';
import { streamPair } from './testing/stream-pair.ts';
import {
  COMMAND,
  COMMAND_FLAG,
  compactRequest,
  MAGIC,
  OPTION,
  OPTION_REPLY,
  optionHeader,
  optionReply,
} from './wire.ts';

const MODES = ['simple', 'structured', 'extended'] as const;

/** Connects to a server of our own; the streams of both sides are kept to be broken. */
function serverFor(exports: readonly NbdExport[], chunkBytes?: number) {
  const streams: ByteStream[] = [];
  const served: Promise<void>[] = [];
  return {
    streams,
    served,
    async connect(): Promise<ByteStream> {
      const [client, server] = streamPair(chunkBytes === undefined ? {} : { chunkBytes });
      streams.push(client);
      served.push(serveNbd(server, { exports }));
      return client;
    },
  };
}

async function openMemory(node: BlockNode, options: Partial<NbdNodeOptions> = {}, more: Partial<NbdExport> = {}) {
  const server = serverFor([{ name: '', node, ...more }]);
  return { server, client: await openNbd({ name: 'test', connect: server.connect, ...options }) };
}

for (const atMost of MODES) {
  let behind = memoryNode(0);
  const open = async () => (await openMemory(behind, { atMost })).client;
  blockNodeSuite(`nbd, ${atMost} replies`, {
    create(size) {
      behind = memoryNode(size);
      return open();
    },
    reopen: open,
  });
}

blockNodeSuite('nbd over four connections', {
  create: async (size) => (await openMemory(memoryNode(size), { connections: 4 }, { multiConnection: true })).client,
});

test('a byte at a time', async () => {
  for (const atMost of MODES) {
    const node = memoryNode(40_000);
    const bytes = randomFrom(3).bytes(7000);
    await node.write(20_000, bytes);
    const server = serverFor([{ name: 'disk', node }], 1);
    const client = await openNbd({ name: 'test', connect: server.connect, exportName: 'disk', atMost });
    const found = new Uint8Array(40_000);
    await client.read(0, found);
    const wanted = new Uint8Array(40_000);
    wanted.set(bytes, 20_000);
    assert.ok(Buffer.from(found).equals(wanted));
    await client.close();
    await Promise.all(server.served);
  }
});

test('several connections are used, and only where the server allows it', async () => {
  const node = memoryNode(1000);
  const many = await openMemory(node, { connections: 3 }, { multiConnection: true });
  for (let i = 0; i < 6; i += 1) await many.client.read(0, new Uint8Array(10));
  while (many.server.streams.length < 3) await many.client.flush();
  await many.client.close();
  await Promise.all(many.server.served);
  assert.equal((await openMemory(node, { connections: 3 })).server.streams.length, 1);
});

test('errors come back as what they are', async () => {
  const node = memoryNode(100_000);
  for (const atMost of MODES) {
    const { client } = await openMemory(node, { atMost, readOnly: true }, { readOnly: true });
    await assert.rejects(client.write(0, new Uint8Array(1)), { code: 'read-only' });
    const failing = { ...node, limits: node.limits, sizeBytes: 100_000, readOnly: false };
    failing.read = () => node.read(200_000, new Uint8Array(1));
    const second = await openMemory(failing, { atMost });
    await assert.rejects(second.client.read(0, new Uint8Array(7000)), { code: 'io' });
    // The connection goes on.
    await second.client.write(5, new Uint8Array(10));
  }
});

test('requests that make no sense are refused, and the connection goes on', async () => {
  for (const atMost of MODES) {
    const server = serverFor([{ name: '', node: memoryNode(10_000) }]);
    const session = nbdSession(await negotiateClient(await server.connect(), { atMost }), 'test');
    const refused = (request: object, code: string) =>
      assert.rejects(session.send({ type: 0, offset: 0, length: 1, ...request }), { code });
    await refused({ type: 99 }, 'io');
    await refused({ type: COMMAND.read, flags: 0x40, target: new Uint8Array(1) }, 'io');
    await refused({ type: COMMAND.read, offset: 9999, length: 2, target: new Uint8Array(2) }, 'io');
    await refused({ type: COMMAND.write, offset: 9999, length: 2, payload: new Uint8Array(2) }, 'no-space');
    await refused({ type: COMMAND.write, length: 2 ** 25 + 1, payload: new Uint8Array(2 ** 25 + 1) }, 'io');
    await refused({ type: COMMAND.writeZeroes, offset: 5000, length: 5001 }, 'no-space');
    await refused({ type: COMMAND.trim, offset: 2 ** 53, length: 1 }, 'io');
    if (atMost !== 'simple') await refused({ type: COMMAND.blockStatus, length: 0 }, 'io');
    const target = new Uint8Array(10_000);
    await session.send({ type: COMMAND.read, flags: COMMAND_FLAG.dontFragment, offset: 0, length: 10_000, target });
    await session.send({ type: COMMAND.cache, offset: 0, length: 10_000 });
    await session.end();
    await Promise.all(server.served);
  }
});

test('block status follows the backing chain', async () => {
  const [baseFile, topFile] = [memoryNode(0), memoryNode(0)];
  const sizeBytes = 4 * 65536;
  await createQcow2(baseFile, { sizeBytes });
  await createQcow2(topFile, { sizeBytes, backing: { filename: 'base', format: 'qcow2' } });
  const base = await qcow2.open(baseFile, { name: 'base' });
  await base.write(65536, new Uint8Array(65536).fill(1));
  await base.write(2 * 65536, new Uint8Array(65536).fill(2));
  const node = await qcow2.open(topFile, { name: 'top', resolveBacking: async () => base });
  await node.write(0, new Uint8Array(65536).fill(3));
  await node.writeZeroes!(2 * 65536, 65536);
  const dirty = bitmapContext('b', sizeBytes, [{ offset: 65536, length: 65536 }]);
  const asked = async (atMost: 'structured' | 'extended', allocationContext: string) => {
    const contexts = [depthContext(node), dirty];
    const server = serverFor([{ name: '', node, contexts }]);
    const session = nbdSession(await negotiateClient(await server.connect(), { atMost, allocationContext }), 'test');
    const one = await session.send({
      type: COMMAND.blockStatus,
      flags: COMMAND_FLAG.requestOne,
      offset: 0,
      length: sizeBytes,
    });
    assert.equal(one.length, 1);
    const all = await session.send({ type: COMMAND.blockStatus, offset: 0, length: sizeBytes });
    await session.end();
    return all.map(({ length, flags }) => `${length / 65536}:${flags}`).join(' ');
  };
  for (const mode of ['structured', 'extended'] as const) {
    assert.equal(await asked(mode, 'base:allocation'), '2:0 2:3');
    assert.equal(await asked(mode, 'qemu:allocation-depth'), '1:1 1:2 1:1 1:0');
    assert.equal(await asked(mode, 'qemu:dirty-bitmap:b'), '1:0 1:1 2:0');
  }
});

test('lists exports with what they can do', async () => {
  const node = memoryNode(1_000_000);
  const server = serverFor([
    { name: 'a', description: 'the first', node, contexts: [depthContext(node)] },
    { name: 'ü', node, readOnly: true },
  ]);
  const listed = await listNbdExports(await server.connect());
  assert.deepEqual(
    listed.map(({ name, description, contexts, facts }) => ({ name, description, contexts, size: facts?.sizeBytes })),
    [
      { name: 'a', description: 'the first', contexts: ['base:allocation', 'qemu:allocation-depth'], size: 1_000_000 },
      { name: 'ü', description: undefined, contexts: ['base:allocation'], size: 1_000_000 },
    ],
  );
  await Promise.all(server.served);
});

test('names what is wrong with an export or a peer', async () => {
  const server = serverFor([{ name: 'a', node: memoryNode(10), readOnly: true }]);
  const open = (options: Partial<NbdNodeOptions>) => openNbd({ name: 'disk', connect: server.connect, ...options });
  await assert.rejects(open({ exportName: 'b' }), /disk: NBD server: export 'b': it has no such export/);
  await assert.rejects(open({ exportName: 'a', readOnly: false }), /disk: the server exports it read-only/);
  await assert.rejects(open({ exportName: 'a', useTls: true }), /disk: NBD server: STARTTLS: it does not permit/);
  const web = async () => {
    const [client, peer] = streamPair();
    await peer.write([Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]);
    return client;
  };
  await assert.rejects(open({ connect: web }), /disk: NBD server: the peer is no NBD server/);
});

test('waits for a lost connection to come back, and asks again', async () => {
  const node = memoryNode(100_000);
  const server = serverFor([{ name: '', node }]);
  let now = 0;
  const clock = {
    nowNanos: () => now,
    createTimer: (onExpire: () => void) => ({
      deadlineNanos: undefined,
      arm(deadline: number) {
        now = deadline;
        queueMicrotask(onExpire);
      },
      cancel() {},
    }),
  };
  let refusals = 0;
  const connect = async () => {
    if (refusals > 0) {
      refusals -= 1;
      const { UserError } = await import('../../base/index.ts');
      throw new UserError('refused');
    }
    return server.connect();
  };
  const client = await openNbd({ name: 'test', connect, reconnectNanos: 5e9, clock });
  await client.write(10, new Uint8Array([1, 2, 3]));
  refusals = 3;
  server.streams.at(-1)!.destroy();
  const target = new Uint8Array(3);
  await client.read(10, target);
  assert.deepEqual([...target], [1, 2, 3]);
  refusals = 1000;
  server.streams.at(-1)!.destroy();
  await assert.rejects(client.read(10, target), { code: 'io', message: /refused/ });
  const impatient = await openNbd({ name: 'test', connect: server.connect });
  server.streams.at(-1)!.destroy();
  await assert.rejects(impatient.read(0, target), { code: 'io' });
});

test('the server bears garbage at any place', async () => {
  const random = randomFrom(9);
  for (let round = 0; round < 300; round += 1) {
    const server = serverFor([{ name: '', node: memoryNode(100_000) }]);
    const stream = await server.connect();
    await stream.write([Uint8Array.of(0, 0, 0, round % 4)]);
    for (let i = 0; i < 3; i += 1) {
      const data = random.bytes(random.next(40));
      const length = random.next(5) === 0 ? random.next(2 ** 31) : data.length;
      await stream.write([optionHeader.write({ magic: MAGIC.option, option: random.next(14), length }), data]);
    }
    await stream.write([random.bytes(random.next(300))]);
    stream.end();
    await Promise.all(server.served);
  }
});

test('the server bears garbage among requests', async () => {
  const random = randomFrom(10);
  for (let round = 0; round < 200; round += 1) {
    const server = serverFor([{ name: '', node: memoryNode(100_000) }]);
    const atMost = MODES[round % 3];
    const { stream } = await negotiateClient(await server.connect(), { atMost });
    for (let i = 0; i < 4; i += 1) {
      const big = random.next(3) === 0;
      const request = compactRequest.write({
        magic: MAGIC.request,
        type: random.next(10),
        flags: random.next(64),
        cookie: BigInt(i),
        offset: big ? random.next(2 ** 31) * 2 ** 31 : random.next(100_000),
        length: big ? random.next(2 ** 31) : random.next(10_000),
      });
      await stream.write([request, random.bytes(random.next(200))]);
    }
    stream.end();
    await Promise.all(server.served);
  }
});

test('the client bears garbage instead of replies', async () => {
  const random = randomFrom(11);
  for (let round = 0; round < 300; round += 1) {
    const [client, peer] = streamPair();
    const server = negotiation({
      exports: [
        { name: '', sizeBytes: 100_000, flags: 0xffff, minBytes: 1, preferredBytes: 1, contexts: ['base:allocation'] },
      ],
      tls: 'none',
      isSecure: false,
    });
    await peer.write([server.greeting]);
    const opening = negotiateClient(client, { atMost: MODES[round % 3] });
    for (let isOver = false; !isOver; ) {
      const parts: Uint8Array[] = [];
      while (parts.reduce((sum, part) => sum + part.length, 0) < server.needs) parts.push((await peer.read())!);
      const bytes = Buffer.concat(parts);
      for (let at = 0; at < bytes.length && !isOver; ) {
        const taken = bytes.subarray(at, at + server.needs);
        at += taken.length;
        const { send, next } = server.feed(taken);
        await peer.write(send);
        isOver = next !== 'more';
      }
    }
    const session = nbdSession(await opening, 'test');
    const reading = session.send({ type: COMMAND.read, offset: 0, length: 100, target: new Uint8Array(100) });
    const asking = session.send({ type: COMMAND.blockStatus, offset: 0, length: 100 });
    const magics = [MAGIC.simpleReply, MAGIC.structuredReply, MAGIC.extendedReply];
    const reply = new DataView(new ArrayBuffer(64));
    for (let at = 0; at < 64; at += 1) reply.setUint8(at, random.next(4) === 0 ? random.next(256) : 0);
    reply.setUint32(0, magics[random.next(3)]);
    if (random.next(2) === 0) reply.setBigUint64(8, BigInt(1 + random.next(2)));
    if (random.next(2) === 0) reply.setUint16(6, random.next(7));
    await peer.write([new Uint8Array(reply.buffer)]);
    peer.end();
    await Promise.allSettled([reading, asking]);
    assert.equal(session.isLost, true);
  }
});

test('the client bears garbage in the handshake', async () => {
  const random = randomFrom(12);
  for (let round = 0; round < 300; round += 1) {
    const [client, peer] = streamPair();
    const greeting = negotiation({ exports: [], tls: 'none', isSecure: false }).greeting.slice();
    if (round % 5 === 0) greeting[random.next(18)] ^= 1 << random.next(8);
    await peer.write([greeting]);
    for (const option of [OPTION.extendedHeaders, OPTION.setMetaContext, OPTION.go]) {
      const types = [
        OPTION_REPLY.ack,
        OPTION_REPLY.info,
        OPTION_REPLY.metaContext,
        OPTION_REPLY.unknown,
        random.next(2 ** 31),
      ];
      for (let i = 0; i < 2; i += 1) {
        const data = random.bytes(random.next(30));
        const length = random.next(8) === 0 ? random.next(2 ** 31) : data.length;
        await peer.write([
          optionReply.write({ magic: MAGIC.optionReply, option, type: types[random.next(5)], length }),
          data,
        ]);
      }
    }
    peer.end();
    await assert.rejects(negotiateClient(client).then(() => Promise.reject(new Error('agreed'))));
  }
});
