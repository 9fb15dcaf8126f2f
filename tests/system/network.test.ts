/** Debian's own programs in a guest, on the user-mode network: curl, ssh, and lines that lose frames. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { exec } from '../../src/cli/exec.ts';
import { ENTER_TOOLS } from './debian.ts';
import { skip, toolsShare } from './tools.ts';

/** VIREO_LONG=1 makes it a million datagrams. */
const DATAGRAMS = process.env.VIREO_LONG ? 1_000_000 : 20_000;
const CONNECTIONS = 200;
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

/** A web server on the host's loopback, in both families. */
async function serve(context: TestContext, content: Uint8Array, host: string): Promise<number> {
  const server = createServer((_, response) => response.end(content)).listen(0, host);
  context.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

test('pages over IPv4 and IPv6, names, and many connections at once', { skip }, async (context) => {
  const content = randomBytes(1_000_000);
  const small = await serve(context, Buffer.from('small\n'), '127.0.0.1');
  const [port4, port6] = [await serve(context, content, '127.0.0.1'), await serve(context, content, '::1')];
  const script = `${ENTER_TOOLS}
    chroot /t bash -c '
      curl -s http://10.0.2.2:${port4}/ | sha256sum
      until curl -s "http://[fec0::2]:${port6}/" > /tmp/six; do sleep 0.2; done; sha256sum < /tmp/six
      curl -s --resolve gateway.test:${port4}:10.0.2.2 http://gateway.test:${port4}/ | sha256sum
      for ((i = 0; i < ${CONNECTIONS}; i++)); do exec {fd}<>/dev/tcp/10.0.2.2/${small}; fds[i]=$fd; done
      for fd in \${fds[@]}; do printf "GET / HTTP/1.0\\r\\n\\r\\n" >&$fd; done
      for fd in \${fds[@]}; do tail -1 <&$fd; done | sort | uniq -c | tr -s " "'`;
  const { stdout, stderr } = await exec(script, { shares: [toolsShare], networks: [{ kind: 'user' }] });
  const line = `${sha256(content)}  -\n`;
  assert.equal(text(stdout), `${line.repeat(3)} ${CONNECTIONS} small\n`, text(stderr));
});

test('a line that loses 5 % of all frames brings the right bytes', { skip }, async (context) => {
  const content = randomBytes(400_000);
  const port = await serve(context, content, '127.0.0.1');
  const script = `${ENTER_TOOLS}
    chroot /t bash -c 'curl -s http://10.0.2.2:${port}/ | sha256sum'`;
  const networks = [{ kind: 'user', lossPercent: 5, userOptions: 'ipv6=off' }] as const;
  // DHCP gives up after some lost packets; the addresses are known.
  const prepare = 'ip address replace 10.0.2.15/24 dev eth0; ip route replace default via 10.0.2.2; ';
  const { stdout, stderr } = await exec(prepare + script, { shares: [toolsShare], networks });
  assert.equal(text(stdout), `${sha256(content)}  -\n`, text(stderr));
});

test('short datagrams, counted on both sides', { skip }, async (context) => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  context.after(() => socket.close());
  await once(socket, 'listening');
  socket.setRecvBufferSize(4_000_000);
  let received = 0;
  socket.on('message', (message, from) => {
    received++;
    if (message.length === 3) socket.send(String(received), from.port, from.address);
  });
  const { port } = socket.address();
  // Datagrams may be lost between sockets, so the sender waits for an answer now and then.
  const script = `${ENTER_TOOLS}
    chroot /t bash -c '
      exec {fd}<>/dev/udp/10.0.2.2/${port}
      for ((i = 1; i <= ${DATAGRAMS}; i++)); do
        if ((i % 100 == 0)); then printf end >&$fd; read -t 20 -N 1 -u $fd answer; else printf x >&$fd; fi
      done
      echo sent'`;
  const { stdout, stderr } = await exec(script, { shares: [toolsShare], networks: [{ kind: 'user' }] });
  assert.equal(text(stdout), 'sent\n', text(stderr));
  assert.ok(received > DATAGRAMS * 0.99 && received <= DATAGRAMS, `${received} of ${DATAGRAMS}`);
});

test('ssh into the guest through a forwarded port', { skip }, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const probe = createTcpServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  // Debian's own client, from the same tools, on the host.
  const program = (name: string) => {
    const root = toolsShare.folder;
    const libraries = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'].map((path) => join(root, path)).join(':');
    const loader = join(root, 'lib64/ld-linux-x86-64.so.2');
    return [loader, '--library-path', libraries, join(root, 'usr/bin', name)];
  };
  const key = join(folder, 'key');
  await run([...program('ssh-keygen'), '-q', '-t', 'ed25519', '-N', '', '-f', key]);
  assert.deepEqual((await readdir(folder)).sort(), ['key', 'key.pub']);
  const script = `${ENTER_TOOLS}
    mkdir -m 700 /t/root/.ssh; cp /mnt/keys/key.pub /t/root/.ssh/authorized_keys; chmod 600 /t/root/.ssh/authorized_keys
    mount -t devpts devpts /t/dev/pts 2>/dev/null
    chroot /t bash -c 'ssh-keygen -q -t ed25519 -N "" -f /root/host
      echo "HostKey /root/host
        StrictModes no
        UsePAM no" > /root/sshd_config
      /usr/sbin/sshd -D -e -f /root/sshd_config & while [ ! -e /tmp/over ]; do sleep 0.2; done; kill $!'`;
  const networks = [{ kind: 'user', hostForwards: [`tcp:127.0.0.1:${port}-:22`] }] as const;
  const shares = [toolsShare, { folder, tag: 'keys', readOnly: true }];
  let ended = false;
  const guest = exec(script, { shares, networks }).finally(() => {
    ended = true;
  });
  const content = randomBytes(300_000);
  await writeFile(join(folder, 'content'), content);
  const options = [
    '-F',
    'none',
    '-i',
    key,
    '-p',
    String(port),
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'BatchMode=yes',
  ];
  const known = [
    '-o',
    `UserKnownHostsFile=${join(folder, 'known')}`,
    '-o',
    'ConnectTimeout=60',
    '-o',
    'LogLevel=ERROR',
  ];
  const ssh = [...program('ssh'), ...options, ...known, 'root@127.0.0.1', 'cat; uname -n; touch /tmp/over'];
  let output: Buffer = Buffer.alloc(0);
  // Until the server listens, connections end.
  while (!ended && output.length === 0) {
    output = await run(ssh, content).catch(() => Buffer.alloc(0));
    await setTimeout(250);
  }
  const { stderr } = await guest;
  assert.equal(text(output.subarray(content.length)), 'vireo\n', text(stderr));
  assert.equal(sha256(output.subarray(0, content.length)), sha256(await readFile(join(folder, 'content'))));
});

/** @returns what the program printed; rejects when it fails */
async function run([program, ...args]: readonly string[], input?: Uint8Array): Promise<Buffer> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const parts: Buffer[] = [];
  child.stdout.on('data', (part) => parts.push(part));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${args.at(-1)}: exit code ${code}`);
  return Buffer.concat(parts);
}
