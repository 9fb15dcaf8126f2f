/** vireo-img beside qemu-img: the same command lines must print the same, exit the same and leave equal images. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { randomFrom } from '../../contract/testing/random.ts';

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url));
const skip = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'qemu-img is not installed';
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
}

/** Runs a command line in one of the two folders. */
function runIn(side: 'theirs' | 'ours', line: string): Outcome & { readonly stderr: string } {
  const args = line.split(' ').map((word) => (word === "''" ? '' : word));
  const cwd = join(folder, side);
  mkdirSync(cwd, { recursive: true });
  const [program, rest] = side === 'ours' ? [process.execPath, [PROGRAM, ...args]] : ['qemu-img', args];
  const { status, stdout, stderr } = spawnSync(program, rest, { cwd, encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** Runs a line on both sides and holds ours against theirs. */
function both(line: string, normalize: (text: string) => string = (text) => text): void {
  const theirs = runIn('theirs', line);
  const ours = runIn('ours', line);
  const shown = ({ status, stdout }: Outcome) => ({ line, status, stdout: normalize(stdout) });
  assert.deepEqual(shown(ours), shown(theirs), `${ours.stderr}${theirs.stderr}`);
}

function put(name: string, bytes: Uint8Array): void {
  for (const side of ['theirs', 'ours']) {
    mkdirSync(join(folder, side), { recursive: true });
    writeFileSync(join(folder, side, name), bytes);
  }
}

/** Mixed content: random, patterns, zeros. */
function mixed(size: number, seed: number): Uint8Array {
  const random = randomFrom(seed);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 50_000) {
    const kind = random.next(4);
    if (kind === 0) bytes.set(random.bytes(Math.min(30_000, size - at)), at);
    else if (kind === 1) bytes.fill(random.next(256), at, Math.min(size, at + 45_000));
  }
  return bytes;
}

/** Says nothing of times and of how much of the disk a sparse file takes. */
function timeless(text: string): string {
  return text
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE')
    .replace(/"date-n?sec": \d+/g, '"date": 0')
    .replace(/disk size: .*|"actual-size": \d+/g, 'SIZE');
}

test('create and info', { skip }, () => {
  put('base.raw', mixed(1_048_576, 1));
  both('create -f qcow2 a.qcow2 10M');
  both('create -f qcow2 -o cluster_size=4k,lazy_refcounts=on,refcount_bits=8 b.qcow2 1G');
  both('create -f qcow2 -b base.raw -F raw over.qcow2');
  both('create -f qcow2 -o extended_l2=on,compression_type=zstd e.qcow2 1G');
  both('create -f raw r.raw 5M');
  both('create -q -f qcow2 -o compat=0.10 old.qcow2 3M');
  for (const name of ['a.qcow2', 'b.qcow2', 'over.qcow2', 'e.qcow2', 'r.raw', 'old.qcow2']) {
    both(`info ${name}`, timeless);
    both(`info --output=json ${name}`, timeless);
    if (name.endsWith('qcow2')) both(`check ${name}`);
  }
  both('info --backing-chain over.qcow2', timeless);
  both('info --backing-chain --output=json over.qcow2', timeless);
});

test('preallocation and external data', { skip }, () => {
  for (const mode of ['metadata', 'falloc', 'full']) {
    both(`create -f qcow2 -o preallocation=${mode} pre-${mode}.qcow2 3M`);
    both(`check pre-${mode}.qcow2`, (text) => text.replace(/Image end offset.*/, ''));
  }
  both('create -q -f qcow2 -o data_file=data.raw ext.qcow2 2M');
  both('info ext.qcow2', timeless);
  both('convert -n -O qcow2 base.raw ext.qcow2');
  both('compare base.raw ext.qcow2');
  both('check ext.qcow2');
  assert.deepEqual(readFileSync(join(folder, 'ours/data.raw')), readFileSync(join(folder, 'theirs/data.raw')));
});

test('convert, every way', { skip }, () => {
  put('mixed.raw', mixed(3_000_320, 2));
  const lines = [
    'convert -O qcow2 mixed.raw out.qcow2',
    'convert -c -O qcow2 mixed.raw out.qcow2',
    'convert -c -O qcow2 -o compression_type=zstd,cluster_size=128k mixed.raw out.qcow2',
    'convert -O qcow2 -o cluster_size=512 mixed.raw out.qcow2',
    'convert -S 0 -O qcow2 mixed.raw out.qcow2',
    'convert -O qcow2 -o extended_l2=on mixed.raw out.qcow2',
    'convert -O qcow2 base.raw mixed.raw out.qcow2',
    'convert -m 4 -W -O qcow2 -o compat=0.10 mixed.raw out.qcow2',
  ];
  for (const line of lines) {
    both(line);
    both('check out.qcow2', (text) => text.replace(/Image end offset.*|\d+\.\d+% fragmented/g, ''));
    both('map --output=json out.qcow2', (text) => text.replace(/, "offset": \d+/g, '').replace(/"zero": (true|false), "data": true/g, 'DATA'));
    copyFileSync(join(folder, 'ours/out.qcow2'), join(folder, 'theirs/ours.qcow2'));
    assert.equal(runIn('theirs', 'compare out.qcow2 ours.qcow2').status, 0, line);
    assert.equal(runIn('theirs', 'check ours.qcow2').status, 0, line);
    both('convert -f qcow2 -O raw out.qcow2 back.raw');
    assert.ok(readFileSync(join(folder, 'ours/back.raw')).equals(readFileSync(join(folder, 'theirs/back.raw'))), line);
  }
  both('convert -p -O qcow2 base.raw out.qcow2', (text) => text.split('\r').at(-1)!);
  both('convert -O qcow2 -B base.raw -F raw over.qcow2 thin.qcow2');
  both('info thin.qcow2', timeless);
});

test('map, compare and measure', { skip }, () => {
  both('map base.raw');
  both('map --output=json base.raw');
  both('map --output=json over.qcow2');
  both('map --output=json --start-offset=64k --max-length=100k over.qcow2');
  both('compare base.raw over.qcow2');
  both('compare -s base.raw mixed.raw');
  both('compare base.raw mixed.raw');
  both('compare -q base.raw mixed.raw');
  assert.equal(runIn('ours', 'compare base.raw none').status, runIn('theirs', 'compare base.raw none').status);
  both('measure -O qcow2 --size 10G');
  both('measure -O qcow2 -o cluster_size=4k --size 3G');
  both('measure --output=json -O qcow2 mixed.raw');
  both('measure -O raw mixed.raw');
});

test('snapshots', { skip }, () => {
  both('create -q -f qcow2 snap.qcow2 4M');
  both('convert -n -O qcow2 base.raw snap.qcow2');
  both('snapshot -c one snap.qcow2');
  both('convert -n -O qcow2 mixed.raw snap.qcow2');
  both('snapshot -c two snap.qcow2');
  both('snapshot -l snap.qcow2', timeless);
  both('info --output=json snap.qcow2', (text) => timeless(text).replace(/"icount".*/g, ''));
  both('convert -l one -O raw snap.qcow2 one.raw');
  both('snapshot -a one snap.qcow2');
  both('check snap.qcow2', (text) => text.replace(/Image end offset.*|\d+\.\d+% fragmented/g, ''));
  both('snapshot -d one snap.qcow2');
  both('check snap.qcow2', (text) => text.replace(/Image end offset.*|\d+\.\d+% fragmented/g, ''));
  for (const [side, other] of [['ours', 'theirs'], ['theirs', 'ours']] as const) {
    copyFileSync(join(folder, side, 'snap.qcow2'), join(folder, other, 'other.qcow2'));
    for (const line of ['check other.qcow2', 'compare snap.qcow2 other.qcow2', 'snapshot -a two other.qcow2', 'compare mixed.raw other.qcow2', 'snapshot -d two other.qcow2', 'check other.qcow2']) {
      assert.equal(runIn(other, line).status, 0, `${other}: ${line}`);
    }
  }
});

test('resize, rebase, commit and dd', { skip }, () => {
  both('resize snap.qcow2 +1M');
  both('info snap.qcow2', (text) => timeless(text).replace(/disk size.*/g, ''));
  both('resize snap.qcow2 1M');
  both('create -q -f qcow2 plain.qcow2 4M');
  both('convert -n -O qcow2 mixed.raw plain.qcow2');
  both('resize --shrink plain.qcow2 1M');
  both('resize plain.qcow2 3G');
  both('check plain.qcow2', (text) => text.replace(/Image end offset.*|\d+\.\d+% fragmented/g, ''));
  both('map --output=json plain.qcow2', (text) => text.replace(/, "offset": \d+/g, ''));
  put('new.raw', mixed(1_048_576, 9));
  both('convert -n -O qcow2 new.raw over.qcow2');
  both('create -q -f qcow2 -b over.qcow2 -F qcow2 top.qcow2');
  both('rebase -b new.raw -F raw top.qcow2');
  both('info top.qcow2', timeless);
  both('compare top.qcow2 over.qcow2');
  both('rebase -u -b base.raw -F raw over.qcow2');
  both("rebase -b '' over.qcow2");
  both('info over.qcow2', timeless);
  both('create -q -f qcow2 -b mixed.raw -F raw edit.qcow2');
  both('convert -n -O qcow2 base.raw edit.qcow2');
  both('commit edit.qcow2');
  both('map --output=json edit.qcow2', (text) => text.replace(/, "offset": \d+/g, '').replace(/"present": true, "zero": (true|false), "data": (true|false)/g, ''));
  both('compare mixed.raw edit.qcow2');
  both('commit base.raw');
  both('dd if=mixed.raw of=dd.raw bs=4k count=7 skip=3');
  assert.ok(readFileSync(join(folder, 'ours/dd.raw')).equals(readFileSync(join(folder, 'theirs/dd.raw'))));
});

test('leaks and corruption are found and repaired', { skip }, () => {
  both('create -q -f qcow2 broken.qcow2 1M');
  for (const side of ['theirs', 'ours']) {
    const path = join(folder, side, 'broken.qcow2');
    const bytes = readFileSync(path);
    const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
    bytes.writeUInt16BE(1, block + 2 * 20);
    bytes.writeUInt16BE(0, block + 2 * 3);
    writeFileSync(path, bytes);
  }
  both('check broken.qcow2');
  both('check -r all broken.qcow2');
  both('check --output=json broken.qcow2');
  both('check base.raw');
});

test('wrong arguments get one line that names them, and exit code 1', () => {
  const lines: readonly (readonly [string, RegExp])[] = [
    ['info none', /^vireo-img: Could not open 'none': No such file or directory\n$/],
    ['frobnicate', /^vireo-img: Command not found: frobnicate[^\n]*\n$/],
    ['info', /^vireo-img: Expecting one image file name\n$/],
    ['create -f bogus x 1M', /^vireo-img: Unknown driver 'bogus'\n$/],
    ['create -f qcow2 x', /^vireo-img: x: Image creation needs a size parameter\n$/],
    ['create -f qcow2 -o cluster_size=1000 x 1M', /^vireo-img: Cluster size must be a power of two between 512 and 2048k\n$/],
    ['create -f qcow2 -o foo=1 x 1M', /^vireo-img: Invalid parameter 'foo'\n$/],
    ['create -f qcow2 x 12Q', /^vireo-img: Invalid image size specified: '12Q'[^\n]*\n$/],
    ['map -z x', /^vireo-img: invalid option -- 'z'\n$/],
  ];
  for (const [line, message] of lines) {
    const { status, stderr } = runIn('ours', line);
    assert.match(stderr, message, line);
    assert.equal(status, 1, line);
  }
});
