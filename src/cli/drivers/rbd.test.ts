/** RBD images through a librados and librbd of our own, testing/fake-rbd.c. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createRbdImage, openRbdNode, type RbdNodeOptions } from '../../host/node/index.ts';
import { parseImageName } from './names.ts';
import { openImage } from './open.ts';

const LIBRARY = fileURLToPath(new URL('./testing/fake-rbd.c', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vireo-rbd-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const SKIP = buildLibraries();
const libraries = { rados: join(folder, 'librados.so.2'), rbd: join(folder, 'librbd.so.1') };
const old = { rados: libraries.rados, rbd: join(folder, 'old.so') };
const conf = join(folder, 'ceph.conf');

function buildLibraries(): string | false {
  if (process.platform !== 'linux') return 'the libraries of this test are for Linux';
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is not installed';
  const build = (name: string, ...more: string[]) =>
    execFileSync('gcc', ['-shared', '-fPIC', '-w', ...more, '-o', join(folder, name), LIBRARY]);
  build('librbd.so.1');
  build('old.so', '-DOLD');
  copyFileSync(join(folder, 'librbd.so.1'), join(folder, 'librados.so.2'));
  writeFileSync(join(folder, 'ceph.conf'), '');
  mkdirSync(join(folder, 'pool'));
  return false;
}

const at = (image: string, more: Partial<RbdNodeOptions> = {}) => ({
  ...{ name: `rbd:pool/${image}`, pool: 'pool', image, conf, readOnly: false, libraries },
  ...more,
});
const contentOf = (image: string) => readFileSync(join(folder, 'pool', image));
const rejects = (action: Promise<unknown>, message: string, code?: string) =>
  assert.rejects(action, (error: Error & { code?: string }) => {
    assert.equal(error.message, message);
    assert.equal(error.code, code);
    return true;
  });

test('an image is made, written, read, made zeros, grown and cut', { skip: SKIP }, async () => {
  for (const [image, found] of [['disk', libraries] as const, ['old', old] as const]) {
    await createRbdImage(at(image), 10_000_000, found);
    const node = await openRbdNode(at(image, { libraries: found, direct: true, writeThrough: true }));
    assert.equal(node.sizeBytes, 10_000_000);
    const expected = Buffer.alloc(10_000_000);
    const piece = Buffer.from(Array.from({ length: 9_000_000 }, (_, i) => i % 251));
    expected.set(piece, 700_001);
    await node.write(700_001, piece);
    await node.flush();
    const target = new Uint8Array(10_000_000);
    await node.read(0, target);
    assert.ok(expected.equals(target));
    await node.discard!(800_000, 4096);
    expected.fill(0, 800_000, 804_096);
    assert.equal(node.writeZeroes === undefined, found === old);
    if (node.writeZeroes !== undefined) {
      await node.writeZeroes(900_001, 5000);
      await node.writeZeroes(910_001, 5000, { mayUnmap: true });
      for (const begin of [900_001, 910_001]) expected.fill(0, begin, begin + 5000);
    }
    await Promise.all([node.write(10_000_000, Buffer.from('end')), node.write(10_000_003, Buffer.from('ing'))]);
    assert.equal(node.sizeBytes, 10_000_006);
    await node.close();
    assert.ok(Buffer.concat([expected, Buffer.from('ending')]).equals(contentOf(image)));
    const again = await openRbdNode(at(image, { libraries: found }));
    await again.resize!(100);
    await rejects(
      again.read(90, new Uint8Array(11)),
      `rbd:pool/${image}: 11 bytes at 90 do not lie inside its 100 bytes`,
      'out-of-range',
    );
    await again.close();
    assert.equal(contentOf(image).length, 100);
    await rejects(again.flush(), `rbd:pool/${image}: its thread has ended`, 'io');
  }
});

test('requests that fail say why', { skip: SKIP }, async () => {
  for (const image of ['bad!', 'full!', 'cut']) writeFileSync(join(folder, 'pool', image), Buffer.alloc(4096, 1));
  const bad = await openRbdNode(at('bad!'));
  const failing = 'Input/output error';
  await rejects(bad.read(0, new Uint8Array(10)), `rbd:pool/bad!: cannot read: ${failing}`, 'io');
  await rejects(bad.write(0, new Uint8Array(10)), `rbd:pool/bad!: cannot write: ${failing}`, 'io');
  await rejects(bad.discard!(0, 10), `rbd:pool/bad!: cannot discard: ${failing}`, 'io');
  await rejects(bad.writeZeroes!(0, 10), `rbd:pool/bad!: cannot write zeros: ${failing}`, 'io');
  await rejects(bad.resize!(10), `rbd:pool/bad!: cannot resize: ${failing}`, 'io');
  assert.equal(bad.sizeBytes, 4096);
  await rejects(bad.close(), `rbd:pool/bad!: cannot flush: ${failing}`, 'io');
  const full = await openRbdNode(at('full!'));
  await rejects(full.write(0, new Uint8Array(10)), 'rbd:pool/full!: cannot write: No space left on device', 'no-space');
  await full.close();
  const cut = await openRbdNode(at('cut'));
  writeFileSync(join(folder, 'pool', 'cut'), 'short');
  await rejects(cut.read(0, new Uint8Array(10)), 'rbd:pool/cut: cannot read: the image ends at 5', 'io');
  await cut.close();
});

test('what cannot be opened or made is named', { skip: SKIP }, async () => {
  const refuses = (options: RbdNodeOptions, why: string) =>
    rejects(openRbdNode(options), `Could not open '${options.name}': ${why}`);
  await refuses(at('none'), "cannot open the image 'none': No such file or directory");
  await refuses(at('x', { pool: 'lake' }), "cannot open the pool 'lake': No such file or directory");
  await refuses(at('x', { user: 'stranger' }), 'cannot connect to the cluster: Connection timed out');
  await refuses(at('x', { conf: '/none.conf' }), 'cannot read the configuration /none.conf: No such file or directory');
  await refuses(at('x', { snapshot: 's' }), 'snapshots of rbd images can only be read');
  const missing = { rados: join(folder, 'none.so'), rbd: libraries.rbd };
  await assert.rejects(openRbdNode(at('x', { libraries: missing })), /package librbd1\).*none\.so/);
  writeFileSync(join(folder, 'pool', 'there'), '');
  await rejects(
    createRbdImage(at('there'), 512, libraries),
    "Could not create 'rbd:pool/there': cannot create the image 'there': File exists",
  );
});

test('a snapshot in a namespace is read, and nothing else', { skip: SKIP }, async () => {
  writeFileSync(join(folder, 'pool', 'mine+disk@then'), 'as it was');
  const node = await openRbdNode(at('disk', { namespace: 'mine', snapshot: 'then', readOnly: true }));
  const target = Buffer.alloc(9);
  await node.read(0, target);
  assert.equal(target.toString(), 'as it was');
  await rejects(node.write(0, target), 'rbd:pool/disk: it is open for reading only', 'read-only');
  await rejects(node.resize!(0), 'rbd:pool/disk: it is open for reading only', 'read-only');
  await node.close();
});

test('vireo-img makes, fills and reads rbd images by name', { skip: SKIP }, () => {
  const program = fileURLToPath(new URL('../../../bin/vireo-img', import.meta.url));
  const env = { ...process.env, LD_LIBRARY_PATH: folder };
  const run = (...argv: string[]) => spawnSync(program, argv, { env, encoding: 'utf8' });
  const source = join(folder, 'source.raw');
  writeFileSync(source, Buffer.alloc(1_048_576, 7));
  const name = `rbd:pool/a\\@b:conf=${conf}:id=me`;
  const made = run('convert', '-f', 'raw', '-O', 'qcow2', source, name);
  assert.equal(made.stderr, '');
  assert.equal(contentOf('a@b').subarray(0, 3).toString(), 'QFI');
  assert.equal(run('compare', source, name).status, 0);
  const options = `driver=qcow2,file.driver=rbd,file.pool=pool,file.image=a@b,file.user=me,file.conf=${conf}`;
  assert.match(run('info', '--image-opts', options).stdout, /virtual size: 1 MiB/);
  assert.equal(run('create', '-f', 'raw', `rbd:pool/plain:conf=${conf}`, '3M').status, 0);
  assert.equal(statSync(join(folder, 'pool', 'plain')).size, 3 * 2 ** 20);
  assert.match(run('info', `rbd:pool/plain:conf=${conf}:id=stranger`).stderr, /cluster: Connection timed out\n$/);
});

test('names and options that are wrong are refused by name', async () => {
  const refuses = (name: string, message: RegExp) => assert.rejects(openImage(name), message);
  assert.equal(parseImageName('rbd:p/i').get('file.driver'), 'rbd');
  await refuses('rbd:image', /rbd:image: its parts are wrong: it is rbd:POOL/);
  await refuses('rbd:p/a/b/c', /its parts are wrong/);
  await refuses('rbd:p/i@', /its parts are wrong/);
  await refuses('rbd:p/i@a@b', /more than one snapshot/);
  await refuses('rbd:p/i:mon_host=h', /option 'mon_host' is not supported/);
  await refuses('rbd:p/i:conf', /option 'conf' has no value/);
  await refuses('json:{"driver":"rbd","pool":"p"}', /driver 'rbd': image=NAME is missing/);
  await refuses('json:{"driver":"rbd","pool":"p","image":"i","key-secret":"s"}', /'key-secret' is not supported/);
  await refuses('json:{"driver":"rbd","pool":"p","image":"i","server":[{"host":"h"}]}', /'server\.0\.host' is not/);
  await refuses('json:{"driver":"rbd","pool":"p","image":"a\\u0000b"}', /has a NUL in it/);
});
