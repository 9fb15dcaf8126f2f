/** vireo-img convert and dd. */
import { existsSync, unlinkSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { alignUp, type BitmapInfo } from '../../block/core.ts';
import { fileCopier } from '../../host/node/block.ts';
import { cacheModeNamed } from '../drivers/cache.ts';
import { isProtocolName } from '../drivers/names.ts';
import { parseObjects } from '../drivers/objects.ts';
import { type Arguments, parseArguments, parseBytes } from './arguments.ts';
import { type CopyOptions, copyImage } from './copy.ts';
import { bitmapsToCopy, copyBitmaps } from './copy-bitmaps.ts';
import { checkCreateValues, createImage, createValues, optionsHelp } from './create.ts';
import { secretOptions } from './creators.ts';
import { filenameOf, formatDriverNamed, type OpenedImage, openImage, openOptions } from './images.ts';
import { paceOf } from './pipeline.ts';
import { progressBar } from './text.ts';

const PARALLEL_MAX = 16;
const DEFAULT_SPARSE_BYTES = 4096;

const SPECS = {
  f: 'value',
  O: 'value',
  B: 'value',
  F: 'value',
  o: 'list',
  l: 'value',
  S: 'value',
  m: 'value',
  t: 'value',
  T: 'value',
  c: 'flag',
  p: 'flag',
  q: 'flag',
  n: 'flag',
  W: 'flag',
  U: 'flag',
  C: 'flag',
  'image-opts': 'flag',
  'target-image-opts': 'flag',
  'target-is-zero': 'flag',
  bitmaps: 'flag',
  'skip-broken-bitmaps': 'flag',
  salvage: 'flag',
  r: 'value',
} as const;

export async function convertCommand(argv: readonly string[]): Promise<number> {
  const args = parseArguments(SPECS, argv);
  const targetName = args.names.at(-1);
  const isTargetGiven = args.has('n');
  if (args.has('target-image-opts') && !isTargetGiven)
    throw new UserError('--target-image-opts requires use of -n flag');
  if (args.has('target-is-zero') && !isTargetGiven) throw new UserError('--target-is-zero requires use of -n flag');
  const formatName = args.get('O') ?? 'raw';
  if (args.all('o').some((text) => text === 'help')) {
    process.stdout.write(await optionsHelp(formatName));
    return 0;
  }
  checkFlags(args);
  if (args.names.length < 2 || targetName === undefined) throw new UserError('Must specify image file name');
  formatDriverNamed(formatName);
  const sources: OpenedImage[] = [];
  try {
    for (const name of args.names.slice(0, -1)) sources.push(await openImage(name, sourceOptions(args)));
    await convert(args, sources, targetName, formatName);
  } finally {
    for (const source of sources) await source.node.close();
  }
  return 0;
}

/** Refuses what cannot be asked for together. */
function checkFlags(args: Arguments): void {
  if (args.has('C') && args.has('S')) throw new UserError('Cannot enable copy offloading when -S is used');
  if (args.has('C') && args.has('c')) throw new UserError('Cannot enable copy offloading when -c is used');
  if (args.has('skip-broken-bitmaps') && !args.has('bitmaps')) {
    throw new UserError('Use of --skip-broken-bitmaps requires --bitmaps');
  }
  if (args.has('bitmaps') && args.names.length > 2) {
    throw new UserError('Copying bitmaps only possible with single source');
  }
}

function sourceOptions(args: Arguments) {
  const snapshot = args.get('l')?.replace(/^snapshot\.(id|name)=/, '');
  const cache = cacheModeNamed(args.get('T') ?? 'writeback', 'source cache option');
  return { ...openOptions(args), cache, ...(snapshot === undefined ? {} : { snapshot }) };
}

async function convert(args: Arguments, sources: readonly OpenedImage[], targetName: string, formatName: string) {
  const compress = args.has('c');
  const values = createValues(args, 'B');
  const given = values.get('size');
  values.delete('size');
  await checkCreateValues(formatName, values);
  const copied = sources.reduce((sum, { node }) => sum + node.sizeBytes, 0);
  const size = given === undefined ? alignUp(copied, 512) : alignUp(parseBytes(given), 512);
  const isMade = !args.has('n');
  const topOnly = values.has('backing_file');
  if (topOnly && sources.length > 1)
    throw new UserError('Having a backing file for the target makes no sense when concatenating multiple input images');
  if (compress && (values.get('preallocation') ?? 'off') !== 'off')
    throw new UserError('Compression and preallocation not supported at the same time');
  const sparse = args.get('S');
  const options: CopyOptions = {
    sparseBytes: sparse === undefined ? DEFAULT_SPARSE_BYTES : parseBytes(sparse, 'sparse size'),
    targetIsZero: isMade && isZeroWhenMade(targetName, formatName) ? !topOnly : args.has('target-is-zero'),
    compress,
    pace: paceOf(args.get('r')),
    topOnly,
    parallel: parallelOf(args),
    anyOrder: args.has('W'),
    ...(args.has('salvage') ? { onUnreadable: tellUnreadable } : {}),
    onProgress: () => {},
  };
  const path = filenameOf(targetName, args.has('target-image-opts'));
  const bitmaps = args.has('bitmaps') ? bitmapsToCopy(sources[0], args.has('skip-broken-bitmaps')) : [];
  if (args.has('bitmaps') && isMade && formatName !== 'qcow2') {
    throw new UserError(`Format driver '${formatName}' does not support bitmaps`);
  }
  const isNew = isMade && !isProtocolName(path) && !existsSync(path);
  if (isMade) await createImage(path, formatName, values, size, parseObjects(args.all('object')));
  try {
    const extras = { formatOptions: secretOptions(formatName, values), bitmaps };
    await fill(args, sources, targetName, formatName, copied, options, extras);
  } catch (error) {
    if (isNew) unlinkSync(path);
    throw error;
  }
}

/** An export keeps what it had, and a new LUKS volume reads as noise. */
function isZeroWhenMade(targetName: string, formatName: string): boolean {
  return !isProtocolName(targetName) && formatName !== 'luks';
}

async function fill(
  args: Arguments,
  sources: readonly OpenedImage[],
  targetName: string,
  formatName: string,
  total: number,
  options: CopyOptions,
  { formatOptions, bitmaps }: { formatOptions: ReadonlyMap<string, string>; bitmaps: readonly BitmapInfo[] },
): Promise<void> {
  const progress = progressBar(args.has('p') && !args.has('q'));
  const isOpts = args.has('target-image-opts');
  const target = await openImage(targetName, {
    ...(isOpts ? { imageOpts: true } : { format: formatName }),
    writable: true,
    objects: parseObjects(args.all('object')),
    formatOptions,
    cache: cacheModeNamed(args.get('t') ?? 'unsafe'),
  });
  const compress = options.compress || target.node.info.needsCompressedWrites === true;
  if (compress && target.node.writeCompressed === undefined) {
    await target.node.close();
    throw new UserError('Compression not supported for this file format');
  }
  try {
    if (target.node.sizeBytes < total) throw new UserError('Output file is smaller than input file');
    progress.report(0);
    let base = 0;
    const copier = args.has('C') ? copierFor(targetName, target, sources) : undefined;
    for (const source of sources) {
      const from = base;
      await copyImage(source, target.node, base, {
        ...options,
        compress,
        onProgress: (done) => progress.report((from + done) / total),
      });
      base += source.node.sizeBytes;
    }
    copier?.close();
    if (bitmaps.length > 0) {
      if (target.node.bitmaps === undefined) {
        throw new UserError(`Format driver '${target.node.format}' does not support bitmaps`);
      }
      await copyBitmaps(sources[0].node.bitmaps!, target.node.bitmaps, bitmaps);
    }
  } finally {
    await target.node.close();
  }
  progress.end();
}

/** Only raw files can take bytes as they lie in others, and only of images that are one file each. */
function copierFor(targetName: string, target: OpenedImage, sources: readonly OpenedImage[]) {
  const links = sources.flatMap((source) => [source, ...source.backings]);
  const isPlain = ({ node, filename }: OpenedImage) =>
    (node.format === 'raw' || node.format === 'qcow2') &&
    node.info.specific?.data['data-file'] === undefined &&
    existsSync(filename);
  const canCopy = target.node.format === 'raw' && existsSync(targetName) && links.every(isPlain);
  return canCopy ? fileCopier(targetName) : undefined;
}

function tellUnreadable(offset: number, error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error);
  process.stderr.write(`vireo-img: warning: error while reading offset ${offset}: ${reason}\n`);
}

function parallelOf(args: Arguments): number {
  const text = args.get('m') ?? '8';
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > PARALLEL_MAX) {
    throw new UserError(`Invalid number of coroutines. Allowed number of coroutines is between 1 and ${PARALLEL_MAX}`);
  }
  return value;
}

const DD_KEYS = ['if', 'of', 'bs', 'count', 'skip'] as const;

export async function ddCommand(argv: readonly string[]): Promise<number> {
  const args = parseArguments({ f: 'value', O: 'value', U: 'flag', 'image-opts': 'flag' }, argv);
  const values = new Map<string, string>();
  for (const name of args.names) {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(name) ?? [];
    if (!DD_KEYS.some((known) => known === key)) throw new UserError(`Unrecognized operand: '${name}'`);
    values.set(key, value);
  }
  const [input, output] = [values.get('if'), values.get('of')];
  if (input === undefined || output === undefined) throw new UserError('Must specify both input and output file names');
  const block = parseBytes(values.get('bs') ?? '512', 'number: bs');
  if (block === 0) throw new UserError('Invalid number: bs must be at least 1');
  const formatName = args.get('O') ?? 'raw';
  const source = await openImage(input, openOptions(args));
  try {
    const skip = Math.min(source.node.sizeBytes, parseBytes(values.get('skip') ?? '0', 'number: skip') * block);
    const rest = source.node.sizeBytes - skip;
    const count = values.get('count');
    const length = count === undefined ? rest : Math.min(rest, parseBytes(count, 'number: count') * block);
    await createImage(output, formatName, new Map(), formatName === 'raw' ? length : alignUp(length, 512));
    const target = await openImage(output, { format: formatName, writable: true, cache: cacheModeNamed('unsafe') });
    const bytes = new Uint8Array(Math.max(block, 2 ** 20));
    for (let done = 0; done < length; done += bytes.length) {
      const part = bytes.subarray(0, Math.min(bytes.length, length - done));
      await source.node.read(skip + done, part);
      await target.node.write(done, part);
    }
    await target.node.close();
  } finally {
    await source.node.close();
  }
  return 0;
}
