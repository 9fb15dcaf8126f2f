/** Against real peers: QEMU's own user-mode network beside ours, and iPXE as a guest of ours. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { NetLink } from '../../contract/index.ts';
import { nodeFolder, nodeSockets, systemClock } from '../../host/node/index.ts';
import { createUserNet, joinLinks, openStreamLink, Timers } from '../index.ts';
import { NO_NAMES } from '../testing/fake-host.ts';
import { address, TestGuest } from '../testing/guest.ts';
import {
  ETHER_TYPE,
  macText,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIp4Packet,
  parseIp6Packet,
  parseUdp,
} from '../wire/index.ts';

const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
const skip = hasQemu ? false : 'qemu-system-x86_64 is not installed';

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-net-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function startQemu(t: TestContext, args: readonly string[]): ChildProcess {
  const qemu = spawn('qemu-system-x86_64', ['-nodefaults', '-display', 'none', '-accel', 'tcg', ...args], {
    stdio: 'ignore',
  });
  t.after(() => qemu.kill('SIGKILL'));
  return qemu;
}

/** Our end of a unix socket that QEMU connects to. */
async function stream(t: TestContext, path: string) {
  const ports = { sockets: nodeSockets, timers: new Timers(systemClock()) };
  const link = await openStreamLink({ endpoint: { kind: 'unix', path }, server: true }, ports);
  t.after(() => link.close());
  return link;
}

function ourNet(t: TestContext, options = {}, ports = {}) {
  const random = () => randomBytes(4).readUInt32LE();
  const net = createUserNet(options, {
    clock: systemClock(),
    sockets: nodeSockets,
    resolver: NO_NAMES,
    random,
    ...ports,
  });
  t.after(() => net.close());
  return net;
}

/** What a network says to a guest that comes up, in words that can be compared. */
async function introduce(link: NetLink): Promise<Record<string, unknown>> {
  const guest = new TestGuest(link);
  const answers: Record<string, unknown> = {};
  const wait = async (name: string, read: (frame: Uint8Array) => unknown, send: () => void) => {
    for (let attempt = 0; attempt < 50; attempt++) {
      if (attempt % 10 === 0) send();
      await new Promise((resolve) => setTimeout(resolve, 20));
      const answer = guest.inbox
        .splice(0)
        .map(read)
        .find((value) => value !== undefined);
      if (answer === undefined) continue;
      answers[name] = answer;
      return;
    }
    answers[name] = 'no answer';
  };

  const discover = new Uint8Array(300);
  discover.set([1, 1, 6, 0, 1, 2, 3, 4]);
  discover.set([0x52, 0x54, 0x00, 0x12, 0x34, 0x56], 28);
  discover.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  await wait('dhcp', dhcpAnswer, () => guest.sendUdp('255.255.255.255', 67, 68, discover, address('0.0.0.0')));
  for (const target of ['10.0.2.2', '10.0.2.3']) {
    await wait(`arp ${target}`, arpAnswer, () => guest.sendArp('request', guest.ipv4, address(target)));
  }
  await wait('echo', echoAnswer, () => guest.sendIcmp('10.0.2.2', 8, Uint8Array.of(0, 7, 0, 1, 9, 9)));
  const linkLocal = address('fe80::5054:ff:fe12:3456');
  const solicit = () => guest.sendIcmp('ff02::2', 133, new Uint8Array(4), { source: linkLocal, hopLimit: 255 });
  await wait('router', routerAnswer, solicit);
  return answers;
}

function dhcpAnswer(frame: Uint8Array): unknown {
  const ethernet = parseEthernet(frame)!;
  const packet = ethernet.type === ETHER_TYPE.ipv4 ? parseIp4Packet(ethernet.payload) : undefined;
  const reply = packet?.protocol === 17 ? parseUdp(packet.payload, packet)?.payload : undefined;
  if (reply === undefined) return undefined;
  const options: Record<number, string> = {};
  for (let at = 240; reply[at] !== 255 && at < reply.length; at += reply[at] === 0 ? 1 : 2 + reply[at + 1]) {
    options[reply[at]] = Buffer.from(reply.subarray(at + 2, at + 2 + reply[at + 1])).toString('hex');
  }
  const [type, mask, router, dns, lease, server] = [53, 1, 3, 6, 51, 54].map((code) => options[code]);
  return {
    yours: reply.subarray(16, 20).join('.'),
    type,
    mask,
    router,
    dns,
    lease,
    server,
    from: macText(ethernet.source),
  };
}

function arpAnswer(frame: Uint8Array): unknown {
  const ethernet = parseEthernet(frame)!;
  const packet = ethernet.type === ETHER_TYPE.arp ? parseArp(ethernet.payload) : undefined;
  return packet?.operation === 'reply' ? { ip: packet.senderIp.join('.'), mac: macText(packet.senderMac) } : undefined;
}

function echoAnswer(frame: Uint8Array): unknown {
  const ethernet = parseEthernet(frame)!;
  const packet = ethernet.type === ETHER_TYPE.ipv4 ? parseIp4Packet(ethernet.payload) : undefined;
  const message = packet?.protocol === 1 ? parseIcmp(packet.payload, packet.source, packet.destination) : undefined;
  return message && { from: packet!.source.join('.'), type: message.type, body: [...message.body] };
}

function routerAnswer(frame: Uint8Array): unknown {
  const ethernet = parseEthernet(frame)!;
  const packet = ethernet.type === ETHER_TYPE.ipv6 ? parseIp6Packet(ethernet.payload) : undefined;
  const message = packet?.protocol === 58 ? parseIcmp(packet.payload, packet.source, packet.destination) : undefined;
  if (message?.type !== 134) return undefined;
  const body = Buffer.from(message.body);
  const prefix = body.indexOf(Buffer.from('0304', 'hex'), 12);
  return {
    from: Buffer.from(packet!.source).toString('hex'),
    mac: macText(ethernet.source),
    prefix:
      body.subarray(prefix + 2, prefix + 4).toString('hex') + body.subarray(prefix + 16, prefix + 32).toString('hex'),
  };
}

test("a guest is told the same by QEMU's user-mode network and by ours", { skip }, async (t) => {
  const path = join(tempFolder(t), 'link');
  const link = await stream(t, path);
  const hub = [
    '-netdev',
    'user,id=u',
    '-netdev',
    'hubport,id=a,hubid=0,netdev=u',
    '-netdev',
    `stream,id=s,server=off,addr.type=unix,addr.path=${path}`,
    '-netdev',
    'hubport,id=b,hubid=0,netdev=s',
  ];
  startQemu(t, ['-M', 'none', ...hub]);
  const theirs = await introduce(link);
  assert.notEqual(theirs.dhcp, 'no answer');
  assert.deepEqual(await introduce(ourNet(t).link), theirs);
});

test('iPXE boots from our network: DHCP, TFTP, names, HTTP over IPv4 and IPv6', { skip }, async (t) => {
  const folder = tempFolder(t);
  const big = randomBytes(1_000_000);
  const seen: string[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const server = createServer(({ url }, response) => {
    seen.push(url!);
    response.end(url === '/big' ? big : 'ok');
    if (url === '/end') finish();
  });
  server.listen(0, '::');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const script = `#!ipxe
imgfetch http://10.0.2.2:${port}/big || goto bad
imgfree
imgfetch http://tester.example:${port}/name || goto bad
imgfree
imgfetch http://[fec0::2]:${port}/ipv6 || goto bad
:bad
imgfetch http://10.0.2.2:${port}/end
`;
  writeFileSync(join(folder, 'boot.ipxe'), script);
  const resolver = { ...NO_NAMES, hosts: (name: string) => (name === 'tester.example' ? ['10.0.2.2'] : []) };
  const net = ourNet(t, { bootFile: 'boot.ipxe' }, { tftpFolder: nodeFolder(folder), resolver });
  const path = join(folder, 'link');
  joinLinks(await stream(t, path), net.link, new Timers(systemClock()));
  const card = [
    '-netdev',
    `stream,id=n,server=off,addr.type=unix,addr.path=${path}`,
    '-device',
    'virtio-net-pci,netdev=n,bootindex=0',
  ];
  startQemu(t, ['-M', 'pc', '-m', '64', '-no-reboot', ...card]);
  const late = setTimeout(finish, 30_000);
  await finished;
  clearTimeout(late);
  assert.deepEqual(seen, ['/big', '/name', '/ipv6', '/end']);
  assert.equal(net.statistics().droppedFrames, 0);
});
