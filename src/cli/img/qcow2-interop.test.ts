/** Our qcow2 against QEMU's: the same requests on both sides must leave the same image. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { type ImageNode, type OpenOptions, qcow2, raw } from '../../block/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import { nodeCompression, openFileNode } from '../../host/node/index.ts';
import { createImage } from './create.ts';

const skip = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'qemu-img is not installed';
const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
after(() => rmSync(folder, { recursive: true }));

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

async function open(name: string, options: Partial<OpenOptions> & { snapshot?: string } = {}): Promise<ImageNode> {
  const path = join(folder, name);
  return qcow2.open(openFileNode(path, { io: 'blocking', flushes: 'ignore', readOnly: options.readOnly ?? false }), {
    name,
    compression: nodeCompression,
    resolveBacking: ({ filename, format }) => {
      const file = openFileNode(join(folder, filename), { readOnly: true });
      const how = { name: filename, readOnly: true, compression: nodeCompression };
      return (format === 'raw' ? raw : qcow2).open(file, how);
    },
    resolveDataFile: async (filename) => openFileNode(resolve(folder, filename)),
    ...options,
  });
}

interface Command {
  readonly kind: 'write' | 'zero' | 'unmap' | 'discard' | 'compress';
  readonly offset: number;
  readonly length: number;
  readonly pattern: number;
}

function randomCommands(
  random: Random,
  size: number,
  cluster: number,
  kinds: readonly Command['kind'][],
  count: number,
) {
  return Array.from({ length: count }, (): Command => {
    const kind = kinds[random.next(kinds.length)];
    const unit = kind === 'write' || random.next(2) === 0 ? 512 : cluster;
    const offset = random.next(Math.floor(size / unit)) * unit;
    const length = Math.min(size - offset, (1 + random.next((cluster * 3) / unit)) * unit);
    return { kind, pattern: 1 + random.next(255), offset, length };
  });
}

/** Compressed writes to clusters that are not there yet: QEMU refuses others. */
function compressedCommands(size: number, cluster: number): Command[] {
  const kind = 'compress';
  return [1, 2, 3, 7, 8, 20, 30]
    .map((index) => ({ kind, pattern: index, offset: index * cluster, length: cluster }))
    .filter(({ offset, length }) => offset + length <= size) as Command[];
}

async function replayOurs(node: ImageNode, commands: readonly Command[]): Promise<void> {
  for (const { kind, offset, length, pattern } of commands) {
    const bytes = new Uint8Array(length).fill(pattern);
    if (kind === 'write') await node.write(offset, bytes);
    else if (kind === 'compress') await node.writeCompressed!(offset, bytes);
    else if (kind === 'discard') await node.discard!(offset, length);
    else await node.writeZeroes!(offset, length, { mayUnmap: kind === 'unmap' });
  }
}

function replayTheirs(name: string, commands: readonly Command[]): void {
  const words = {
    write: 'write -P',
    zero: 'write -z',
    unmap: 'write -zu',
    discard: 'discard',
    compress: 'write -c -P',
  };
  const lines = commands.map(({ kind, offset, length, pattern }) => {
    const value = kind === 'write' || kind === 'compress' ? `${pattern} ` : '';
    return `${words[kind]} ${value}${offset} ${length}`;
  });
  run('qemu-io', '-d', 'unmap', '-t', 'unsafe', '-f', 'qcow2', ...lines.flatMap((line) => ['-c', line]), name);
}

/** What qemu-img map says, without where in the file things are and whether the file has holes there. */
function mapOf(name: string): unknown[] {
  const extents: { start: number; length: number; [key: string]: unknown }[] = [];
  for (const { offset: _, ...extent } of JSON.parse(run('qemu-img', 'map', '--output=json', '-f', 'qcow2', name))) {
    const last = extents.at(-1);
    if (extent.data) extent.zero = false;
    const { start, length, ...kind } = extent;
    const { start: __, length: ___, ...lastKind } = last ?? {};
    if (last !== undefined && JSON.stringify(kind) === JSON.stringify(lastKind)) last.length += length;
    else extents.push(extent);
  }
  return extents;
}

async function assertSame(theirs: string, ours: string, maps = true): Promise<void> {
  run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', theirs, ours);
  if (maps) assert.deepEqual(mapOf(ours), mapOf(theirs));
  for (const name of [theirs, ours]) {
    run('qemu-img', 'check', '-f', 'qcow2', name);
    const node = await open(name, { readOnly: true });
    const { corruptions, leaks, checkErrors, messages } = await node.check!('none');
    assert.deepEqual(
      { corruptions, leaks, checkErrors, messages },
      { corruptions: 0, leaks: 0, checkErrors: 0, messages: [] },
    );
    const copy = openFileNode(join(folder, `${name}.raw`), { create: true });
    const content = new Uint8Array(node.sizeBytes);
    await node.read(0, content);
    await copy.write(0, content);
    await copy.close();
    await node.close();
    run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', name, `${name}.raw`);
  }
}

interface Variant {
  readonly options: string;
  readonly cluster: number;
  /** Once more with a backing file. */
  readonly backed?: true;
  /**
   * Zeros are marked. Not where QEMU stores them and we need not: over what is compressed in clusters that have
   * parts, and in version 2 over what the backing file has as zeros.
   */
  readonly zeroes?: false;
  readonly packs?: false;
}

/** Between them: every cluster size, every width of counts, every way to get places beforehand. */
const VARIANTS: readonly Variant[] = [
  { options: 'compat=1.1', cluster: 2 ** 16, backed: true },
  { options: 'compat=0.10', cluster: 2 ** 16 },
  { options: 'compat=0.10,cluster_size=16k', cluster: 2 ** 14, backed: true, zeroes: false },
  { options: 'compat=0.10,cluster_size=1M', cluster: 2 ** 20 },
  { options: 'cluster_size=512', cluster: 2 ** 9, backed: true },
  { options: 'cluster_size=2M', cluster: 2 ** 21 },
  { options: 'compression_type=zstd', cluster: 2 ** 16, backed: true },
  { options: 'refcount_bits=1', cluster: 2 ** 16 },
  { options: 'refcount_bits=2,cluster_size=4k', cluster: 2 ** 12 },
  { options: 'refcount_bits=4,cluster_size=1k', cluster: 2 ** 10 },
  { options: 'refcount_bits=8,cluster_size=2k,compression_type=zstd', cluster: 2 ** 11 },
  { options: 'refcount_bits=32,cluster_size=8k', cluster: 2 ** 13 },
  { options: 'refcount_bits=64,lazy_refcounts=on', cluster: 2 ** 16, backed: true },
  { options: 'lazy_refcounts=on,cluster_size=32k', cluster: 2 ** 15 },
  { options: 'extended_l2=on', cluster: 2 ** 16, backed: true, packs: false },
  { options: 'extended_l2=on,cluster_size=16k', cluster: 2 ** 14, zeroes: false },
  { options: 'extended_l2=on,cluster_size=512k,compression_type=zstd', cluster: 2 ** 19, zeroes: false },
  { options: 'preallocation=metadata', cluster: 2 ** 16, packs: false },
  { options: 'preallocation=metadata,extended_l2=on,cluster_size=128k', cluster: 2 ** 17, packs: false },
  { options: 'preallocation=falloc,cluster_size=256k', cluster: 2 ** 18, packs: false },
  { options: 'preallocation=full', cluster: 2 ** 16, packs: false },
  { options: 'data_file', cluster: 2 ** 16, backed: true, packs: false },
  { options: 'data_file,extended_l2=on', cluster: 2 ** 16, packs: false },
  { options: 'data_file,data_file_raw=on', cluster: 2 ** 16, packs: false },
  { options: 'data_file,data_file_raw=on,preallocation=metadata', cluster: 2 ** 16, packs: false },
];

/** An external data file is the image's own. */
function optionsOf(options: string, name: string): string {
  return options.replace(/^data_file/, `data_file=${name}.data`);
}

async function createOurs(name: string, options: string, size: number, backing: string | undefined): Promise<void> {
  const values = new Map(
    optionsOf(options, name)
      .split(',')
      .map((text) => text.split('=') as [string, string]),
  );
  // What QEMU finds beside the image, it is told by its name alone.
  if (values.has('data_file')) values.set('data_file', join(folder, `${name}.data`));
  if (backing !== undefined) values.set('backing_file', backing).set('backing_fmt', 'qcow2');
  await createImage(join(folder, name), 'qcow2', values, size);
}

/** The same requests on both images, each by the program that made it or, `swapped`, by the other. */
async function replayBoth(theirs: string, ours: string, commands: readonly Command[], swapped: boolean) {
  replayTheirs(swapped ? ours : theirs, commands);
  const node = await open(swapped ? theirs : ours);
  await replayOurs(node, commands);
  await node.close();
}

for (const [index, variant] of VARIANTS.entries()) {
  const { options, cluster } = variant;
  for (const isBacked of variant.backed ? [false, true] : [false]) {
    test(`replay, ${options}${isBacked ? ', with a backing file' : ''}`, { skip }, async () => {
      const size = Math.max(cluster * (cluster > 65536 ? 4 : 40), 1_048_576 + 512);
      const kinds = (['write', 'write', 'write', 'zero', 'unmap', 'discard'] as const).filter(
        (kind) => variant.zeroes !== false || kind === 'write' || kind === 'discard',
      );
      const random = randomFrom(index * 2 + Number(isBacked) + 1);
      const commandsOf = (count: number) =>
        randomCommands(random, size, cluster, kinds, cluster > 65536 ? count / 3 : count);
      const [theirs, ours] = [`theirs-${index}-${isBacked}`, `ours-${index}-${isBacked}`];
      const base = `base-${index}`;
      if (isBacked) {
        run('qemu-img', 'create', '-q', '-f', 'qcow2', base, String(Math.floor(size / 4096) * 2048));
        replayTheirs(base, randomCommands(random, Math.floor(size / 4096) * 2048, 65536, ['write', 'zero'], 20));
      }
      const backing = isBacked ? ['-b', base, '-F', 'qcow2'] : [];
      run(
        'qemu-img',
        'create',
        '-q',
        '-f',
        'qcow2',
        ...backing,
        '-o',
        optionsOf(options, theirs),
        theirs,
        String(size),
      );
      await createOurs(ours, options, size, isBacked ? base : undefined);
      for (const swapped of [false, true]) {
        const commands = swapped || variant.packs === false ? [] : compressedCommands(size, cluster);
        commands.push(...commandsOf(45));
        await replayBoth(theirs, ours, commands, swapped);
        await assertSame(theirs, ours);
      }
      // Compressed clusters share counts of so few bits that QEMU can take no snapshot; it takes none of data files.
      if (/refcount_bits=[12]\b|data_file/.test(options)) return;
      for (const name of [theirs, ours]) run('qemu-img', 'snapshot', '-c', 'one', name);
      await replayBoth(theirs, ours, commandsOf(30), false);
      // Parts of clusters that lie between others QEMU copies with them from a snapshot, though they have no bytes.
      await assertSame(theirs, ours, !options.includes('extended_l2'));
    });
  }
}
