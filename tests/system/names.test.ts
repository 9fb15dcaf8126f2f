/** A guest finds names: by a name server of the host, in the host's search domains, and in its table of hosts. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runExec } from '../../src/cli/exec.ts';
import { defaultGuest, nodeThreads, withExec } from '../../src/host/node/index.ts';
import { createMachineOn } from '../../src/machine/index.ts';
import { ENTER_TOOLS } from './debian.ts';
import { skip, toolsShare } from './tools.ts';

const TYPE_A = 1;
const TYPE_AAAA = 28;
/** What the gateway is called, by the type of question: in the guest it stands for the host's loopback. */
const ZONE: Readonly<Record<string, Readonly<Record<number, readonly number[]>>>> = {
  'web.corp.example': { [TYPE_A]: [10, 0, 2, 2] },
  'six.corp.example': { [TYPE_AAAA]: [0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] },
};

/** A name server on the host's loopback; returns its port. */
async function serveNames(context: TestContext, asked: Set<string>): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  context.after(() => socket.close());
  await once(socket, 'listening');
  socket.on('message', (query, { port, address }) => socket.send(answer(query, asked), port, address));
  return socket.address().port;
}

/** RFC 1035, 4: the question again, and one record for it where there is one. */
function answer(query: Buffer, asked: Set<string>): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (; query[at] !== 0; at += 1 + query[at]) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
  const name = labels.join('.').toLowerCase();
  asked.add(name);
  const known = ZONE[name];
  const data = known?.[query.readUInt16BE(at + 1)];
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(known === undefined ? 0x8183 : 0x8180, 2);
  header.writeUInt16BE(data === undefined ? 0 : 1, 6);
  header.fill(0, 8);
  const question = query.subarray(12, at + 5);
  if (data === undefined) return Buffer.concat([header, question]);
  const type = query.subarray(at + 1, at + 3);
  return Buffer.concat([header, question, Buffer.of(0xc0, 12, ...type, 0, 1, 0, 0, 0, 60, 0, data.length, ...data)]);
}

test('names of a server, of the search domain and of the table of hosts lead to pages', { skip }, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'vireo-test-'));
  context.after(() => rm(folder, { recursive: true }));
  const [resolvConf, hosts] = [join(folder, 'resolv.conf'), join(folder, 'hosts')];
  await writeFile(resolvConf, 'search corp.example\nnameserver 127.0.0.1\n');
  await writeFile(hosts, '10.0.2.2 printer.example printer\n');
  const ports: number[] = [];
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer(({ headers }, response) => response.end(`${headers.host?.split(':')[0]}\n`));
    context.after(() => server.close());
    await once(server.listen(0, host), 'listening');
    ports.push((server.address() as AddressInfo).port);
  }
  const asked = new Set<string>();
  const url = new URL('names-thread.ts', import.meta.url);
  url.search = String(new URLSearchParams({ resolvConf, hosts, port: String(await serveNames(context, asked)) }));

  const script = `${ENTER_TOOLS}
    chroot /t bash -c '
      for name in web.corp.example web printer; do curl -s http://$name:${ports[0]}/; done
      until curl -s http://six:${ports[1]}/; do sleep 0.2; done
      curl -s http://nowhere.corp.example/ || echo "curl ends with $?"'`;
  const guest = await defaultGuest({ guestKernel: 'generic' });
  const machine = await createMachineOn(nodeThreads, url.href, {
    memoryBytes: 512 * 2 ** 20,
    boot: { kernel: guest.kernel, initrd: withExec(guest.initramfs, script), commandLine: guest.commandLine },
    noReboot: true,
    shares: [toolsShare],
    networks: [{ kind: 'user' }],
  });
  context.after(() => machine.stop());
  let [stdout, stderr] = ['', ''];
  await runExec(
    machine,
    (bytes) => {
      stdout += Buffer.from(bytes).toString();
    },
    (bytes) => {
      stderr += Buffer.from(bytes).toString();
    },
  );
  assert.equal(stdout, 'web.corp.example\nweb\nprinter\nsix\ncurl ends with 6\n', stderr);
  assert.ok(['web.corp.example', 'six.corp.example', 'nowhere.corp.example'].every((name) => asked.has(name)));
  assert.ok(!asked.has('printer'), 'the table of hosts comes before the server');
});
