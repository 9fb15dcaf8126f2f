import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipText, parseCidr, parseIp, parseMac } from '../wire/index.ts';
import { checkUserNet } from './config.ts';
import { hostForwardKey, parseGuestForward, parseHostForward, parseHostForwardKey } from './forward-text.ts';
import { parseUserNetText } from './option-text.ts';

const config = checkUserNet({});

test('forwarding rules are read as QEMU writes them', () => {
  const shown = (text: string) => {
    const { guest, ...rest } = parseHostForward(text, config);
    return { ...rest, guest: ipText(guest) };
  };
  const ssh = { protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 2222, guest: '10.0.2.15', guestPort: 22 };
  assert.deepEqual(shown('tcp::2222-:22'), ssh);
  assert.deepEqual(shown(':' + ':2222-:22'), ssh);
  assert.deepEqual(shown('udp:127.0.0.1:53-10.0.2.20:5353'), {
    protocol: 'udp',
    hostAddress: '127.0.0.1',
    hostPort: 53,
    guest: '10.0.2.20',
    guestPort: 5353,
  });
  assert.deepEqual(shown('tcp:[::1]:80-[fec0::15]:8080').guest, 'fec0::15');
  assert.equal(hostForwardKey(parseHostForward('tcp:[::1]:80-:80', config)), parseHostForwardKey('tcp:[::1]:80'));
  assert.equal(hostForwardKey(parseHostForward('tcp::2222-:22', config)), parseHostForwardKey('tcp::2222'));
});

test('a wrong forwarding rule is refused with its text and a right one', () => {
  const wrong = [
    '',
    'tcp',
    'tcp::2222',
    'tcp::x-:22',
    'sctp::1-:2',
    'tcp::1-192.0.2.1:2',
    'tcp::1-:0',
    'tcp::99999-:1',
    'tcp:host:1-:2',
    'tcp::1-:99999',
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseHostForward(text, config),
      { name: 'UserError', message: /^hostfwd=.*tcp::2222-:22$/ },
      text,
    );
  }
  for (const text of [
    'tcp:10.0.2.100-x',
    'tcp:192.0.2.1:80-unix:/x',
    'tcp:10.0.2.100:80-ftp:x',
    'tcp:10.0.2.100:0-unix:/x',
  ]) {
    assert.throws(() => parseGuestForward(text, config), { name: 'UserError', message: /^guestfwd=/ }, text);
  }
});

test('guest forwards name a socket or a program', () => {
  const target = (text: string) => parseGuestForward(`tcp:10.0.2.100:80-${text}`, config).target;
  assert.deepEqual(target('tcp:localhost:8080'), { kind: 'inet', address: 'localhost', port: 8080 });
  assert.deepEqual(target('unix:/run/a,b'), { kind: 'unix', path: '/run/a,b' });
  assert.deepEqual(target('cmd:cat -'), { kind: 'command', command: 'cat -' });
});

test('the options of user are read as QEMU writes them', () => {
  const text =
    'net=192.168.7.0/24,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,restrict=on,ipv6=off,dnssearch=a.example,dnssearch=b.example,guestfwd=tcp:192.168.7.9:1-cmd:a,,b,tftp=/srv';
  assert.deepEqual(parseUserNetText(text), {
    options: { net: '192.168.7.0/24', restrict: true, ipv6: false, searchDomains: ['a.example', 'b.example'] },
    hostForwards: ['tcp::2222-:22', 'udp::53-:53'],
    guestForwards: ['tcp:192.168.7.9:1-cmd:a,b'],
    tftp: '/srv',
  });
  assert.throws(() => parseUserNetText('restrict=maybe'), /restrict=maybe must be on or off/);
  assert.throws(() => parseUserNetText('hostforward=x'), /there is no option hostforward; .*hostfwd/);
});

test('options that cannot be are refused by name', () => {
  const cases = [
    [{ net: '10.0.2.0' }, /net=10\.0\.2\.0/],
    [{ net: '10.0.2.0/255.0.255.0' }, /net=/],
    [{ host: '10.0.3.2' }, /host=10\.0\.3\.2 must be an address in 10\.0\.2\.0\/24/],
    [{ host: '10.0.2.3' }, /both 10\.0\.2\.3/],
    [{ ipv6Prefix: '10.0.0.0' }, /ipv6-prefix/],
    [{ ipv6PrefixLength: Number.NaN }, /ipv6-prefixlen/],
    [{ ipv4: false, ipv6: false }, /both be off/],
    [{ searchDomains: ['a..b'] }, /dnssearch=a\.\.b/],
    [{ mtuBytes: 100 }, /mtuBytes 100/],
    [{ limits: { tcpConnections: 0 } }, /limits\.tcpConnections/],
    [{ egress: [{ action: 'allow', cidr: '10.0.0.0/33' }] }, /egress rule 1: 10\.0\.0\.0\/33/],
    [{ egress: [{ action: 'allow', name: 'a b' }] }, /egress rule 1: a b/],
    [{ egress: [{ action: 'deny', port: [5, 1] }] }, /egress rule 1: the port/],
  ] as const;
  for (const [options, message] of cases) assert.throws(() => checkUserNet(options), { name: 'UserError', message });
});

test('addresses are read and written canonically (RFC 5952)', () => {
  const same = [
    '0.0.0.0',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1:0:0:2',
    '2001:db8::1',
    '1:2:3:4:5:6:7:8',
    '1::',
    '1:0:0:2::',
  ];
  for (const text of same) assert.equal(ipText(parseIp(text)!), text);
  assert.equal(ipText(parseIp('2001:0DB8:0:0:0:0:0:1')!), '2001:db8::1');
  assert.equal(ipText(parseIp('::ffff:1.2.3.4')!), '::ffff:102:304');
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    ':',
    ':::',
    '1:2',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '12345::',
  ]) {
    assert.equal(parseIp(text), undefined, text);
  }
  assert.equal(parseCidr('10.0.0.0/33'), undefined);
  assert.equal(parseMac('52:54:00:12:34'), undefined);
});
