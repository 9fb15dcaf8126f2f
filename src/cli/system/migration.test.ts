/** Machines that go from one process to another: by every way, cut, altered, killed at any byte, and what locks say then. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { randomFrom } from '../../contract/testing/random.ts';
import { assertUnbroken, MEMORY_CHECKER } from '../../machine/testing/memory-checker.ts';
import { openImage } from '../drivers/open.ts';
import { runImg } from '../img/program.ts';
import { connectQmp, type Emulator, type QmpClient, startEmulator, temporaryFolder } from './testing/emulator.ts';

/** A machine of 16 MiB whose guest checks its memory; what it prints goes to the file `out-NAME`. */
interface Side extends AsyncDisposable {
  readonly name: string;
  readonly emulator: Emulator;
  readonly qmp: QmpClient;
  letters(): Promise<string>;
  /** Resolves when it has printed this many letters more. */
  more(count: number): Promise<void>;
  status(): Promise<string>;
}

const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

/** With the kernel and a disk; removed when all tests are done. */
async function newFolder(): Promise<string> {
  const folder = await temporaryFolder();
  folders.push(folder);
  await writeFile(join(folder, 'kernel'), MEMORY_CHECKER);
  assert.equal(await runImg(['create', '-q', '-f', 'qcow2', join(folder, 'disk.qcow2'), '8M']), 0);
  return folder;
}

async function startSide(folder: string, name: string, ...more: string[]): Promise<Side> {
  const line =
    '-m 16 -nodefaults -display none -accel tcg -kernel kernel -drive file=disk.qcow2,if=virtio,format=qcow2';
  const own = ['-serial', `file:out-${name}`, '-qmp', `unix:qmp-${name},server=on,wait=off`];
  const emulator = startEmulator([...line.split(' '), ...own, ...more], folder, false);
  const qmp = await connectQmp(join(folder, `qmp-${name}`));
  const letters = () => readFile(join(folder, `out-${name}`), 'latin1');
  return {
    name,
    emulator,
    qmp,
    letters,
    async more(count) {
      const wanted = (await letters()).length + count;
      while ((await letters()).length < wanted) await qmp.call('query-status');
    },
    status: async () => (await qmp.call('query-status')).status,
    async [Symbol.asyncDispose]() {
      qmp[Symbol.dispose]();
      await emulator[Symbol.asyncDispose]();
    },
  };
}

/** Resolves to what query-migrate says when nothing is under way any more. */
async function settled({ qmp }: Side) {
  for (;;) {
    const info = await qmp.call('query-migrate');
    if (['completed', 'failed', 'cancelled'].includes(info.status)) return info;
  }
}

/** The image can be opened for writing: nobody has it. */
async function isFree(folder: string): Promise<boolean> {
  try {
    const { node } = await openImage(join(folder, 'disk.qcow2'), { format: 'qcow2', writable: true });
    await node.close();
    return true;
  } catch (error) {
    assert.match((error as Error).message, /lock/);
    return false;
  }
}

/** Between sender and receiver: passes bytes on until `change` says otherwise. */
async function proxy(
  from: string,
  to: string,
  change: (bytes: Buffer, offset: number, ends: Ends) => Buffer | undefined,
) {
  const server = createServer((incoming) => {
    const outgoing = createConnection(to);
    const ends = { incoming, outgoing };
    let offset = 0;
    for (const socket of [incoming, outgoing]) socket.on('error', () => {});
    outgoing.pipe(incoming);
    incoming.on('data', (bytes: Buffer) => {
      const passed = change(bytes, offset, ends);
      offset += bytes.length;
      if (passed === undefined) for (const socket of [incoming, outgoing]) socket.destroy();
      else if (!outgoing.write(passed)) {
        incoming.pause();
        outgoing.once('drain', () => incoming.resume());
      }
    });
    incoming.on('close', () => outgoing.end());
    outgoing.on('close', () => incoming.destroy());
  });
  server.listen(from);
  await once(server, 'listening');
  return { [Symbol.dispose]: () => void server.close() };
}

interface Ends {
  readonly incoming: Socket;
  readonly outgoing: Socket;
}

const EVENTS = { capabilities: [{ capability: 'events', state: true }] };

test('over a socket, told by events; the source keeps its image only until then', async (t) => {
  const folder = await newFolder();
  await using source = await startSide(folder, 'a');
  await source.more(3);
  assert.equal(await isFree(folder), false);
  await using target = await startSide(folder, 'b', '-incoming', 'unix:way');
  for (const { qmp } of [source, target]) await qmp.call('migrate-set-capabilities', EVENTS);
  // A monitor that is fast sees the source's own start.
  const before = source.qmp.messages.length;
  await assert.rejects(target.qmp.call('migrate', { uri: 'unix:other' }), /Guest is waiting for an incoming migration/);
  await source.qmp.call('migrate', { uri: 'unix:way' });
  const info = await settled(source);
  assert.equal(info.status, 'completed', info['error-desc']);
  t.diagnostic(`downtime ${info.downtime} ms, ${info.ram.transferred} bytes in ${info['total-time']} ms`);
  await target.more(3);
  assert.deepEqual([await source.status(), await target.status()], ['postmigrate', 'running']);
  assertUnbroken((await source.letters()) + (await target.letters()));
  const told = (side: Side, from = 0) =>
    side.qmp.messages
      .slice(from)
      .flatMap(({ event, data }) => (event === undefined ? [] : [data?.status ?? data?.pass ?? event]));
  const passes = info.ram['dirty-sync-count'];
  const counted = Array.from({ length: passes }, (_, pass) => pass + 1);
  assert.deepEqual(told(source, before), ['setup', 'active', ...counted, 'STOP', 'device', 'completed']);
  assert.deepEqual(told(target), ['active', 'completed', 'RESUME']);
  // The guest is not run twice: its disk is the target's.
  await assert.rejects(source.qmp.call('cont'), /lock/);
  await assert.rejects(source.qmp.call('migrate', { uri: 'unix:way' }), /paused due to previous migration/);
  target.emulator.child.kill('SIGKILL');
  await target.emulator.ended;
  await source.qmp.call('cont');
  assert.equal(await isFree(folder), false);
});

test('by file, program, TCP and a deferred address, standing still and going on', async () => {
  const folder = await newFolder();
  await using sides = new AsyncDisposableStack();
  let side = sides.use(await startSide(folder, 'a'));
  const letters: string[] = [];
  const next = async (name: string, incoming: string, prepare: (target: Side) => Promise<string>, late = false) => {
    await side.more(2);
    const arrives = async () => sides.use(await startSide(folder, name, '-S', '-incoming', incoming));
    const early = late ? undefined : await arrives();
    const uri = early === undefined ? incoming.replace('exec:cat', 'exec:cat >') : await prepare(early);
    await side.qmp.call('migrate', { uri });
    const info = await settled(side);
    assert.equal(info.status, 'completed', info['error-desc']);
    const target = early ?? (await arrives());
    while ((await target.status()) === 'inmigrate') await target.qmp.call('query-migrate');
    assert.equal(await target.status(), 'paused');
    await target.qmp.call('cont');
    letters.push(await side.letters());
    await side[Symbol.asyncDispose]();
    side = target;
  };
  const saved = join(folder, 'saved');
  await next('b', `file:${saved}`, async () => '', true);
  await next('c', `exec:cat ${saved}`, async () => '', true);
  await next('d', 'tcp:127.0.0.1:0', async ({ qmp }) => {
    const [{ host, port }] = (await qmp.call('query-migrate'))['socket-address'];
    return `tcp:${host}:${port}`;
  });
  await next('e', 'defer', async ({ qmp }) => {
    await qmp.call('migrate-incoming', { uri: 'unix:way' });
    await assert.rejects(qmp.call('migrate-incoming', { uri: 'unix:way' }), /already been started/);
    return 'unix:way';
  });
  await side.more(2);
  letters.push(await side.letters());
  assertUnbroken(letters.join(''));
});

test('what cannot be is refused by name, and the guest goes on', async () => {
  const folder = await newFolder();
  await using source = await startSide(folder, 'a');
  const { qmp } = source;
  const cases: readonly (readonly [string, object | undefined, RegExp])[] = [
    ['migrate', { uri: 'rdma:host' }, /unknown migration protocol: rdma:host/],
    ['migrate', { uri: 'tcp:host' }, /'host' is not HOST:PORT/],
    ['migrate', { uri: 'unix:x', blk: true }, /nbd-server-start and drive-mirror/],
    ['migrate-incoming', { uri: 'unix:x' }, /'-incoming' was not specified/],
    ['migrate-continue', { state: 'pre-switchover' }, /Migration not in expected state: none/],
    ['migrate-set-parameters', { 'max-cpu-throttle': 100 }, /expects an integer in the range of 1 to 99/],
  ];
  for (const [command, args, message] of cases) await assert.rejects(qmp.call(command, args), message, command);
  await qmp.call('migrate_cancel');
  for (const [uri, message] of [
    ['unix:nobody', /No such file or directory/],
    ['exec:exit 3', /exit 3 (ended with status 3|reads no more)/],
    ['file:missing/x', /Could not open 'missing\/x'/],
  ] as const) {
    await qmp.call('migrate', { uri });
    const info = await settled(source);
    assert.equal(info.status, 'failed', uri);
    assert.match(info['error-desc'], message);
    await source.more(1);
  }
  assert.equal(await source.status(), 'running');
  assertUnbroken(await source.letters());
});

/** Where the devices' state begins in the stream of a machine of 16 MiB, whose guest has 4 MiB that it writes. */
const STREAM_BYTES = 4 * 2 ** 20;

test('a stream that is cut or altered leaves the source running with its disk; a receiver that fails says so', async () => {
  const folder = await newFolder();
  await using source = await startSide(folder, 'a');
  await source.qmp.call('migrate-set-parameters', { 'max-bandwidth': 0 });
  const random = randomFrom(3);
  for (const kind of ['cut', 'altered', 'cut'] as const) {
    const at = random.next(STREAM_BYTES);
    using _way = await proxy(join(folder, `way-${kind}${at}`), join(folder, 'in'), (bytes, offset) => {
      if (at < offset || at >= offset + bytes.length) return bytes;
      if (kind === 'cut') return undefined;
      bytes[at - offset] ^= 0x10;
      return bytes;
    });
    await using target = await startSide(folder, 'b', '-incoming', 'unix:in');
    await source.qmp.call('migrate', { uri: `unix:way-${kind}${at}` });
    assert.equal((await settled(source)).status, 'failed');
    assert.equal(await target.emulator.ended, 1);
    assert.match(target.emulator.errors(), /load of migration failed: /);
    await source.more(2);
    assert.equal(await source.status(), 'running');
    assert.equal(await isFree(folder), false);
  }
  assertUnbroken(await source.letters());
});

test('cancelled early, late and before the switchover, the guest goes on; continued, it goes', async () => {
  const folder = await newFolder();
  await using source = await startSide(folder, 'a');
  const { qmp } = source;
  await using target = await startSide(folder, 'b', '-incoming', 'defer');
  await qmp.call('migrate-set-capabilities', {
    capabilities: [{ capability: 'pause-before-switchover', state: true }],
  });
  // Slow enough to be there when it is cancelled.
  await qmp.call('migrate-set-parameters', { 'max-bandwidth': 65536, 'downtime-limit': 1 });
  const sink = createServer((socket) => socket.on('error', () => {}).resume()).listen(join(folder, 'sink'));
  await once(sink, 'listening');
  for (const until of ['active', 'pre-switchover']) {
    await qmp.call('migrate', { uri: 'unix:sink' });
    if (until === 'pre-switchover')
      await qmp.call('migrate-set-parameters', { 'max-bandwidth': 0, 'downtime-limit': 100_000 });
    while ((await qmp.call('query-migrate')).status !== until) await source.status();
    await assert.rejects(qmp.call('migrate', { uri: 'unix:sink' }), /migration process in progress/);
    if (until === 'pre-switchover') {
      assert.equal(await source.status(), 'finish-migrate');
      await assert.rejects(qmp.call('cont'), /Migration is not finalized yet/);
    }
    await qmp.call('migrate_cancel');
    assert.equal((await settled(source)).status, 'cancelled');
    assert.equal(await source.status(), 'running');
    await source.more(2);
  }
  sink.close();
  await target.qmp.call('migrate-incoming', { uri: 'unix:in' });
  await qmp.call('migrate', { uri: 'unix:in' });
  while ((await qmp.call('query-migrate')).status !== 'pre-switchover') await source.status();
  await qmp.call('migrate-continue', { state: 'pre-switchover' });
  assert.equal((await settled(source)).status, 'completed');
  await target.more(2);
  assertUnbroken((await source.letters()) + (await target.letters()));
});

test('kill -9 of either side, wherever it is, leaves one owner of the disk', async (t) => {
  const folder = await newFolder();
  await using sides = new AsyncDisposableStack();
  let source = sides.use(await startSide(folder, 's0'));
  const random = randomFrom(11);
  const seen: string[] = [];
  // The last bytes are the most interesting: when they pass, the disk is nobody's.
  const cases = [
    ['target', () => random.next(STREAM_BYTES)],
    ['target', 'last'],
    ['source', 'last'],
    ['source', () => random.next(STREAM_BYTES)],
  ] as const;
  for (const [round, [who, where]] of cases.entries()) {
    await source.qmp.call('migrate-set-parameters', { 'max-bandwidth': 0 });
    await source.more(1);
    const target = sides.use(await startSide(folder, `t${round}`, '-incoming', `unix:in${round}`));
    const victim = who === 'source' ? source : target;
    const at = where === 'last' ? Number.POSITIVE_INFINITY : where();
    const isLast = (bytes: Buffer) => where === 'last' && bytes.includes('"runstate"');
    using _way = await proxy(join(folder, `way${round}`), join(folder, `in${round}`), (bytes, offset) => {
      if (offset + bytes.length > at || isLast(bytes)) victim.emulator.child.kill('SIGKILL');
      return bytes;
    });
    await source.qmp.call('migrate', { uri: `unix:way${round}` }).catch(() => {});
    await victim.emulator.ended;
    if (victim === target) {
      // The source goes on, with its disk, unless the target had all of it before it died.
      const info = await settled(source);
      if (info.status === 'completed') await source.qmp.call('cont');
      await source.more(2);
      assert.equal(await isFree(folder), false);
      seen.push(`target killed: ${info.status}`);
    } else {
      // The target runs it, with the disk, or has said that it did not come.
      const outcome = await Promise.race([
        target.emulator.ended.then((code) => `ended ${code}`),
        target.more(2).then(
          () => 'runs',
          () => target.emulator.ended.then((code) => `ended ${code}`),
        ),
      ]);
      assert.match(outcome, /^(runs|ended 1)$/);
      assert.equal(await isFree(folder), outcome !== 'runs');
      seen.push(`source killed: the target ${outcome}`);
      await source[Symbol.asyncDispose]();
      source = outcome === 'runs' ? target : sides.use(await startSide(folder, `s${round + 1}`));
    }
    if (source !== target) await target[Symbol.asyncDispose]();
  }
  t.diagnostic(seen.join('; '));
});
