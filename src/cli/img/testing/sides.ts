/** vireo-img and qemu-img side by side: the same lines in two folders, and requests replayed on images of both. */
import assert from 'node:assert/strict';
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ImageNode } from '../../../block/index.ts';
import type { Random } from '../../../contract/testing/random.ts';
import type { ImgOutcome } from './img-server.ts';

export type Side = 'ours' | 'theirs';

/** False, or why tests against QEMU are skipped. */
export const skipWithoutQemu = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'qemu-img is not installed';

export interface Sides {
  path(side: Side, name: string): string;
  /** The same file on both sides. */
  put(name: string, bytes: Uint8Array): void;
  /** Copies the files of one side whose names begin with `prefix` to the other side, under `folder`. */
  send(from: Side, prefix: string, folder: string): void;
  theirs(line: string): ImgOutcome;
  ours(line: string): Promise<ImgOutcome>;
  /** Runs a line on one side; it must succeed. */
  run(side: Side, line: string): Promise<string>;
  /** Runs a line on both sides and holds ours against theirs. */
  both(line: string, normalize?: (text: string) => unknown): Promise<void>;
}

export function openSides(): Sides {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
  after(() => rmSync(folder, { recursive: true }));
  for (const side of ['ours', 'theirs']) mkdirSync(join(folder, side));
  const server = fork(fileURLToPath(new URL('./img-server.ts', import.meta.url)));
  after(() => server.kill());
  const words = (line: string) => line.split(' ').map((word) => (word === "''" ? '' : word));
  const sides: Sides = {
    path: (side, name) => join(folder, side, name),
    put(name, bytes) {
      for (const side of ['ours', 'theirs']) writeFileSync(join(folder, side, name), bytes);
    },
    send(from, prefix, name) {
      const target = join(folder, from === 'ours' ? 'theirs' : 'ours', name);
      rmSync(target, { recursive: true, force: true });
      mkdirSync(target);
      for (const file of readdirSync(join(folder, from))) {
        if (file.startsWith(prefix) && file.includes('.')) copyFileSync(join(folder, from, file), join(target, file));
      }
    },
    theirs: (line) => spawnSync('qemu-img', words(line), { cwd: join(folder, 'theirs'), encoding: 'utf8' }),
    async ours(line) {
      const answer = once(server, 'message');
      server.send({ cwd: join(folder, 'ours'), args: words(line) });
      const [outcome] = (await answer) as [ImgOutcome];
      return outcome;
    },
    async run(side, line) {
      const { status, stdout, stderr } = side === 'ours' ? await sides.ours(line) : sides.theirs(line);
      assert.equal(status, 0, `${side}: ${line}\n${stdout}${stderr}`);
      return stdout;
    },
    async both(line, normalize = (text) => text) {
      const wanted = sides.theirs(line);
      const found = await sides.ours(line);
      const shown = ({ status, stdout }: ImgOutcome) => ({ line, status, stdout: normalize(stdout) });
      assert.deepEqual(shown(found), shown(wanted), `${line}\nours: ${found.stderr}theirs: ${wanted.stderr}`);
    },
  };
  return sides;
}

/** What map tells of content, whatever the places in the file; holes of the file itself do not count. */
export function mapShape(text: string): unknown {
  const shape: Record<string, unknown>[] = [];
  for (const { offset: _, start, length, ...kind } of JSON.parse(text)) {
    if (kind.data) kind.zero = false;
    const last = shape.at(-1);
    if (last !== undefined && JSON.stringify(last.kind) === JSON.stringify(kind)) last.end = start + length;
    else shape.push({ start, end: start + length, kind });
  }
  return shape;
}

/** Without names of content that are made up, and without how much of the host's disk a file takes. */
export function placeless(text: string): string {
  return text
    .replace(/("?(?:parent[- ])?cid"?): \d+/g, '$1: N')
    .replace(/,\n +"dirty-flag": false/g, '')
    .replace(/disk size: .*|"actual-size": \d+/g, 'SIZE')
    .replace(/Image end offset: \d+|"image-end-offset": \d+/g, 'END');
}

export interface Request {
  /** `pack` writes one whole cluster, compressed. */
  readonly kind: 'write' | 'zero' | 'unmap' | 'pack';
  readonly offset: number;
  readonly length: number;
  readonly pattern: number;
}

export function randomRequests(
  random: Random,
  size: number,
  unit: number,
  kinds: readonly Request['kind'][],
  count: number,
): Request[] {
  return Array.from({ length: count }, () => {
    const kind = kinds[random.next(kinds.length)];
    const step = kind !== 'write' || random.next(3) === 0 ? unit : 512;
    const offset = random.next(Math.floor(size / step)) * step;
    const length = Math.min(size - offset, (1 + random.next(Math.ceil((unit * 2) / step))) * step);
    return { kind, offset, length, pattern: 1 + random.next(255) };
  });
}

export async function replayOurs(node: ImageNode, requests: readonly Request[]): Promise<void> {
  for (const { kind, offset, length, pattern } of requests) {
    if (kind === 'write') await node.write(offset, new Uint8Array(length).fill(pattern));
    else if (kind === 'pack') await node.writeCompressed!(offset, new Uint8Array(length).fill(pattern));
    else await node.writeZeroes!(offset, length, { mayUnmap: kind === 'unmap' });
  }
}

/** What the requests leave on a disk of zeros, or on `model` as it was. */
export function applyRequests(model: Uint8Array, requests: readonly Request[]): void {
  for (const { kind, offset, length, pattern } of requests) {
    model.fill(kind === 'write' || kind === 'pack' ? pattern : 0, offset, offset + length);
  }
}

export function replayTheirs(cwd: string, format: string, name: string, requests: readonly Request[]): void {
  const words = { write: 'write -P', zero: 'write -z', unmap: 'write -zu', pack: 'write -c -P' };
  const lines = requests.map(({ kind, offset, length, pattern }) =>
    [words[kind], ...(kind === 'write' || kind === 'pack' ? [pattern] : []), offset, length].join(' '),
  );
  const args = ['-d', 'unmap', '-t', 'unsafe', '-f', format, ...lines.flatMap((line) => ['-c', line]), name];
  const { status, stdout, stderr } = spawnSync('qemu-io', args, { cwd, encoding: 'utf8' });
  assert.equal(status, 0, `qemu-io ${name}\n${stdout}${stderr}`);
  assert.doesNotMatch(stdout + stderr, /fail|error|invalid/i);
}
