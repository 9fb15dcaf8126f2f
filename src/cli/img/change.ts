/** vireo-img resize, snapshot, rebase and commit. */

import { realpathSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { alignUp, type ImageNode, isZero, type Preallocation, readPadded, zeroRange } from '../../block/core.ts';
import { oneName, parseArguments, parseBytes } from './arguments.ts';
import { chainExtents } from './chain.ts';
import { formatDriverNamed, type OpenedImage, openImage, openOptions, resolveName, withImage } from './images.ts';
import { type Pace, paceOf } from './pipeline.ts';
import { progressBar, snapshotTable } from './text.ts';

const SHRINK_WARNING =
  "vireo-img: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.\n";

export async function resizeCommand(argv: readonly string[]): Promise<number> {
  // The last word is a size that may begin with a minus sign.
  const sizeText = argv.at(-1);
  const specs = { f: 'value', q: 'flag', shrink: 'flag', preallocation: 'value', 'image-opts': 'flag' } as const;
  const args = parseArguments(specs, argv.slice(0, -1));
  if (sizeText === undefined || args.names.length !== 1) throw new UserError('Expecting image file name and size');
  const [, sign, digits] = /^([+-]?)(.*)$/s.exec(sizeText)!;
  const amount = parseBytes(digits);
  return withImage(args.names[0], { ...openOptions(args), writable: true }, async ({ node }) => {
    const old = node.sizeBytes;
    const wanted = sign === '+' ? old + amount : sign === '-' ? old - amount : amount;
    if (wanted <= 0) throw new UserError('New image size must be positive');
    const size = node.format === 'raw' ? wanted : alignUp(wanted, 512);
    if (size < old && !args.has('shrink')) {
      process.stderr.write(SHRINK_WARNING);
      throw new UserError('Use the --shrink option to perform a shrink operation.');
    }
    const mode = preallocationNamed(args.get('preallocation') ?? 'off');
    if (mode !== 'off' && size < old) throw new UserError('Preallocation can only be used for growing images');
    if (node.resize === undefined) throw new UserError(`Image format driver ${node.format} cannot resize this image`);
    await node.resize(size);
    if (mode !== 'off') await preallocateNew(node, mode, old);
    else if (size > old && node.info.specific?.data['data-file-raw'] === true)
      await preallocateNew(node, 'metadata', old);
    if (!args.has('q')) process.stdout.write('Image resized.\n');
    return 0;
  });
}

const MODES: readonly Preallocation[] = ['off', 'metadata', 'falloc', 'full'];

function preallocationNamed(text: string): Preallocation {
  const mode = MODES.find((candidate) => candidate === text);
  if (mode === undefined) throw new UserError(`Invalid parameter '${text}': --preallocation is ${MODES.join(', ')}`);
  return mode;
}

/** Gives what was added to a disk its place. */
async function preallocateNew(node: ImageNode, mode: Preallocation, oldBytes: number): Promise<void> {
  const { format, sizeBytes } = node;
  if (node.preallocate !== undefined) return node.preallocate(mode, oldBytes);
  if (format !== 'raw' || mode === 'metadata') {
    throw new UserError(`Preallocation mode '${mode}' is not supported for images of format ${format}`);
  }
  if (mode === 'falloc') return zeroRange(node, oldBytes, sizeBytes - oldBytes);
  const zeros = new Uint8Array(COPY_BYTES);
  for (let at = oldBytes; at < sizeBytes; at += zeros.length) {
    await node.write(at, zeros.subarray(0, Math.min(zeros.length, sizeBytes - at)));
  }
}

export async function snapshotCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    l: 'flag',
    a: 'value',
    c: 'value',
    d: 'value',
    q: 'flag',
    U: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const actions = ['l', 'a', 'c', 'd'].filter((letter) => args.has(letter));
  if (actions.length > 1) throw new UserError("Cannot mix '-l', '-a', '-c', '-d'");
  const action = actions[0] ?? 'l';
  const options = { ...openOptions(args), writable: action !== 'l', withoutBacking: true };
  return withImage(oneName(args), options, async ({ filename, node }) => {
    const { snapshots } = node;
    const name = args.get(action) ?? '';
    if (action === 'l') {
      const list = snapshots?.list() ?? [];
      if (list.length > 0) process.stdout.write(`Snapshot list:\n${snapshotTable(list)}`);
      return 0;
    }
    if (snapshots === undefined)
      throw new UserError(`${filename}: images of format ${node.format} cannot have snapshots`);
    const millis = Date.now();
    const date = { dateSeconds: Math.floor(millis / 1000), dateNanos: (millis % 1000) * 1e6 };
    if (action === 'c') await snapshots.create({ name, ...date });
    else if (action === 'a') await snapshots.apply(name);
    else await snapshots.delete(name);
    return 0;
  });
}

export async function rebaseCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    F: 'value',
    b: 'value',
    t: 'value',
    T: 'value',
    u: 'flag',
    p: 'flag',
    q: 'flag',
    U: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const name = oneName(args);
  const backing = args.get('b');
  if (backing === undefined && !args.has('u')) throw new UserError('Use backing_file (-b) option');
  const format = args.get('F');
  if (format !== undefined) formatDriverNamed(format);
  const isUnsafe = args.has('u');
  const options = { ...openOptions(args), writable: true, withoutBacking: isUnsafe };
  return withImage(name, options, async (image) => {
    const { node } = image;
    if (node.changeBacking === undefined)
      throw new UserError(`${name}: an image of format ${node.format} cannot be given another backing file`);
    if (!isUnsafe) {
      const progress = progressBar(args.has('p') && !args.has('q'));
      const next = backing
        ? await openImage(resolveName(image.filename, backing), format === undefined ? {} : { format })
        : undefined;
      await keepDifferences(image, next, (fraction) => progress.report(fraction));
      await next?.node.close();
      progress.end();
    }
    const reference = backing ? { filename: backing, ...(format === undefined ? {} : { format }) } : undefined;
    await node.changeBacking(reference);
    return 0;
  });
}

/** Writes to the image what it takes from its backing file and the next one does not have. */
async function keepDifferences(image: OpenedImage, next: OpenedImage | undefined, report: (fraction: number) => void) {
  const { node } = image;
  const unit = node.limits.preferredBytes;
  for (let offset = 0; offset < node.sizeBytes; ) {
    const [extent] = await node.extents(offset, node.sizeBytes - offset);
    const length = extent.allocated ? extent.length : Math.min(extent.length, Math.max(unit, 2 ** 20));
    if (!extent.allocated) {
      const [old, wanted] = [new Uint8Array(length), new Uint8Array(length)];
      await node.read(offset, old);
      if (next !== undefined) await readPadded(next.node, offset, wanted);
      for (let at = 0; at < length; at += unit) {
        const part = old.subarray(at, at + unit);
        if (Buffer.compare(part, wanted.subarray(at, at + unit)) === 0) continue;
        if (isZero(part)) await node.writeZeroes!(offset + at, part.length, { mayUnmap: true });
        else await node.write(offset + at, part);
      }
    }
    offset += length;
    report(offset / node.sizeBytes);
  }
}

const COPY_BYTES = 2 ** 20;

export async function commitCommand(argv: readonly string[]): Promise<number> {
  const specs = {
    f: 'value',
    b: 'value',
    t: 'value',
    r: 'value',
    d: 'flag',
    p: 'flag',
    q: 'flag',
    'image-opts': 'flag',
  } as const;
  const args = parseArguments(specs, argv);
  const name = oneName(args);
  const pace = paceOf(args.get('r'));
  // The one that is emptied in the end, held so that nobody else changes it meanwhile.
  await withImage(name, { ...openOptions(args), writable: true, withoutBacking: true }, async (top) => {
    const { format: _, ...shared } = openOptions(args);
    const chain = await openImage(name, { ...openOptions(args), forceShare: true });
    const progress = progressBar(args.has('p') && !args.has('q'));
    try {
      if (chain.backings.length === 0) throw new UserError('Image does not have a backing file');
      const depth = baseDepth(chain, args.get('b'));
      const { filename, node } = chain.backings[depth];
      const base = await openImage(filename, { ...shared, imageOpts: false, format: node.format, writable: true });
      try {
        const above = { ...chain, backings: chain.backings.slice(0, depth) };
        await commitTo(base.node, above, pace, (fraction) => progress.report(fraction));
      } finally {
        await base.node.close();
      }
      // What lies between would show through an emptied image.
      if (!args.has('d') && depth === 0) await top.node.makeEmpty?.();
    } finally {
      await chain.node.close();
    }
    progress.end();
  });
  if (!args.has('q')) process.stdout.write('Image committed.\n');
  return 0;
}

/** How far down the chain the image with a name is; without a name, the nearest. */
function baseDepth(chain: OpenedImage, name: string | undefined): number {
  if (name === undefined) return 0;
  const wanted = [name, resolveName(chain.filename, name)].map(realName);
  const depth = chain.backings.findIndex(({ filename }) => wanted.includes(realName(filename)));
  if (depth < 0) throw new UserError(`Did not find '${name}' in the backing chain of '${chain.filename}'`);
  return depth;
}

function realName(name: string): string {
  try {
    return realpathSync(name);
  } catch {
    return name;
  }
}

/** Writes to `base` all that the images above it hold. */
async function commitTo(
  base: ImageNode,
  above: OpenedImage,
  pace: Pace,
  report: (fraction: number) => void,
): Promise<void> {
  const { node } = above;
  if (node.sizeBytes > base.sizeBytes) {
    if (base.resize === undefined) throw new UserError('the base image is smaller, and cannot grow');
    await base.resize(node.sizeBytes);
  }
  const buffer = new Uint8Array(COPY_BYTES);
  for await (const { offset, length, allocated, zero } of chainExtents(above, 0, node.sizeBytes)) {
    if (!allocated) continue;
    if (zero) {
      await zeroRange(base, offset, length, true);
      continue;
    }
    for (let done = 0; done < length; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, length - done));
      await pace(part.length);
      await node.read(offset + done, part);
      await base.write(offset + done, part);
    }
    report((offset + length) / node.sizeBytes);
  }
  await base.flush();
}
