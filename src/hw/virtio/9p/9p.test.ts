/** The 9P server on a folder of the real host. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openSharedFolder } from '../../../host/node/index.ts';
import { Client, encodeMessage, joined } from '../testing/9p-client.ts';
import { rig } from '../testing/rig.ts';
import { virtio9p } from './9p.ts';
import { FIDS_MAX } from './handles.ts';
import { COMMON, NO_FID } from './messages.ts';
import type { SecurityModelName } from './security.ts';
import { securityModel } from './security-mapped.ts';
import { type Answer, Session } from './session.ts';

const skip = process.platform === 'linux' ? false : 'shared folders need Linux';
const [RDWR, TRUNC] = [2, 0o1000];

interface SetUp {
  readonly security?: SecurityModelName;
  readonly readOnly?: boolean;
  readonly version?: '9P2000.L' | '9P2000.u';
}

/** A folder `shared` with a client, and a secret beside it. */
function setUp(context: TestContext, { security = 'none', readOnly = false, version }: SetUp = {}) {
  const outside = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  const folder = join(outside, 'shared');
  mkdirSync(folder);
  writeFileSync(join(outside, 'secret'), 'secret');
  const root = openSharedFolder(folder);
  const session = new Session({ root, readOnly, security: securityModel(security) });
  context.after(() => {
    session.reset();
    root.close();
    rmSync(outside, { recursive: true });
  });
  const client = new Client(session, version);
  return { outside, folder, session, client, root: client.attach() };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const bytes = (value: string) => new Uint8Array(Buffer.from(value));
const fails = (errno: number, action: () => unknown) => assert.throws(action, { errno });

function create(client: Client, folder: number, name: string, mode = 0o644) {
  const fid = client.walk(folder);
  client.send('lcreate', { fid, name, flags: RDWR, mode, gid: 0 });
  return fid;
}

test('files are made, written, read, listed, renamed, linked and removed', { skip }, (context) => {
  const { client, root, folder } = setUp(context);
  client.send('mkdir', { fid: root, name: 'a', mode: 0o755, gid: 0 });
  const a = client.walk(root, 'a');
  const file = create(client, a, 'one', 0o640);
  assert.deepEqual(client.send('write', { fid: file, offset: 0n, data: bytes('hello world') }), { count: 11 });
  assert.equal(text(client.send('read', { fid: file, offset: 6n, count: 99 }).data), 'world');
  assert.equal(lstatSync(join(folder, 'a/one')).mode & 0o7777, 0o640);
  client.send('symlink', { fid: a, name: 'link', target: '../../secret', gid: 0 });
  assert.equal(client.send('readlink', { fid: client.walk(a, 'link') }).target, '../../secret');
  client.send('link', { folderFid: root, fid: client.walk(a, 'one'), name: 'two' });
  client.send('renameat', { oldFolderFid: a, oldName: 'one', newFolderFid: root, newName: 'three' });
  client.send('mknod', { fid: root, name: 'pipe', mode: 0o010644, major: 0, minor: 0, gid: 0 });
  assert.deepEqual(readdirSync(folder).sort(), ['a', 'pipe', 'three', 'two']);
  fails(39, () => client.send('unlinkat', { folderFid: root, name: 'a', flags: 0x200 }));
  client.send('unlinkat', { folderFid: a, name: 'link', flags: 0 });
  client.send('unlinkat', { folderFid: root, name: 'a', flags: 0x200 });
  fails(2, () => client.walk(root, 'a'));
  // What is held goes on without its name.
  client.send('unlinkat', { folderFid: root, name: 'three', flags: 0 });
  client.send('unlinkat', { folderFid: root, name: 'two', flags: 0 });
  assert.equal(text(client.send('read', { fid: file, offset: 0n, count: 5 }).data), 'hello');
});

test('a fid goes with its file when that is renamed, by the client', { skip }, (context) => {
  const { client, root, folder } = setUp(context);
  client.send('mkdir', { fid: root, name: 'a', mode: 0o755, gid: 0 });
  client.send('mkdir', { fid: root, name: 'b', mode: 0o755, gid: 0 });
  const [a, b] = [client.walk(root, 'a'), client.walk(root, 'b')];
  const file = create(client, a, 'x');
  client.send('renameat', { oldFolderFid: root, oldName: 'a', newFolderFid: b, newName: 'c' });
  client.send('rename', { fid: file, folderFid: root, name: 'y' });
  client.send('rename', { fid: file, folderFid: b, name: 'z' });
  assert.deepEqual([readdirSync(join(folder, 'b')).sort(), readdirSync(folder)], [['c', 'z'], ['b']]);
  const up = client.walk(a, '..', '..', '..', '..');
  client.send('remove', { fid: client.walk(up, 'b', 'z') });
  assert.deepEqual(readdirSync(join(folder, 'b')), ['c']);
});

test('attributes of files are shown and set', { skip }, (context) => {
  const { client, root } = setUp(context);
  const fid = create(client, root, 'file', 0o600);
  const times = { accessedSeconds: 5n, accessedNanos: 6n, modifiedSeconds: 7n, modifiedNanos: 8n };
  client.send('setattr', {
    fid,
    valid: 0x1 | 0x8 | 0x10 | 0x20 | 0x80 | 0x100,
    mode: 0o4755,
    uid: 0,
    gid: 0,
    sizeBytes: 100n,
    ...times,
  });
  const { mode, sizeBytes, links, ...found } = client.send('getattr', { fid, mask: 0x7ffn });
  assert.deepEqual([mode, sizeBytes, links], [0o100755, 100n, 1n]); // no set-uid on the host
  const { accessedSeconds, accessedNanos, modifiedSeconds, modifiedNanos } = found;
  assert.deepEqual({ accessedSeconds, accessedNanos, modifiedSeconds, modifiedNanos }, times);
  const { nameBytesMax, blockBytes } = client.send('statfs', { fid });
  assert.ok(nameBytesMax >= 255 && blockBytes >= 512);
});

for (const count of [1000, 60_000]) {
  test(`a folder of many entries is listed in parts of ${count} bytes, each entry once`, { skip }, (context) => {
    const { client, root, folder } = setUp(context);
    const names = Array.from({ length: 700 }, (_, index) => `file-with-a-name-${index}`);
    for (const name of names) writeFileSync(join(folder, name), '');
    const fid = client.walk(root);
    client.send('lopen', { fid, flags: 0 });
    const found: string[] = [];
    for (let offset = 0n; ; ) {
      const { data } = client.send('readdir', { fid, offset, count });
      if (data.length === 0) break;
      assert.ok(data.length <= count);
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      for (let at = 0; at < data.length; at += 24 + view.getUint16(at + 22, true)) {
        found.push(text(data.subarray(at + 24, at + 24 + view.getUint16(at + 22, true))));
        offset = view.getBigUint64(at + 13, true);
      }
    }
    assert.deepEqual(found.sort(), [...names, '.', '..'].sort());
  });
}

test('extended attributes of users, and no others', { skip }, (context) => {
  const { client, root, folder } = setUp(context);
  create(client, root, 'file');
  const set = (name: string, value: string, flags = 0) => {
    const fid = client.walk(root, 'file');
    client.send('xattrcreate', { fid, name, sizeBytes: BigInt(value.length), flags });
    if (value !== '') client.send('write', { fid, offset: 0n, data: bytes(value) });
    client.send('clunk', { fid });
  };
  try {
    set('user.one', 'value');
  } catch (error) {
    if ((error as { errno: number }).errno === 95) return context.skip(`no extended attributes below ${folder}`);
    throw error;
  }
  set('user.two', 'x');
  const read = (name: string) => {
    const newFid = 900;
    const { sizeBytes } = client.send('xattrwalk', { fid: client.walk(root, 'file'), newFid, name });
    const { data } = client.send('read', { fid: newFid, offset: 0n, count: 1000 });
    client.send('clunk', { fid: newFid });
    assert.equal(Number(sizeBytes), data.length);
    return text(data);
  };
  assert.equal(read('user.one'), 'value');
  assert.deepEqual(read('').split('\0').sort(), ['', 'user.one', 'user.two']);
  set('user.one', '', 2);
  fails(61, () => read('user.one'));
  fails(17, () => set('user.two', 'y', 1));
  for (const name of ['security.capability', 'trusted.overlay', 'system.posix_acl_access']) {
    fails(95, () => set(name, 'x'));
    fails(95, () => read(name));
  }
});

test('no name leads out of the folder', { skip }, (context) => {
  const { client, root, folder, outside } = setUp(context);
  symlinkSync('..', join(folder, 'up'));
  symlinkSync(join(outside, 'secret'), join(folder, 'leak'));
  const up = client.walk(root, '..', '..');
  assert.deepEqual(
    client.send('getattr', { fid: up, mask: 0n }).qid,
    client.send('getattr', { fid: root, mask: 0n }).qid,
  );
  for (const name of ['', '.', '/', '../secret', 'a/b', '/etc/passwd', 'x\0y', '.\0'])
    fails(22, () => client.walk(root, name));
  fails(36, () => client.walk(root, 'n'.repeat(256)));
  fails(2, () => client.walk(root, 'up', 'secret'));
  fails(20, () => client.walk(client.walk(root, 'up'), 'secret'));
  fails(40, () => client.send('lopen', { fid: client.walk(root, 'leak'), flags: 0 }));
  fails(40, () =>
    client.send('lcreate', { fid: client.walk(root), name: 'leak', flags: RDWR | TRUNC, mode: 0o644, gid: 0 }),
  );
  const link = client.walk(root, 'leak');
  const size = { accessedSeconds: 0n, accessedNanos: 0n, modifiedSeconds: 0n, modifiedNanos: 0n, uid: 0, gid: 0 };
  fails(40, () => client.send('setattr', { fid: link, valid: 8, mode: 0, sizeBytes: 0n, ...size }));
  fails(40, () => client.send('setattr', { fid: link, valid: 1, mode: 0o777, sizeBytes: 0n, ...size }));
  for (const name of ['../evil', '/evil', '..', '.', '', 'a/b']) {
    fails(22, () => client.send('mkdir', { fid: root, name, mode: 0o755, gid: 0 }));
    fails(22, () => client.send('symlink', { fid: root, name, target: 'x', gid: 0 }));
    fails(22, () => client.send('lcreate', { fid: client.walk(root), name, flags: RDWR, mode: 0o644, gid: 0 }));
    fails(22, () =>
      client.send('renameat', { oldFolderFid: root, oldName: 'leak', newFolderFid: root, newName: name }),
    );
    fails(22, () => client.send('renameat', { oldFolderFid: root, oldName: name, newFolderFid: root, newName: 'in' }));
    fails(22, () => client.send('unlinkat', { folderFid: root, name, flags: 0 }));
    fails(22, () => client.send('link', { folderFid: root, fid: link, name }));
  }
  assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'secret');
  assert.deepEqual(readdirSync(outside).sort(), ['secret', 'shared']);
});

test('a folder that is replaced by a link or moved away while it is held leads nowhere else', { skip }, (context) => {
  const { client, root, folder, outside } = setUp(context);
  mkdirSync(join(folder, 'd'));
  const held = client.walk(root, 'd');
  renameSync(join(folder, 'd'), join(outside, 'moved'));
  symlinkSync(outside, join(folder, 'd'));
  // It is still the folder that was held, wherever it is now, and above it is the shared folder.
  fails(2, () => client.walk(held, 'secret'));
  fails(2, () => client.walk(held, '..', 'secret'));
  fails(20, () => client.walk(client.walk(root, 'd'), 'secret'));
  fails(2, () => client.walk(root, 'd', 'secret'));
});

test('hundreds of swaps between a folder and a link, and never a byte of the secret', { skip }, async (context) => {
  const { client, root, folder, outside } = setUp(context);
  mkdirSync(join(folder, 'd'));
  writeFileSync(join(folder, 'd', 'secret'), 'public');
  symlinkSync(outside, join(folder, 'l'));
  const swapper = `
    const fs = require('fs'); process.stdout.write('ready'); process.chdir(process.argv[1]);
    for (;;) { fs.renameSync('d', 't'); fs.renameSync('l', 'd'); fs.renameSync('d', 'l'); fs.renameSync('t', 'd'); }`;
  const racing = spawn(process.execPath, ['-e', swapper, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(racing.stdout, 'data');
  for (let round = 0; round < 3000; round++) {
    let fid: number | undefined;
    try {
      fid = client.walk(root, 'd', 'secret');
      client.send('lopen', { fid, flags: 0 });
      assert.equal(text(client.send('read', { fid, offset: 0n, count: 100 }).data), 'public');
    } catch (error) {
      if ((error as { errno?: number }).errno === undefined) throw error;
    } finally {
      if (fid !== undefined) client.send('clunk', { fid });
    }
  }
  racing.kill('SIGKILL');
  await once(racing, 'close');
});

test('special files of the host are not opened, and devices are not made', { skip }, (context) => {
  const { client, root, folder } = setUp(context);
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  fails(1, () => client.send('lopen', { fid: client.walk(root, 'pipe'), flags: RDWR }));
  for (const type of [0o020000, 0o060000]) {
    fails(1, () => client.send('mknod', { fid: root, name: 'device', mode: type | 0o666, major: 8, minor: 0, gid: 0 }));
  }
  assert.equal(existsSync(join(folder, 'device')), false);
});

test('a read-only share stays as it is', { skip }, (context) => {
  const { client, root, folder } = setUp(context, { readOnly: true });
  writeFileSync(join(folder, 'file'), 'content');
  const file = client.walk(root, 'file');
  const none = { accessedSeconds: 0n, accessedNanos: 0n, modifiedSeconds: 0n, modifiedNanos: 0n, uid: 0, gid: 0 };
  const attempts: (() => unknown)[] = [
    () => client.send('lopen', { fid: client.walk(root, 'file'), flags: RDWR }),
    () => client.send('lcreate', { fid: client.walk(root), name: 'new', flags: RDWR, mode: 0o644, gid: 0 }),
    () => client.send('mkdir', { fid: root, name: 'new', mode: 0o755, gid: 0 }),
    () => client.send('symlink', { fid: root, name: 'new', target: 'x', gid: 0 }),
    () => client.send('mknod', { fid: root, name: 'new', mode: 0o100644, major: 0, minor: 0, gid: 0 }),
    () => client.send('link', { folderFid: root, fid: file, name: 'new' }),
    () => client.send('renameat', { oldFolderFid: root, oldName: 'file', newFolderFid: root, newName: 'new' }),
    () => client.send('rename', { fid: file, folderFid: root, name: 'new' }),
    () => client.send('unlinkat', { folderFid: root, name: 'file', flags: 0 }),
    () => client.send('setattr', { fid: file, valid: 1, mode: 0, sizeBytes: 0n, ...none }),
    () => client.send('setattr', { fid: file, valid: 0x20, mode: 0, sizeBytes: 0n, ...none }),
    () => client.send('xattrcreate', { fid: file, name: 'user.x', sizeBytes: 1n, flags: 0 }),
    () => client.send('remove', { fid: client.walk(root, 'file') }),
  ];
  for (const attempt of attempts) fails(30, attempt);
  client.send('lopen', { fid: file, flags: 0 });
  assert.equal(text(client.send('read', { fid: file, offset: 0n, count: 99 }).data), 'content');
  assert.deepEqual(readdirSync(folder), ['file']);
});

for (const security of ['mapped-xattr', 'mapped-file'] as const) {
  test(`${security}: owners, modes, links and devices are marks`, { skip }, (context) => {
    const { client, root, folder } = setUp(context, { security });
    const guest = client.attach(1234);
    try {
      client.send('mkdir', { fid: guest, name: 'd', mode: 0o2770, gid: 77 });
    } catch (error) {
      if ((error as { errno: number }).errno === 95) return context.skip(`no extended attributes below ${folder}`);
      throw error;
    }
    const d = client.walk(guest, 'd');
    client.send('mknod', { fid: d, name: 'null', mode: 0o020666, major: 1, minor: 3, gid: 5 });
    client.send('symlink', { fid: d, name: 'link', target: '/etc/passwd', gid: 6 });
    const file = create(client, d, 'su', 0o4755);
    const look = (fid: number) => {
      const { mode, uid, gid, deviceNumber } = client.send('getattr', { fid, mask: 0n });
      return [mode.toString(8), uid, gid, deviceNumber];
    };
    assert.deepEqual(look(d), ['42770', 1234, 77, 0n]);
    assert.deepEqual(look(client.walk(d, 'null')), ['20666', 1234, 5, 0x103n]);
    assert.deepEqual(look(client.walk(d, 'link')), ['120777', 1234, 6, 0n]);
    assert.deepEqual(look(file), ['104755', 1234, 0, 0n]);
    assert.equal(client.send('readlink', { fid: client.walk(d, 'link') }).target, '/etc/passwd');
    for (const name of ['null', 'link', 'su']) {
      const status = lstatSync(join(folder, 'd', name));
      assert.deepEqual([status.isFile(), status.mode & 0o7777], [true, 0o600]);
    }
    // Marks go with the file.
    client.send('link', { folderFid: d, fid: file, name: 'hard' });
    client.send('renameat', { oldFolderFid: d, oldName: 'su', newFolderFid: root, newName: 'moved' });
    assert.deepEqual(look(client.walk(root, 'moved')), ['104755', 1234, 0, 0n]);
    assert.deepEqual(look(client.walk(d, 'hard')), ['104755', 1234, 0, 0n]);
    for (const name of ['null', 'link', 'hard']) client.send('unlinkat', { folderFid: d, name, flags: 0 });
    create(client, d, 'null', 0o600); // nothing is left of what was there
    assert.equal(look(client.walk(d, 'null'))[0], '100600');
    client.send('unlinkat', { folderFid: d, name: 'null', flags: 0 });
    client.send('unlinkat', { folderFid: root, name: 'd', flags: 0x200 });
    fails(2, () => client.walk(root, '.virtfs_metadata', 'moved'));
  });
}

test('9P2000.u: stat, folders as files, changes by wstat', { skip }, (context) => {
  const { client, root, folder } = setUp(context, { version: '9P2000.u' });
  const made = client.walk(root);
  client.send('create', { fid: made, name: 'd', permissions: 0x8000_01ed, mode: 0, extension: '' });
  const file = client.walk(root, 'd');
  client.send('create', { fid: file, name: 'f', permissions: 0o644, mode: 2, extension: '' });
  client.send('write', { fid: file, offset: 0n, data: bytes('abc') });
  const link = client.walk(root, 'd');
  client.send('create', { fid: link, name: 'l', permissions: 0x0200_01ff, mode: 0, extension: 'f' });
  const counted = (name: string) => `${String.fromCharCode(name.length)}\0${name}`;
  assert.ok(
    Buffer.from(client.send('stat', { fid: link }).data)
      .toString('latin1')
      .includes(counted('f')),
  );

  const list = client.walk(root, 'd');
  client.send('open', { fid: list, mode: 0 });
  const first = client.send('read', { fid: list, offset: 0n, count: 100 }).data.slice();
  const rest = client.send('read', { fid: list, offset: BigInt(first.length), count: 4000 }).data;
  const names = [...first, ...rest].map((code) => String.fromCharCode(code)).join('');
  assert.ok(first.length > 0 && rest.length > 0 && names.includes(counted('f')) && names.includes(counted('l')));
  fails(22, () => client.send('read', { fid: list, offset: 3n, count: 100 }));

  const stat = client.send('stat', { fid: file }).data.slice();
  assert.equal(new DataView(stat.buffer).getUint16(0, true), stat.length - 2);
  // Everything unchanged but the name, which is the first string after 41 bytes.
  const wanted = new Uint8Array(stat.length).fill(0xff);
  wanted.set(bytes('\x01\0g\0\0\0\0\0\0\0\0'), 41);
  client.send('wstat', { fid: file, data: wanted });
  assert.deepEqual(readdirSync(join(folder, 'd')).sort(), ['g', 'l']);
  client.send('remove', { fid: file });
  assert.deepEqual(readdirSync(join(folder, 'd')), ['l']);
});

test('fids and what they hold have a limit, and all is given back', { skip }, (context) => {
  const { client, session, root, folder } = setUp(context);
  writeFileSync(join(folder, 'file'), '');
  const { handles } = session.tree;
  const held = handles.held;
  let made = 0;
  try {
    for (; made <= FIDS_MAX; made++) client.walk(root, 'file');
  } catch (error) {
    assert.equal((error as { errno: number }).errno, 23);
  }
  assert.ok(made > 1000 && made < FIDS_MAX);
  assert.equal(handles.held, held + 1); // one file, however many fids
  for (let fid = 0; fid < 3000; fid++) {
    try {
      client.send('lopen', { fid: fid + 2, flags: 0 });
    } catch (error) {
      assert.equal((error as { errno: number }).errno, 23);
    }
  }
  session.reset();
  assert.deepEqual([handles.held, handles.fidCount], [held, 0]);
});

test('messages before a version, malformed or unknown ones are answered with an error', { skip }, (context) => {
  const { session, client, root } = setUp(context);
  const errnoOf = (message: Uint8Array) => {
    const answer = joined(session.answer(message) as Answer);
    assert.equal(answer[4], 7);
    return new DataView(answer.buffer, answer.byteOffset).getUint32(7, true);
  };
  const { type, request } = COMMON.walk;
  const good = encodeMessage(type, request, { fid: root, newFid: 50, names: ['a', 'b'] });
  for (let length = 7; length < good.length; length++) {
    const cut = good.slice(0, length);
    cut[0] = length;
    assert.equal(errnoOf(cut), 71);
  }
  assert.equal(errnoOf(good.subarray(0, 9)), 71);
  const many = encodeMessage(type, request, { fid: root, newFid: 50, names: Array(17).fill('a') });
  assert.equal(errnoOf(many), 71);
  assert.equal(errnoOf(Uint8Array.of(7, 0, 0, 0, 200, 1, 0)), 95);
  fails(9, () => client.send('clunk', { fid: 4711 }));
  fails(9, () => client.send('attach', { fid: root, authFid: NO_FID, userName: '', tree: '', uid: 0 }));
  fails(22, () => client.send('version', { messageBytes: 100, version: '9P2000.L' }, 0xffff));
  assert.equal(errnoOf(good), 95);
  const { version } = client.send('version', { messageBytes: 8192, version: '9P3000' }, 0xffff);
  assert.equal(version, 'unknown');
});

test('the device: a message in a chain, an answer in another, tag in its configuration', { skip }, async (context) => {
  const { folder } = setUp(context);
  writeFileSync(join(folder, 'file'), 'x'.repeat(10_000));
  const device = virtio9p({ name: 'share0', root: openSharedFolder(folder), tag: 'home' });
  context.after(() => device.close());
  const { driver: makeDriver, transport } = rig(device, 'pci');
  const [queue] = makeDriver({ features: [0] }).start(1).queues;
  assert.deepEqual([transport.readConfig(0, 2), transport.readConfig(2, 4)], [4, 0x656d6f68]);
  const ask = (message: Uint8Array, room: number[]) => {
    queue.send([message.slice(0, 5), message.slice(5)], room);
    return queue.collect()[0];
  };
  const { version, attach, walk } = COMMON;
  ask(encodeMessage(version.type, version.request, { messageBytes: 8192, version: '9P2000.L' }, 0xffff), [100]);
  const user = { authFid: NO_FID, userName: 'root', tree: '', uid: 0 };
  assert.equal(ask(encodeMessage(attach.type, attach.request, { fid: 0, ...user }), [7, 13]).written, 20);
  assert.throws(() => device.snapshot(), /unmount/);
  const walked = ask(encodeMessage(walk.type, walk.request, { fid: 0, newFid: 1, names: ['file'] }), [3, 40]);
  assert.deepEqual([walked.written, walked.data[4]], [22, 111]);
  assert.equal(ask(Uint8Array.of(7, 0, 0, 0, 120), [4]), undefined);
  assert.equal(transport.readStatus() & 0x40, 0x40);
  transport.writeStatus(0);
  assert.deepEqual(device.snapshot(), {});
});
