/** vireo-img amend against qemu-img amend: versions, widths of counts, flags, key slots. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { openSides, placeless, type Request, replayTheirs, type Side, skipWithoutQemu } from './testing/sides.ts';

const skip = skipWithoutQemu;
const { both, ours, path, run, theirs } = openSides();
const CLUSTER = 65_536;

/** Data, zeros over data, zeros over nothing, and compressed data. */
const BEFORE: readonly Request[] = [
  { kind: 'write', offset: 0, length: 5 * CLUSTER, pattern: 1 },
  { kind: 'zero', offset: CLUSTER, length: CLUSTER, pattern: 0 },
  { kind: 'zero', offset: 20 * CLUSTER, length: 3 * CLUSTER, pattern: 0 },
  { kind: 'pack', offset: 30 * CLUSTER, length: CLUSTER, pattern: 9 },
];
const AFTER: readonly Request[] = [
  { kind: 'zero', offset: 2 * CLUSTER, length: CLUSTER, pattern: 0 },
  { kind: 'write', offset: 20 * CLUSTER, length: CLUSTER, pattern: 4 },
  { kind: 'unmap', offset: 30 * CLUSTER, length: CLUSTER, pattern: 0 },
];

const cwd = (side: Side) => dirname(path(side, 'x'));
const sides = ['ours', 'theirs'] as const;

async function make(name: string, options: string, snapshot: boolean): Promise<void> {
  await both(`create -q -f qcow2 ${options} ${name} 4M`.replace(/ +/g, ' '));
  for (const side of sides) replayTheirs(cwd(side), 'qcow2', name, BEFORE);
  if (snapshot) await both(`snapshot -c s1 ${name}`);
  for (const side of sides) replayTheirs(cwd(side), 'qcow2', name, AFTER);
  for (const side of sides) await run(side, `convert -O raw ${name} ${name}.raw`);
  if (snapshot) for (const side of sides) await run(side, `convert -l s1 -O raw ${name} ${name}.s1.raw`);
}

/** What QEMU finds in our image, and we in QEMU's. */
async function unchanged(name: string, snapshot: boolean): Promise<void> {
  // QEMU's own downgrade of an image with snapshots leaves flags that its check does not like.
  for (const side of snapshot ? (['ours'] as const) : sides) {
    await run(side, `check ${name}`);
    await run(side, `compare -f raw -F qcow2 ${name}.raw ${name}`);
    if (snapshot) {
      await run(side, `convert -l s1 -O raw ${name} ${name}.again`);
      await run(side, `compare -f raw -F raw ${name}.s1.raw ${name}.again`);
    }
  }
  const check = spawnSync('qemu-img', ['check', path('ours', name)], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  const compared = spawnSync('qemu-img', ['compare', path('ours', `${name}.raw`), path('ours', name)], {
    encoding: 'utf8',
  });
  assert.equal(compared.status, 0, compared.stdout + compared.stderr);
}

for (const [title, options, snapshot] of [
  ['alone', '', false],
  ['on a backing file', '-b base.qcow2 -F qcow2', false],
  ['with a snapshot', '', true],
  ['with a snapshot, on a backing file', '-b base.qcow2 -F qcow2', true],
] as const) {
  test(`an image goes back to version 2 and forth again: ${title}`, { skip }, async () => {
    const name = `v2-${title.length}.qcow2`;
    await both('create -q -f qcow2 base.qcow2 4M');
    const fill: Request = { kind: 'write', offset: 0, length: 40 * CLUSTER, pattern: 77 };
    for (const side of sides) replayTheirs(cwd(side), 'qcow2', 'base.qcow2', [fill]);
    await make(name, options, snapshot);
    await both(`amend -o compat=0.10 ${name}`);
    await both(`info ${name}`, (text) => placeless(text).replace(/\d{4}-\d\d-\d\d .*/g, 'DATE'));
    await unchanged(name, snapshot);
    await both(`amend -o compat=1.1,lazy_refcounts=on ${name}`);
    await unchanged(name, snapshot);
  });
}

test('reference counts become wider and narrower', { skip }, async () => {
  await make('width.qcow2', '', true);
  for (const bits of [64, 2, 8, 16]) {
    await both(`amend -o refcount_bits=${bits} width.qcow2`);
    await unchanged('width.qcow2', true);
    for (const side of sides) assert.match(await run(side, 'info width.qcow2'), new RegExp(`refcount bits: ${bits}\n`));
  }
  for (const outcome of [
    await ours('amend -o refcount_bits=1 width.qcow2'),
    theirs('amend -o refcount_bits=1 width.qcow2'),
  ])
    assert.equal(outcome.status, 1);
  await unchanged('width.qcow2', true);
  await make('narrow.qcow2', '', false);
  await both('amend -o refcount_bits=1 narrow.qcow2');
  await unchanged('narrow.qcow2', false);
  for (const side of sides) replayTheirs(cwd(side), 'qcow2', 'narrow.qcow2', BEFORE);
  for (const side of sides) await run(side, 'check narrow.qcow2');
});

test('what cannot be amended is refused by both, and nothing changes', { skip }, async () => {
  await both('create -q -f qcow2 -o extended_l2=on ext.qcow2 1M');
  await both('create -q -f qcow2 plain.qcow2 1M');
  await both('create -q -f raw plain.raw 1M');
  for (const line of [
    'amend -o compat=0.10 ext.qcow2',
    'amend -o compat=0.10,refcount_bits=8 plain.qcow2',
    'amend -o compat=0.10,lazy_refcounts=on plain.qcow2',
    'amend -o refcount_bits=3 plain.qcow2',
    'amend -o refcount_bits=128 plain.qcow2',
    'amend -o cluster_size=4k plain.qcow2',
    'amend -o encrypt.state=active,encrypt.new-secret=s1 plain.qcow2',
    'amend -o compat=9 plain.qcow2',
    'amend -f raw -o size=1M plain.raw',
  ]) {
    const [found, wanted] = [await ours(line), theirs(line)];
    assert.deepEqual([found.status, wanted.status], [1, 1], `${line}\n${found.stderr}${wanted.stderr}`);
    assert.match(found.stderr, /^vireo-img: [^\n]+\n$/, line);
  }
  await both('info plain.qcow2', placeless);
  await both('info ext.qcow2', placeless);
});

const SECRETS = '--object secret,id=a,data=first --object secret,id=b,data=second --object secret,id=c,data=third';

for (const { format, file, prefix } of [
  { format: 'luks', file: 'keys.luks', prefix: '' },
  { format: 'qcow2', file: 'keys.qcow2', prefix: 'encrypt.' },
]) {
  test(`key slots come and go: ${format}`, { skip }, async () => {
    const image = (secret: string) => `driver=${format},${prefix}key-secret=${secret},file.filename=${file}`;
    const options = (text: string) => text.replace(/(^|,)/g, `$1${prefix}`);
    const amend = (side: Side, secret: string, text: string, flags = '') =>
      run(side, `amend ${SECRETS} ${flags} --image-opts -o ${options(text)} ${image(secret)}`.replace(/ +/g, ' '));
    const refused = async (secret: string, text: string, message: RegExp) => {
      const line = `amend ${SECRETS} --image-opts -o ${options(text)} ${image(secret)}`;
      const { status, stderr } = await ours(line);
      assert.equal(status, 1, line);
      assert.match(stderr, message);
    };
    /** Who can open the image, as QEMU and we find. */
    const openers = async () => {
      const found: string[] = [];
      for (const secret of ['a', 'b', 'c']) {
        const line = `compare ${SECRETS} --image-opts ${image(secret)} ${image(secret)}`;
        const theirSide = spawnSync('qemu-img', line.split(' '), { cwd: cwd('ours') });
        const { status } = await ours(line);
        assert.equal(status, theirSide.status, line);
        if (status === 0) found.push(secret);
      }
      return found.join('');
    };
    const format_ = prefix === '' ? '' : 'encrypt.format=luks,';
    await run(
      'ours',
      `create -q ${SECRETS} -f ${format} -o ${format_}${prefix}key-secret=a,${prefix}iter-time=10 ${file} 1M`,
    );
    assert.equal(await openers(), 'a');
    await amend('ours', 'a', 'state=active,new-secret=b,iter-time=10');
    assert.equal(await openers(), 'ab');
    await amend('ours', 'b', 'state=active,new-secret=c,keyslot=5,iter-time=10');
    assert.equal(await openers(), 'abc');
    await refused('a', 'state=active,new-secret=b,keyslot=5', /Refusing to overwrite active keyslot 5/);
    await refused('a', 'state=active,new-secret=b,keyslot=8', /Invalid keyslot 8/);
    await refused('a', 'state=active', /'new-secret' is required/);
    await refused('a', 'state=active,new-secret=b,old-secret=a', /'old-secret' must not be given/);
    await refused('a', 'state=inactive', /either explicit keyslot index or the password/);
    await refused('a', 'state=inactive,keyslot=3', /already erased/);
    await refused('a', 'state=inactive,keyslot=0,old-secret=b', /does not contain/);
    await refused('a', 'state=sleepy', /active or inactive/);
    await amend('ours', 'a', 'state=inactive,old-secret=a');
    assert.equal(await openers(), 'bc');
    // QEMU erases, and we go on with what it left.
    const line = `amend ${SECRETS} --image-opts -o ${options('state=inactive,keyslot=5')} ${image('b')}`;
    const erased = spawnSync('qemu-img', line.split(' '), { cwd: cwd('ours'), encoding: 'utf8' });
    assert.equal(erased.status, 0, erased.stderr);
    assert.equal(await openers(), 'b');
    await refused('b', 'state=inactive,keyslot=1', /refusing operation/);
    await amend('ours', 'b', 'state=active,new-secret=c,keyslot=1,iter-time=10', '--force');
    assert.equal(await openers(), 'c');
    await amend('ours', 'c', 'state=inactive,old-secret=c', '--force');
    assert.equal(await openers(), '');
  });
}
