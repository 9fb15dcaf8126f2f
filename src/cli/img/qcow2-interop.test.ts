/** Our qcow2 against QEMU's: the same requests on both sides must leave the same image. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ImageNode, type OpenOptions, qcow2, raw } from '../../block/index.ts';
import { type Random, randomFrom } from '../../contract/testing/random.ts';
import { nodeCompression, openFileNode } from '../../host/node/index.ts';

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
    resolveDataFile: async (filename) => openFileNode(join(folder, filename)),
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

async function assertSame(theirs: string, ours: string): Promise<void> {
  run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', theirs, ours);
  assert.deepEqual(mapOf(ours), mapOf(theirs));
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

const KINDS = ['write', 'write', 'write', 'zero', 'unmap', 'discard'] as const;
const VARIANTS: readonly { options: string; cluster: number }[] = [
  { options: 'compat=1.1', cluster: 65536 },
  { options: 'compat=0.10', cluster: 65536 },
  { options: 'compat=1.1,cluster_size=512', cluster: 512 },
  { options: 'compat=1.1,cluster_size=2M', cluster: 2 ** 21 },
  { options: 'compression_type=zstd', cluster: 65536 },
  { options: 'refcount_bits=1', cluster: 65536 },
  { options: 'refcount_bits=2,cluster_size=4k', cluster: 4096 },
  { options: 'refcount_bits=64,lazy_refcounts=on', cluster: 65536 },
  { options: 'extended_l2=on', cluster: 65536 },
  { options: 'preallocation=metadata', cluster: 65536 },
];

for (const [index, { options, cluster }] of VARIANTS.entries()) {
  for (const isBacked of [false, true]) {
    if (isBacked && /preallocation|2M/.test(options)) continue;
    test(`replay, ${options}${isBacked ? ', with a backing file' : ''}`, { skip }, async () => {
      const size = Math.max(cluster * (cluster > 65536 ? 4 : 40), 1_048_576 + 512);
      const random = randomFrom(index * 2 + Number(isBacked) + 1);
      const [theirs, ours] = [`theirs-${index}-${isBacked}`, `ours-${index}-${isBacked}`];
      const base = `base-${index}`;
      if (isBacked) {
        run('qemu-img', 'create', '-q', '-f', 'qcow2', base, String(Math.floor(size / 4096) * 2048));
        replayTheirs(base, randomCommands(random, Math.floor(size / 4096) * 2048, 65536, ['write', 'zero'], 20));
      }
      const backing = isBacked ? ['-b', base, '-F', 'qcow2'] : [];
      for (const name of [theirs, ours]) {
        run('qemu-img', 'create', '-q', '-f', 'qcow2', ...backing, '-o', options, name, String(size));
      }
      for (let round = 0; round < 2; round += 1) {
        const isFirst = round === 0 && !options.includes('preallocation');
        const commands = isFirst ? compressedCommands(size, cluster) : [];
        commands.push(...randomCommands(random, size, cluster, KINDS, cluster > 65536 ? 20 : 60));
        replayTheirs(theirs, commands);
        const node = await open(ours);
        await replayOurs(node, commands);
        await node.close();
        await assertSame(theirs, ours);
      }
      // Compressed clusters share counts of so few bits that QEMU can take no snapshot.
      if (/refcount_bits=[12]\b/.test(options)) return;
      for (const name of [theirs, ours]) run('qemu-img', 'snapshot', '-c', 'one', name);
      const commands = randomCommands(random, size, cluster, KINDS, cluster > 65536 ? 10 : 40);
      replayTheirs(theirs, commands);
      const node = await open(ours);
      await replayOurs(node, commands);
      await node.close();
      await assertSame(theirs, ours);
    });
  }
}
