/** Opens the image that vireo-nbd exports, with the filters and contexts that its options ask for. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../base/index.ts';
import {
  bitmapContext,
  createQcow2,
  depthContext,
  detectZeroesFilter,
  findPartition,
  flatFilter,
  type NbdContext,
  type NbdExport,
  passThrough,
  qcow2,
  windowFilter,
} from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { nodeCompression, openFileNode } from '../../host/node/index.ts';
import { cacheModeNamed } from '../drivers/cache.ts';
import type { Objects } from '../drivers/objects.ts';
import { parseBytes } from '../img/arguments.ts';
import { type OpenedImage, openImage } from '../img/images.ts';
import type { NbdArguments } from './options.ts';

const NAME_BYTES_MAX = 4096;

export interface OpenedExport {
  readonly disk: NbdExport;
  close(): Promise<void>;
}

/** @throws UserError that names the image or the option */
export async function openExport(args: NbdArguments, objects: Objects, isShared: boolean): Promise<OpenedExport> {
  const name = args.get('export-name') ?? '';
  const description = args.get('description');
  for (const [what, text] of [
    ['export name', name],
    ['description', description ?? ''],
  ]) {
    if (Buffer.byteLength(text) > NAME_BYTES_MAX)
      throw new UserError(`the ${what} has more than ${NAME_BYTES_MAX} bytes`);
  }
  const snapshot = args.get('load-snapshot')?.replace(/^snapshot\.(id|name)=/, '');
  const isTemporary = args.has('snapshot');
  const readOnly = args.has('read-only') || snapshot !== undefined;
  const cache = cacheMode(args);
  const format = args.get('format');
  const image = await openImage(args.names[0], {
    ...(format === undefined ? {} : { format }),
    ...(snapshot === undefined ? {} : { snapshot }),
    writable: !readOnly && !isTemporary,
    imageOpts: args.has('image-opts'),
    cache: cacheModeNamed(cache),
    io: 'threads',
    objects,
  });
  try {
    const contexts = await contextsOf(args, image);
    const top = isTemporary && !readOnly ? await temporaryOver(image.node) : { node: image.node };
    const node = await filtered(top.node, args);
    return {
      disk: { name, node, readOnly, multiConnection: isShared, contexts, ...(description ? { description } : {}) },
      async close() {
        await node.close();
        if ('folder' in top) rmSync(top.folder!, { recursive: true });
      },
    };
  } catch (error) {
    await image.node.close();
    throw error;
  }
}

const CACHE_MODES = ['writeback', 'none', 'writethrough', 'directsync', 'unsafe'] as const;

function cacheMode(args: NbdArguments): (typeof CACHE_MODES)[number] {
  if (args.has('nocache') && args.has('cache')) throw new UserError('-n and --cache can only be specified once');
  args.choice('aio', ['threads', 'native', 'io_uring']);
  return args.choice('cache', CACHE_MODES);
}

async function contextsOf(args: NbdArguments, { node, filename }: OpenedImage): Promise<NbdContext[]> {
  const contexts: NbdContext[] = args.has('allocation-depth') ? [depthContext(node)] : [];
  for (const bitmap of args.all('bitmap')) {
    const info = node.bitmaps?.list().find(({ name }) => name === bitmap);
    if (node.bitmaps === undefined || info === undefined) {
      throw new UserError(`Bitmap '${bitmap}' is not found in ${filename}`);
    }
    if (info.isEnabled && !node.readOnly) {
      throw new UserError(`Enabled bitmap '${bitmap}' incompatible with a writable export: disable it, or use -r`);
    }
    contexts.push(bitmapContext(bitmap, node.sizeBytes, await node.bitmaps.dirtyRanges(bitmap)));
  }
  return contexts;
}

/** Writes go to an image of their own that nobody keeps. */
async function temporaryOver(below: BlockNode): Promise<{ node: BlockNode; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-nbd-'));
  const path = join(folder, 'snapshot.qcow2');
  const file = openFileNode(path, { create: true, flushes: 'ignore' });
  await createQcow2(file, { sizeBytes: below.sizeBytes, backing: { filename: 'below' } });
  const node = await qcow2.open(file, { name: path, compression: nodeCompression, resolveBacking: async () => below });
  return { node, folder };
}

async function filtered(image: BlockNode, args: NbdArguments): Promise<BlockNode> {
  let node = flatFilter(image);
  const discard = args.choice('discard', ['ignore', 'unmap', 'off', 'on']);
  const detect = args.choice('detect-zeroes', ['off', 'on', 'unmap']);
  const passesDiscard = discard === 'unmap' || discard === 'on';
  if (detect === 'unmap' && !passesDiscard) {
    throw new UserError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap');
  }
  if (detect !== 'off') node = detectZeroesFilter(node, { mayUnmap: detect === 'unmap' });
  if (!passesDiscard) {
    node = passThrough(node, {
      discard: async () => {},
      writeZeroes: (offset, length) => image.writeZeroes!(offset, length, { mayUnmap: false }),
    });
  }
  if ((args.has('partition') || args.has('offset')) && (args.has('bitmap') || args.has('allocation-depth'))) {
    throw new UserError('-A and -B tell of the whole image: they cannot be used with -o or -P');
  }
  if (args.has('partition') && args.has('offset')) throw new UserError('-P and -o cannot be used together');
  if (args.has('partition')) return windowFilter(node, await findPartition(node, args.number('partition', 1, 128, 1)));
  const offset = args.get('offset');
  if (offset === undefined) return node;
  const offsetBytes = parseBytes(offset, 'offset');
  if (offsetBytes > node.sizeBytes) {
    throw new UserError(`Offset (${offsetBytes}) has to be smaller than the image size (${node.sizeBytes})`);
  }
  return windowFilter(node, { offsetBytes });
}
