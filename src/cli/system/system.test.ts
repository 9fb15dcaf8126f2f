/** vireo-system-x86_64 as scripts and libvirt use it, without a guest. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectQmp, startEmulator, temporaryFolder } from './testing/emulator.ts';

const NONE = ['-machine', 'none', '-nodefaults', '-display', 'none'];

function run(args: readonly string[], input = '') {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  return spawnSync(process.execPath, [main, ...args], { input, encoding: 'utf8' });
}

test('version, help, and what is wrong in one line', () => {
  assert.match(run(['-version']).stdout, /^QEMU emulator version 8\.2\.2 \(Vireo /);
  assert.match(run(['-h']).stdout, /^Usage: vireo-system-x86_64 \[options\]/);
  const wrong = run(['-device', 'nosuch', '-kernel', 'x']);
  assert.match(wrong.stderr, /^vireo-system-x86_64: -device nosuch: 'nosuch' is not a valid device model name/);
  assert.deepEqual([wrong.status, wrong.stdout], [1, '']);
  const missing = run(['-kernel', '/nonexistent']);
  assert.equal(missing.stderr, 'vireo-system-x86_64: cannot read the kernel /nonexistent: there is no such file\n');
});

test('QMP on standard input and output', () => {
  const commands = '{"execute": "qmp_capabilities"}{"execute": "query-status"}{"execute": "quit"}';
  const { stdout, status } = run([...NONE, '-qmp', 'stdio'], commands);
  const lines = stdout.trim().split('\r\n');
  assert.match(lines[0], /^\{"QMP": \{"version": /);
  assert.equal(lines[2], '{"return": {"running": true, "singlestep": false, "status": "running"}}');
  assert.match(lines[4], /"event": "SHUTDOWN", "data": \{"guest": false, "reason": "host-qmp-quit"\}\}$/);
  assert.equal(status, 0);
});

test('the human monitor on a pipe', () => {
  const { stdout } = run([...NONE, '-monitor', 'stdio'], 'info status\ninfo ver\ninfo version\nhelp cont\nquit\n');
  assert.match(stdout, /^QEMU 8\.2\.2 monitor - type 'help' for more information\r\n\(qemu\) /);
  assert.match(stdout, /VM status: running\r\n/);
  assert.match(stdout, /Error: unknown command: 'info ver'\r\n/);
  assert.match(stdout, /cont\|c -- the guest goes on\r\n/);
});

test('several monitors on one machine, a client that sends garbage among them', async () => {
  const folder = await temporaryFolder();
  const lines = ['-qmp', 'unix:a,server=on,wait=off', '-qmp', 'unix:b,server=on,wait=off'];
  await using emulator = startEmulator([...NONE, ...lines, '-pidfile', 'pid'], folder);
  using good = await connectQmp(join(folder, 'a'));
  using bad = await connectQmp(join(folder, 'b'), false);
  assert.equal(readFileSync(join(folder, 'pid'), 'utf8'), `${emulator.child.pid}\n`);
  bad.socket.write(Buffer.from([0, 1, 255, 123, 34, 7, 200]));
  bad.socket.write('}}}]][[\n\n{"execute": 1}\n"text"\n');
  await bad.until(({ error }) => error?.desc === "QMP input member 'execute' must be a string");
  const [{ label }] = await good.call('query-chardev');
  assert.equal(label, 'compat_monitor0');
  // Another client waits for its turn.
  const waiting = connectQmp(join(folder, 'b'));
  bad.socket.destroy();
  using again = await waiting;
  assert.equal((await again.call('query-status')).status, 'running');
  await good.call('quit');
  await again.event('SHUTDOWN');
  assert.equal(await emulator.ended, 0);
  for (const name of ['a', 'b', 'pid']) assert.equal(existsSync(join(folder, name)), false, name);
});

test('in the background: the starter returns when the socket is there, and quit ends what it left', async () => {
  const folder = await temporaryFolder();
  try {
    const probe = ['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,accel=kvm:tcg'];
    const places = ['-qmp', `unix:${folder}/qmp,server=on,wait=off`, '-pidfile', `${folder}/pid`, '-daemonize'];
    const { status, stdout } = run([...probe, ...places]);
    assert.deepEqual([status, stdout], [0, '']);
    assert.ok(existsSync(join(folder, 'qmp')));
    process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), 0);
    using client = await connectQmp(join(folder, 'qmp'));
    assert.equal((await client.call('query-status')).status, 'prelaunch');
    await client.call('quit');
    await once(client.socket, 'close');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('in the background: what goes wrong before is said, with the exit code', () => {
  const { status, stderr } = run([...NONE, '-daemonize', '-qmp', 'unix:/nonexistent/qmp,server=on,wait=off']);
  assert.equal(status, 1);
  assert.match(stderr, /cannot open the socket of the character device \/nonexistent\/qmp: /);
});

test('a client line connects, and comes back when the other side went', async () => {
  const folder = await temporaryFolder();
  const server = createServer().listen(join(folder, 'server'));
  await once(server, 'listening');
  await using _emulator = startEmulator(
    [...NONE, '-chardev', 'socket,id=c,path=server,reconnect=1', '-mon', 'c,mode=control'],
    folder,
  );
  for (let round = 0; round < 2; round += 1) {
    const [socket] = await once(server, 'connection');
    const [greeting] = await once(socket, 'data');
    assert.match(String(greeting), /^\{"QMP"/);
    socket.destroy();
  }
  server.close();
});

test('a socket that was handed over is a line', async () => {
  const folder = await temporaryFolder();
  const server = createServer().listen(join(folder, 'server'));
  await once(server, 'listening');
  const ours = createConnection(join(folder, 'server'));
  const [other] = await once(server, 'connection');
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const line = ['-chardev', 'socket,id=m,fd=3', '-mon', 'chardev=m,mode=control'];
  const child = spawn(process.execPath, [main, ...NONE, ...line], { stdio: ['ignore', 'ignore', 'inherit', ours] });
  ours.destroy();
  let text = '';
  other.on('data', (bytes: Buffer) => (text += bytes));
  other.write('{"execute": "qmp_capabilities"}{"execute": "quit"}');
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  assert.match(text, /^\{"QMP".*\r\n\{"return": \{\}\}\r\n\{"return": \{\}\}\r\n.*SHUTDOWN/);
  server.close();
  await rm(folder, { recursive: true });
});

test('a signal ends it in order', async () => {
  const folder = await temporaryFolder();
  await using emulator = startEmulator([...NONE, '-qmp', 'unix:a,server=on,wait=off'], folder);
  using client = await connectQmp(join(folder, 'a'));
  emulator.child.kill('SIGTERM');
  assert.equal((await client.event('SHUTDOWN')).data.reason, 'host-signal');
  assert.equal(await emulator.ended, 0);
});

test('a server that waits lets nothing begin before somebody has come', async () => {
  const folder = await temporaryFolder();
  await using emulator = startEmulator(
    [...NONE, '-qmp', 'unix:a,server=on', '-qmp', 'unix:b,server=on,wait=off'],
    folder,
  );
  using client = await connectQmp(join(folder, 'a'));
  assert.match(emulator.errors(), /info: QEMU waiting for connection on: disconnected:unix:a,server=on/);
  using _second = await connectQmp(join(folder, 'b'));
  await client.call('quit');
});

const isRoot = process.getuid?.() === 0;
test('-runas: all threads are another user once everything is open', {
  skip: !isRoot && 'root is needed',
}, async () => {
  await using emulator = startEmulator(
    [...NONE, '-qmp', 'unix:qmp,server=on,wait=off', '-runas', '65534:65534'],
    await temporaryFolder(),
  );
  using qmp = await connectQmp(join(emulator.folder, 'qmp'));
  const { pid } = emulator.child;
  while (!(await qmp.call('query-status')).running);
  const threads = readdirSync(`/proc/${pid}/task`).map((task) =>
    readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'),
  );
  for (const text of threads) {
    assert.match(text, /^Uid:\t65534\t65534\t65534\t65534$/m);
    assert.match(text, /^Gid:\t65534\t65534\t65534\t65534$/m);
    assert.match(text, /^Groups:\s*$/m);
  }
  const wrong = run([...NONE, '-runas', 'nobody-of-that-name']);
  assert.match(wrong.stderr, /-runas nobody-of-that-name: there is no such user/);
  assert.equal(wrong.status, 1);
});

test('what needs a screen or descriptors that come over a socket is refused as QEMU does it', async () => {
  await using emulator = startEmulator([...NONE, '-qmp', 'unix:qmp,server=on,wait=off'], await temporaryFolder());
  using qmp = await connectQmp(join(emulator.folder, 'qmp'));
  const refused = { fdname: 'a' };
  await assert.rejects(qmp.call('screendump', { filename: 'x' }), /^Error: GenericError: There is no console/);
  await assert.rejects(qmp.call('getfd', refused), /^Error: GenericError: No file descriptor supplied via SCM_RIGHTS/);
  await assert.rejects(qmp.call('add-fd'), /^Error: GenericError: No file descriptor supplied via SCM_RIGHTS/);
  await assert.rejects(qmp.call('closefd', refused), /^Error: GenericError: File descriptor named 'a' not found/);
});
