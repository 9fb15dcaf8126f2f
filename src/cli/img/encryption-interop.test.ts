/** Encrypted images against QEMU and cryptsetup, both ways. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { randomFrom } from '../../contract/testing/random.ts';

const isInstalled = (program: string) => spawnSync(program, ['--version']).status === 0;
const skip = isInstalled('qemu-img') ? false : 'qemu-img is not installed';
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));
const VIREO_IMG = fileURLToPath(new URL('../../../bin/vireo-img', import.meta.url));
const SECRET = ['--object', 'secret,id=s0,data=b3BlbiBzZXNhbWU=,format=base64'];

function attempt(program: string, ...args: string[]) {
  const [file, ...first] = program === 'vireo-img' ? [process.execPath, VIREO_IMG] : [program];
  return spawnSync(file, [...first, ...args], { cwd: folder, encoding: 'utf8' });
}

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = attempt(program, ...args);
  assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

const content = randomFrom(5).bytes(2 ** 20);
content.fill(0, 300_000, 500_000);
writeFileSync(join(folder, 'plain.raw'), content);

const KINDS: readonly { name: string; format: string; key: string; options: string }[] = [
  { name: 'xts.luks', format: 'luks', key: 'key-secret', options: 'iter-time=1' },
  {
    name: 'cbc.luks',
    format: 'luks',
    key: 'key-secret',
    options: 'iter-time=1,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1',
  },
  {
    name: 'luks.qcow2',
    format: 'qcow2',
    key: 'encrypt.key-secret',
    options: 'encrypt.format=luks,encrypt.iter-time=1',
  },
  { name: 'aes.qcow2', format: 'qcow2', key: 'encrypt.key-secret', options: 'encrypt.format=aes' },
  { name: 'aes.qcow', format: 'qcow', key: 'encrypt.key-secret', options: 'encrypt.format=aes' },
];

for (const { name, format, key, options } of KINDS) {
  const imageOf = (file: string) => `driver=${format},${key}=s0,file.filename=${file}`;
  const compare = (program: string, file: string) =>
    run(program, 'compare', ...SECRET, '--image-opts', imageOf(file), 'driver=raw,file.filename=plain.raw');

  test(`QEMU reads and changes what we made: ${name}`, {
    skip: skip || (format === 'qcow' ? 'made by QEMU only' : false),
  }, () => {
    run('vireo-img', 'convert', ...SECRET, '-O', format, '-o', `${key}=s0,${options}`, '-f', 'raw', 'plain.raw', name);
    compare('qemu-img', name);
    if (format === 'qcow2') run('qemu-img', 'check', ...SECRET, '--image-opts', imageOf(name));
    const info = (program: string) => JSON.parse(run(program, 'info', '--output=json', name))['format-specific'];
    assert.deepEqual(info('vireo-img'), info('qemu-img'));
    run('qemu-io', ...SECRET, '--image-opts', '-c', 'write -P 7 1000 70000', imageOf(name));
    run('vireo-img', 'convert', ...SECRET, '--image-opts', '-O', 'raw', imageOf(name), `${name}.raw`);
    run('qemu-img', 'compare', ...SECRET, '--image-opts', imageOf(name), `driver=raw,file.filename=${name}.raw`);
  });

  test(`we read what QEMU made: ${name}`, { skip }, (t) => {
    const file = `theirs-${name}`;
    const args = ['convert', ...SECRET, '-O', format, '-o', `${key}=s0,${options}`, '-f', 'raw', 'plain.raw', file];
    const { status, stderr } = attempt('qemu-img', ...args);
    // QEMU measures how fast it is, which does not work everywhere.
    if (stderr.includes('Unable to get accurate CPU usage')) return t.skip('qemu-img cannot measure its speed here');
    assert.equal(status, 0, stderr);
    compare('vireo-img', file);
  });
}

test('we read what cryptsetup made', {
  skip: skip || (isInstalled('cryptsetup') ? false : 'cryptsetup is not installed'),
}, () => {
  writeFileSync(join(folder, 'password'), 'open sesame');
  writeFileSync(join(folder, 'c.luks'), '');
  truncateSync(join(folder, 'c.luks'), 3 * 2 ** 20);
  run(
    'cryptsetup',
    'luksFormat',
    '-q',
    '--type=luks1',
    '--pbkdf-force-iterations=1000',
    '--key-file=password',
    'c.luks',
  );
  const image = 'driver=luks,key-secret=s0,file.filename=c.luks';
  run('qemu-io', ...SECRET, '--image-opts', '-c', 'write -P 9 4096 70000', image);
  run('vireo-img', 'convert', ...SECRET, '--image-opts', '-O', 'raw', image, 'c.raw');
  run('qemu-img', 'compare', ...SECRET, '--image-opts', image, 'driver=raw,file.filename=c.raw');
});

test('bad secrets are named in one line', { skip }, () => {
  const fails = (message: RegExp, ...args: string[]) => {
    const { status, stderr } = attempt('vireo-img', ...args);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.match(stderr, /^vireo-img: [^\n]*\n$/);
  };
  run('vireo-img', 'create', '-q', ...SECRET, '-f', 'luks', '-o', 'key-secret=s0,iter-time=1', 'bad.luks', '1M');
  const image = 'driver=luks,key-secret=s0,file.filename=bad.luks';
  fails(/No object with id 's0'/, 'map', '--image-opts', image);
  fails(/Invalid password/, 'map', '--object', 'secret,id=s0,data=no', '--image-opts', image);
  fails(/no valid base64/, 'map', '--object', 'secret,id=s0,data=?,format=base64', '--image-opts', image);
  fails(/Secret 's0': cannot read \/nowhere/, 'map', '--object', 'secret,id=s0,file=/nowhere', '--image-opts', image);
  fails(/'key-secret' is required/, 'create', '-f', 'luks', 'worse.luks', '1M');
  fails(
    /cipher-alg is one of aes-256, aes-192, aes-128/,
    'create',
    ...SECRET,
    '-f',
    'luks',
    '-o',
    'key-secret=s0,cipher-alg=rot13',
    'x',
    '1M',
  );
});
