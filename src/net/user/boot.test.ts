/** What a guest needs before it can speak to anyone: leases, stateless DHCPv6, and files by TFTP. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dhcpMessage, dhcpOption, dhcpv6Options, memoryFolder, nextDatagram } from '../testing/boot-client.ts';
import { expectFrame, ip, udp } from '../testing/expect.ts';
import { createWorld, settle, type World } from '../testing/fake-host.ts';
import { address, GUEST_MAC } from '../testing/guest.ts';
import { SECOND_NANOS } from '../timers.ts';
import { encodeDnsName } from '../wire/index.ts';

const [DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM] = [1, 2, 3, 4, 5, 6, 7, 8];
const NOBODY = address('0.0.0.0');
const text = (value: string) => Buffer.from(value);

function dhcp({ guest }: World, message: Uint8Array): Buffer | undefined {
  guest.sendUdp('255.255.255.255', 67, 68, message, NOBODY);
  return nextDatagram(guest);
}

test('DHCP tells a guest that boots from the network what to fetch and from where (RFC 2132, 9.4 and 9.5)', () => {
  const world = createWorld({ tftpServerName: 'boot.example', bootFile: 'pxe/first', domainName: 'lan.example' });
  const offer = dhcp(world, dhcpMessage(DISCOVER))!;
  assert.deepEqual(dhcpOption(offer, 53), [OFFER]);
  assert.deepEqual(dhcpOption(offer, 66), [...text('boot.example')]);
  assert.deepEqual(dhcpOption(offer, 67), [...text('pxe/first')]);
  assert.deepEqual(dhcpOption(offer, 15), [...text('lan.example')]);
  assert.deepEqual([...offer.subarray(20, 24)], [10, 0, 2, 2], 'siaddr: the next server');
  assert.equal(offer.toString('latin1', 108, 118), 'pxe/first\0', 'file');
});

test('a restricted guest is told of no way out, and what was stated of domains is told', () => {
  const world = createWorld({ restrict: true, searchDomains: ['a.example', 'b.example'] });
  const offer = dhcp(world, dhcpMessage(DISCOVER))!;
  assert.deepEqual([dhcpOption(offer, 3), dhcpOption(offer, 6)], [undefined, undefined]);
  const names = [...encodeDnsName('a.example')!, ...encodeDnsName('b.example')!];
  assert.deepEqual(dhcpOption(offer, 119), names);
});

test('leases: each card its own, sixteen in all, free again when released, held when declined (RFC 2131, 4.3)', () => {
  const world = createWorld({ ipv6: false });
  const card = (number: number) => Uint8Array.of(...GUEST_MAC.subarray(0, 5), number);
  const offered = (number: number) => dhcp(world, dhcpMessage(DISCOVER, [], card(number)))?.[19];
  const wish = (last: number) => [50, 4, 10, 0, 2, last];
  const ask = (number: number, last: number) => {
    const reply = dhcp(world, dhcpMessage(REQUEST, wish(last), card(number)))!;
    return dhcpOption(reply, 53)![0];
  };
  for (let number = 0; number < 16; number++) {
    assert.equal(offered(number), 15 + number);
    assert.equal(ask(number, 15 + number), ACK);
  }
  assert.equal(offered(3), 18, 'the same card, the same address');
  assert.equal(offered(16), undefined, 'none is left');
  assert.equal(ask(4, 15), NAK, 'that is the address of another');

  const release = dhcpMessage(RELEASE, [], card(5));
  release.set([10, 0, 2, 20], 12);
  assert.equal(dhcp(world, release), undefined);
  assert.equal(offered(16), 20);
  assert.equal(ask(16, 20), ACK);

  assert.equal(dhcp(world, dhcpMessage(DECLINE, wish(21), card(6))), undefined);
  assert.equal(offered(17), undefined, 'somebody else has it');
  world.clock.advance(601 * SECOND_NANOS);
  assert.equal(offered(17), 21);

  const inform = dhcpMessage(INFORM, [], card(40));
  inform.set([10, 0, 2, 77], 12);
  const informed = dhcp(world, inform)!;
  assert.deepEqual(dhcpOption(informed, 53), [ACK]);
  assert.deepEqual(dhcpOption(informed, 51), undefined, 'an answer to INFORM leases nothing');
  assert.equal(dhcp(world, dhcpMessage(REQUEST, [54, 4, 10, 0, 2, 9], card(0))), undefined, 'another server was meant');
});

/** An information-request for the options that are asked for. */
function informationRequest(options: readonly number[], ...more: number[]): Uint8Array {
  const wanted = options.flatMap((code) => [code >> 8, code & 255]);
  return Uint8Array.of(11, 0xab, 0xcd, 0xef, 0, 1, 0, 4, 9, 8, 7, 6, 0, 6, 0, wanted.length, ...wanted, ...more);
}

test('stateless DHCPv6: name server, search domains and boot file, as asked (RFC 8415, 18.3.6)', () => {
  const world = createWorld({ searchDomains: ['example.org'], bootFile: 'boot6' });
  const ask = (message: Uint8Array) => {
    let reply: Uint8Array | undefined;
    world.guest.inbox.length = 0;
    world.guest.sendUdp('ff02::1:2', 547, 546, message, address('fe80::1234'));
    if (world.guest.inbox.length === 0) return undefined;
    const check = udp({ sourcePort: 547, destinationPort: 546 }, (bytes) => {
      reply = bytes.slice();
    });
    // The router asks who that is before it answers.
    if (world.guest.inbox[0][20] === 58) world.guest.inbox.length = 0;
    expectFrame(world.guest.next(), ip({ source: 'fe80::2', destination: 'fe80::1234' }, check));
    return reply;
  };
  const solicit = () => {
    const body = Uint8Array.of(0, 0, 0, 0, ...address('fe80::2'), 1, 1, ...GUEST_MAC);
    world.guest.sendIcmp('ff02::1:ff00:2', 135, body, { source: address('fe80::1234'), hopLimit: 255 });
  };
  solicit();
  const reply = ask(informationRequest([23, 24, 59]))!;
  assert.deepEqual([...reply.subarray(0, 4)], [7, 0xab, 0xcd, 0xef]);
  const options = dhcpv6Options(reply);
  assert.deepEqual([...options.get(1)!], [9, 8, 7, 6], 'the client’s identifier comes back');
  assert.deepEqual([...options.get(23)!], [...address('fec0::3')]);
  assert.deepEqual([...options.get(24)!], [...encodeDnsName('example.org')!]);
  assert.equal(options.get(59)!.toString(), 'tftp://[fec0::2]/boot6');

  assert.deepEqual([...dhcpv6Options(ask(informationRequest([23]))!).keys()].sort(), [1, 2, 23].sort());
  const server = [...options.get(2)!];
  assert.ok(ask(informationRequest([], 0, 2, 0, server.length, ...server)), 'this server was meant');
  assert.equal(ask(informationRequest([], 0, 2, 0, 4, 1, 2, 3, 4)), undefined, 'another server was meant');
  assert.equal(ask(Uint8Array.of(1, 0, 0, 1)), undefined, 'addresses are not given out');
});

const ascii = (...fields: string[]) => text(fields.map((field) => `${field}\0`).join(''));
const readRequest = (...fields: string[]) => Buffer.concat([Uint8Array.of(0, 1), ascii(...fields)]);
const acknowledge = (block: number) => Uint8Array.of(0, 4, block >> 8, block & 255);

function tftpWorld(files: Readonly<Record<string, Uint8Array>>) {
  const tftpFolder = memoryFolder(files);
  const world = createWorld({}, { tftpFolder });
  const send = async (message: Uint8Array, port = 2000): Promise<Buffer | undefined> => {
    world.guest.sendUdp('10.0.2.2', 69, port, message);
    await settle();
    return nextDatagram(world.guest);
  };
  return { ...world, tftpFolder, send };
}

test('TFTP: a file comes block by block, the last one short (RFC 1350)', async () => {
  const content = Buffer.from(Array.from({ length: 1100 }, (_, at) => at & 255));
  const { send, tftpFolder, net } = tftpWorld({ 'folder/file': content });
  const parts: Buffer[] = [];
  let packet = await send(readRequest('folder/file', 'octet'));
  for (let block = 1; block <= 3; block++) {
    assert.deepEqual([...packet!.subarray(0, 4)], [0, 3, 0, block]);
    parts.push(packet!.subarray(4));
    assert.equal(await send(acknowledge(block - 1)), undefined, 'an old acknowledgement is not answered');
    packet = await send(acknowledge(block));
  }
  assert.equal(packet, undefined);
  assert.deepEqual(Buffer.concat(parts), content);
  assert.equal(tftpFolder.openCount, 0);
  net.close();
});

test('TFTP: sizes of blocks and files are agreed upon (RFC 2347 to 2349)', async () => {
  const { send, tftpFolder, net } = tftpWorld({ file: Buffer.alloc(3000, 1) });
  const options = await send(readRequest('file', 'OCTET', 'BlkSize', '60000', 'tsize', '0', 'unknown', '1'));
  assert.deepEqual(options, Buffer.concat([Uint8Array.of(0, 6), ascii('blksize', '1448', 'tsize', '3000')]));
  assert.equal((await send(acknowledge(0)))!.length, 4 + 1448, 'as much as fits a frame of either version');
  assert.equal((await send(acknowledge(1)))!.length, 4 + 1448);
  assert.equal((await send(acknowledge(2)))!.length, 4 + 3000 - 2 * 1448);
  assert.equal(await send(Uint8Array.of(0, 5, 0, 0, 0)), undefined, 'the guest gives up');
  assert.equal(tftpFolder.openCount, 0);
  net.close();
});

test('TFTP: what is not answered is sent again, and given up in the end', async () => {
  const { send, clock, guest, tftpFolder } = tftpWorld({ file: text('short') });
  const first = await send(readRequest('file', 'octet'));
  let again = 0;
  for (let second = 0; second < 30; second++) {
    clock.advance(SECOND_NANOS);
    const packet = nextDatagram(guest);
    if (packet === undefined) continue;
    assert.deepEqual(packet, first);
    again++;
  }
  assert.equal(again, 8);
  assert.equal(tftpFolder.openCount, 0);
});

test('TFTP: what cannot be had is refused, and transfers have a limit', async () => {
  const { send, tftpFolder, net } = tftpWorld({ file: Buffer.alloc(600) });
  const refusals = [
    [readRequest('nosuch', 'octet'), 1],
    [readRequest('file', 'netascii'), 4],
    [Buffer.concat([Uint8Array.of(0, 2), ascii('file', 'octet')]), 4],
    [acknowledge(7), 5],
  ] as const;
  for (const [message, code] of refusals) assert.deepEqual([...(await send(message))!.subarray(0, 4)], [0, 5, 0, code]);
  for (let port = 3000; port < 3032; port++) assert.ok(await send(readRequest('file', 'octet'), port));
  assert.equal(await send(readRequest('file', 'octet'), 4000), undefined);
  assert.equal(tftpFolder.openCount, 32);
  net.close();
  await settle();
  assert.equal(tftpFolder.openCount, 0);
});
