/** vireo-nbd and our client against QEMU's server, client and tools, and against nbdinfo. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { openNbd } from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { compare, exercise } from '../../contract/testing/block-node-suite.ts';
import { randomFrom } from '../../contract/testing/random.ts';
import { connectByteStream, loadTlsCredentials, systemClock, type TlsCredentials } from '../../host/node/index.ts';
import { runNbd } from './program.ts';
import { end, gone, isInstalled, VIREO_NBD, workshop } from './testing/servers.ts';

const skip = isInstalled('qemu-nbd') ? false : 'qemu-nbd is not installed';
const skipTls = skip || (isInstalled('certtool') ? false : 'certtool is not installed');
const { folder, path, run, serve, close } = workshop();
after(close);

function uri(socket: string, exportName = ''): string {
  return `nbd+unix:///${exportName}?socket=${path(socket)}`;
}

async function open(socket: string, exportName = '', tls?: TlsCredentials): Promise<BlockNode> {
  return openNbd({
    name: socket,
    exportName,
    useTls: tls !== undefined,
    connect: () => connectByteStream({ kind: 'unix', path: path(socket) }, tls === undefined ? {} : { tls }),
  });
}

function vireoNbd(...args: string[]) {
  return spawnSync(process.execPath, [VIREO_NBD, ...args], { cwd: folder, encoding: 'utf8' });
}

test('qemu-io writes through our server what the image then has', { skip }, async () => {
  const size = 3 * 2 ** 20 + 512;
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', String(size));
  serve('ours', '-f', 'qcow2', '-k', path('a'), '-t', '--discard=unmap', 'a.qcow2');
  const random = randomFrom(1);
  const model = new Uint8Array(size);
  const commands: string[] = [];
  for (let i = 0; i < 80; i += 1) {
    const offset = random.next(size / 512) * 512;
    const length = Math.min(size - offset, (1 + random.next(200)) * 512);
    const pattern = 1 + random.next(255);
    const kind = ['write -P', 'write -f -P', 'write -z', 'write -zu', 'flush'][random.next(5)];
    if (kind === 'flush') commands.push(kind);
    else commands.push(`${kind} ${kind.endsWith('P') ? `${pattern} ` : ''}${offset} ${length}`);
    if (kind.endsWith('P')) model.fill(pattern, offset, offset + length);
    else if (kind !== 'flush') model.fill(0, offset, offset + length);
  }
  run('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri('a'));
  writeFileSync(path('a.model'), model);
  const told = run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', uri('a'), 'a.model');
  assert.match(told, /identical/);
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri('a'), 'a.copy');
  assert.ok(readFileSync(path('a.copy')).equals(model));
});

test('the same is told of an image by both servers', { skip }, () => {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'base.qcow2', '4M');
  run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 1M', '-c', 'write -z 1M 512k', 'base.qcow2');
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2');
  run('qemu-img', 'bitmap', '--add', 'top.qcow2', 'b0');
  run('qemu-io', '-f', 'qcow2', '-c', 'write -P 2 2M 320k', '-c', 'write -P 3 64k 64k', 'top.qcow2');
  const tell = (kind: 'ours' | 'theirs') => {
    const socket = `tell-${kind}`;
    serve(
      kind,
      '-r',
      '-t',
      '-A',
      '-B',
      'b0',
      '-x',
      'disk',
      '-D',
      'a disk',
      '-f',
      'qcow2',
      '-k',
      path(socket),
      'top.qcow2',
    );
    const map = (context: string) =>
      JSON.parse(
        run(
          'qemu-img',
          'map',
          '--output=json',
          '--image-opts',
          `driver=nbd,server.type=unix,server.path=${path(socket)},export=disk${context}`,
        ),
      );
    const listed = run('qemu-nbd', '-L', '-k', path(socket));
    assert.equal(vireoNbd('-L', '-k', path(socket)).stdout, listed);
    return {
      allocation: map(''),
      depth: map(',x-dirty-bitmap=qemu:allocation-depth'),
      dirty: map(',x-dirty-bitmap=qemu:dirty-bitmap:b0'),
      listed: listed.replace(/opt block: \d+/, ''),
    };
  };
  assert.deepEqual(tell('ours'), tell('theirs'));
});

test('our client on qemu-nbd does what a plain array does', { skip }, async () => {
  const size = 2 ** 20 + 512;
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'b.qcow2', String(size));
  serve('theirs', '-f', 'qcow2', '-k', path('b'), '-t', '-e', '4', '--discard=unmap', 'b.qcow2');
  const model = new Uint8Array(size);
  for (const seed of [1, 2]) {
    const node = await open('b');
    await exercise(node, model, seed);
    await compare(node, model);
    for (let at = 0; at < size; ) {
      for (const { offset, length, zero } of await node.extents(at, size - at)) {
        if (zero) assert.ok(!model.subarray(offset, offset + length).some((byte) => byte !== 0));
        at += length;
      }
    }
    await node.close();
  }
  await assert.rejects(open('b', 'nothing'), /export 'nothing': it has no such export/);
});

test('images of every format that fits lie in exports, made there or filled with -n', { skip }, () => {
  const vireoImg = (...args: string[]) => run(process.execPath, VIREO_NBD.replace('vireo-nbd', 'vireo-img'), ...args);
  writeFileSync(path('small.raw'), randomFrom(6).bytes(2 ** 20));
  const uri = `nbd+unix:///e?socket=${path('inside')}`;
  run('qemu-img', 'create', '-q', '-f', 'raw', 'inside.raw', '8M');
  serve('theirs', '-f', 'raw', '-x', 'e', '-k', path('inside'), '-t', '-e', '4', 'inside.raw');
  // What was there before must not shine through.
  run('qemu-io', '-f', 'raw', '-c', 'write -P 255 0 8M', uri);
  vireoImg('convert', '-O', 'qcow2', 'small.raw', uri);
  const same = (format: string) => run('qemu-img', 'compare', '-f', 'raw', '-F', format, 'small.raw', uri);
  same('qcow2');
  run('qemu-img', 'check', '-f', 'qcow2', uri);
  for (const format of ['qcow2', 'vdi', 'vpc']) {
    run('qemu-img', 'create', '-q', '-f', format, uri, '1M');
    vireoImg('convert', '-n', '-O', format, 'small.raw', uri);
    same(format);
  }
  run('qemu-img', 'create', '-q', '-f', 'qcow2', uri, '1M');
  const target = `driver=qcow2,file.driver=nbd,file.server.type=unix,file.server.path=${path('inside')},file.export=e`;
  vireoImg('convert', '-n', '-c', '-O', 'qcow2', '--target-image-opts', 'small.raw', target);
  same('qcow2');
});

test('vireo-img works on exports', { skip }, () => {
  const vireoImg = (...args: string[]) => run(process.execPath, VIREO_NBD.replace('vireo-nbd', 'vireo-img'), ...args);
  const content = randomFrom(4).bytes(2 ** 20);
  content.fill(0, 300_000, 700_000);
  writeFileSync(path('c.raw'), content);
  run('qemu-img', 'create', '-q', '-f', 'raw', 'd.raw', '1M');
  run('qemu-io', '-f', 'raw', '-c', 'write -P 9 0 1M', 'd.raw');
  serve('theirs', '-f', 'raw', '-k', path('c'), '-t', '-e', '3', 'c.raw');
  serve('theirs', '-f', 'raw', '-k', path('d'), '-t', '-e', '3', 'd.raw');
  const info = (program: (...args: string[]) => string) => program('info', '--output=json', uri('c'));
  const shown = (text: string) => ({ ...JSON.parse(text), filename: '' });
  assert.deepEqual(shown(info(vireoImg)), shown(info((...args) => run('qemu-img', ...args))));
  vireoImg('convert', '-f', 'raw', '-O', 'qcow2', uri('c'), 'c.qcow2');
  run('qemu-img', 'compare', 'c.qcow2', 'c.raw');
  vireoImg('convert', '-f', 'qcow2', '-O', 'raw', 'c.qcow2', uri('d'));
  vireoImg('compare', '-f', 'raw', '-F', 'raw', uri('d'), uri('c'));
  vireoImg(
    'compare',
    '-U',
    '--image-opts',
    `driver=raw,file.driver=nbd,file.path=${path('d')}`,
    'driver=raw,file.filename=c.raw',
  );
});

test('offset, partition and snapshot', { skip }, async () => {
  const disk = new Uint8Array(2 ** 20);
  disk.set([0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0], 446);
  disk.set([0, 0, 0, 0, 5, 0, 0, 0, 100, 0, 0, 0, 200, 0, 0, 0], 462);
  disk.set([0x55, 0xaa], 510);
  disk.set([0, 0, 0, 0, 0x83, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0], 100 * 512 + 446);
  disk.set([0x55, 0xaa], 100 * 512 + 510);
  disk.fill(7, 8 * 512, 24 * 512);
  disk.fill(8, 102 * 512, 111 * 512);
  writeFileSync(path('p.raw'), disk);
  const content = async (...args: string[]) => {
    serve('ours', '-f', 'raw', '-k', path('p'), ...args, 'p.raw');
    const node = await open('p');
    const bytes = new Uint8Array(node.sizeBytes);
    await node.read(0, bytes);
    await node.close();
    return bytes;
  };
  assert.deepEqual(await content('-P', '1'), new Uint8Array(16 * 512).fill(7));
  assert.deepEqual(await content('-P', '5'), new Uint8Array(9 * 512).fill(8));
  assert.deepEqual(await content('-o', '4096'), disk.slice(4096));
  const pid = serve('ours', '-s', '-f', 'raw', '-k', path('snapshot'), 'p.raw');
  run('qemu-io', '-f', 'raw', '-c', 'write -P 5 0 64k', '-c', 'read -P 5 0 64k', uri('snapshot'));
  await gone(pid);
  assert.ok(readFileSync(path('p.raw')).equals(disk));
});

test('a server without -t ends with its last client, and keeps no more than -e at once', { skip }, async () => {
  run('qemu-img', 'create', '-q', '-f', 'raw', 'e.raw', '64k');
  const pid = serve('ours', '-e', '2', '-f', 'raw', '-k', path('e'), 'e.raw');
  const [first, second] = [await open('e'), await open('e')];
  let isThirdIn = false;
  const third = open('e').then((node) => {
    isThirdIn = true;
    return node;
  });
  await first.write(0, Uint8Array.of(1, 2, 3));
  assert.equal(isThirdIn, false);
  await first.close();
  const seen = new Uint8Array(3);
  await (await third).read(0, seen);
  assert.deepEqual([...seen], [1, 2, 3]);
  await (await third).close();
  await second.close();
  await gone(pid);
});

test('a client waits for a server that was killed and comes back', { skip }, async () => {
  run('qemu-img', 'create', '-q', '-f', 'raw', 'r.raw', '64k');
  const start = () => serve('ours', '-t', '-f', 'raw', '-k', path('r'), 'r.raw');
  const pid = start();
  const node = await openNbd({
    name: 'r',
    connect: () => connectByteStream({ kind: 'unix', path: path('r') }),
    reconnectNanos: 60e9,
    clock: systemClock(),
  });
  await node.write(5, Uint8Array.of(1, 2, 3));
  await node.flush();
  end(pid, 'SIGKILL');
  await gone(pid);
  const found = new Uint8Array(3);
  const reading = node.read(5, found);
  start();
  await reading;
  assert.deepEqual([...found], [1, 2, 3]);
  await node.close();
});

test('what a client flushed is there after kill -9', { skip }, async () => {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'k.qcow2', '8M');
  for (let round = 1; round <= 2; round += 1) {
    const pid = serve('ours', '-f', 'qcow2', '-k', path(`k${round}`), 'k.qcow2');
    const node = await open(`k${round}`);
    for (let i = 0; i < 16; i += 1) await node.write(i * 500_000, new Uint8Array(200_000).fill(round * 16 + i));
    await node.flush();
    const load = Promise.allSettled([1, 2, 3].map((i) => node.write(i * 500_000 + 200_000, new Uint8Array(200_000))));
    end(pid, 'SIGKILL');
    await load;
    await gone(pid);
    for (let i = 0; i < 16; i += 1) {
      run('qemu-io', '-r', '-f', 'qcow2', '-c', `read -P ${round * 16 + i} ${i * 500_000} 200000`, 'k.qcow2');
    }
    const { status } = spawnSync('qemu-img', ['check', '-f', 'qcow2', path('k.qcow2')]);
    assert.ok(status === 0 || status === 3, `qemu-img check: ${status}; 3 are leaks`);
  }
});

function certificates(): string {
  const place = path('tls');
  mkdirSync(place);
  const template = (name: string, lines: string) => writeFileSync(path(`tls/${name}.info`), lines);
  template('ca', 'cn = test\nca\ncert_signing_key\n');
  template(
    'server',
    'organization = test\ncn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\ntls_www_server\nencryption_key\nsigning_key\n',
  );
  template('client', 'organization = test\ncn = client\ntls_www_client\nencryption_key\nsigning_key\n');
  const certtool = (...args: string[]) => run('certtool', ...args);
  for (const name of ['ca', 'server', 'client']) {
    certtool('--generate-privkey', '--key-type=ecdsa', '--outfile', `tls/${name}-key.pem`);
    const common = [
      '--load-privkey',
      `tls/${name}-key.pem`,
      '--template',
      `tls/${name}.info`,
      '--outfile',
      `tls/${name}-cert.pem`,
    ];
    if (name === 'ca') certtool('--generate-self-signed', ...common);
    else
      certtool(
        '--generate-certificate',
        '--load-ca-certificate',
        'tls/ca-cert.pem',
        '--load-ca-privkey',
        'tls/ca-key.pem',
        ...common,
      );
  }
  writeFileSync(path('tls/keys.psk'), 'qemu:0123456789abcdef0123456789abcdef\nother:ffff\n');
  return place;
}

test('TLS, with certificates and with keys', { skip: skipTls }, async () => {
  const place = certificates();
  writeFileSync(path('t.raw'), randomFrom(8).bytes(299_520));
  const content = new Uint8Array(readFileSync(path('t.raw')));
  for (const kind of ['x509', 'psk'] as const) {
    for (const side of ['ours', 'theirs'] as const) {
      const socket = `tls-${kind}-${side}`;
      const object = (endpoint: string) => `tls-creds-${kind},id=tls0,endpoint=${endpoint},dir=${place}`;
      serve(
        side,
        '-t',
        '--object',
        object('server'),
        '--tls-creds',
        'tls0',
        '-f',
        'raw',
        '-r',
        '-k',
        path(socket),
        't.raw',
      );
      const tls = loadTlsCredentials({ kind, folder: place, endpoint: 'client' });
      const node = await open(socket, '', tls);
      const found = new Uint8Array(content.length);
      await node.read(0, found);
      assert.ok(Buffer.from(found).equals(content));
      await node.close();
      await assert.rejects(open(socket), /it requires TLS/);
      const listed = run(
        'qemu-nbd',
        '-L',
        '-k',
        path(socket),
        '--object',
        object('client'),
        '--tls-creds',
        'tls0',
        ...(kind === 'x509' ? ['--tls-hostname=localhost'] : []),
      );
      assert.match(listed, /size: {2}299520/);
    }
  }
  writeFileSync(path('tls/keys.psk'), 'other:eeee\n');
  const wrong = loadTlsCredentials({ kind: 'psk', folder: place, endpoint: 'client', username: 'other' });
  await assert.rejects(open('tls-psk-ours', '', wrong));
  await assert.rejects(open('tls-x509-ours', '', { ...wrong, clientOptions: () => ({ rejectUnauthorized: false }) }));
});

test('nbdinfo reads our server', {
  skip: skip || (isInstalled('nbdinfo') ? false : 'nbdinfo is not installed'),
}, () => {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'n.qcow2', '10M');
  run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 1M 1M', 'n.qcow2');
  serve('ours', '-f', 'qcow2', '-k', path('n'), '-t', '-x', 'disk', 'n.qcow2');
  const { exports } = JSON.parse(run('nbdinfo', '--json', uri('n', 'disk')));
  assert.equal(exports[0]['export-size'], 10 * 2 ** 20);
  assert.equal(exports[0].can_fast_zero, true);
  const map = JSON.parse(run('nbdinfo', '--map', '--json', uri('n', 'disk')));
  assert.deepEqual(
    map.map(({ offset, length, type }: Record<string, number>) => [offset, length, type]),
    [
      [0, 2 ** 20, 3],
      [2 ** 20, 2 ** 20, 0],
      [2 * 2 ** 20, 8 * 2 ** 20, 3],
    ],
  );
});

test('bad arguments are named in one line', async (t) => {
  writeFileSync(path('x.raw'), new Uint8Array(1024));
  const cases: readonly [args: string[], message: RegExp][] = [
    [[], /Invalid number of arguments/],
    [[path('nothing.raw')], /Could not open '.*nothing.raw': No such file or directory/],
    [['-p', '70000', path('x.raw')], /Invalid port '70000': it is a number from 0 to 65535/],
    [['-e', 'x', path('x.raw')], /Invalid shared 'x'/],
    [['-o', '4k', path('x.raw')], /Offset \(4096\) has to be smaller than the image size \(1024\)/],
    [['-P', '3', path('x.raw')], /Could not find partition 3/],
    [['-A', '-o', '512', path('x.raw')], /-A and -B tell of the whole image/],
    [['-B', 'b', path('x.raw')], /Bitmap 'b' is not found in .*x.raw/],
    [['--cache=most', path('x.raw')], /Invalid cache mode 'most'/],
    [['--tls-creds', 'tls0', path('x.raw')], /No object with id 'tls0'/],
    [
      ['--object', 'tls-creds-psk,id=a,endpoint=server,dir=/nowhere', '--tls-creds=a', path('x.raw')],
      /Unable to access credentials \/nowhere\/keys.psk/,
    ],
    [['-c', '/dev/nbd0', path('x.raw')], /kernel's NBD client is not supported/],
    [['-L', '-k', path('nobody')], /Failed to connect to '.*nobody': No such file or directory/],
    [['-k', path('no/such/folder'), path('x.raw')], /cannot listen on/],
    [['-z', path('x.raw')], /invalid option -- 'z'/],
  ];
  for (const [args, message] of cases) {
    let stderr = '';
    const silenced = t.mock.method(process.stderr, 'write', (text: string) => {
      stderr += text;
      return true;
    });
    const status = await runNbd(args);
    silenced.mock.restore();
    assert.equal(status, 1, args.join(' '));
    assert.match(stderr, message);
    assert.match(stderr, /^vireo-nbd: [^\n]*\n$/);
  }
});
