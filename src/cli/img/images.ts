/** Opens images by name: which format, which backing files, from where. */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { UserError } from '../../base/index.ts';
import { type BackingReference, type Format, type ImageNode, qcow2, raw, vdi, vhd } from '../../block/index.ts';
import { nodeCompression, openFileNode } from '../../host/node/index.ts';
import { type Arguments, parseKeyValues } from './arguments.ts';

export const FORMATS: readonly Format[] = [qcow2, vdi, vhd, raw];
const CHAIN_MAX = 200;
const PROBE_BYTES = 2048;

export interface OpenImageOptions {
  /** Without it, the format is found from the content. */
  readonly format?: string;
  readonly writable?: boolean;
  /** Leave the backing file alone. */
  readonly withoutBacking?: boolean;
  /** No locks: the image may be in use (-U). */
  readonly forceShare?: boolean;
  readonly snapshot?: string;
  readonly forCheck?: boolean;
  /** Flushes do nothing (qemu-img's cache mode `unsafe`). */
  readonly unsafe?: boolean;
  /** `filename` is `driver=…` key and value pairs. */
  readonly imageOpts?: boolean;
}

/** An open image, by whose name it may be spoken of. */
export interface OpenedImage {
  readonly filename: string;
  readonly node: ImageNode;
  /** The images below, from the nearest on. */
  readonly backings: readonly OpenedImage[];
}

export function formatNamed(name: string): Format {
  const found = FORMATS.find((format) => format.name === name);
  if (found === undefined) throw new UserError(`Unknown driver '${name}'`);
  return found;
}

/** Takes `json:{…}` and `driver=…` names apart. @throws UserError for keys that are not known */
export function parseImageName(name: string, imageOpts = false): { filename: string; format?: string } {
  if (!imageOpts && !name.startsWith('json:')) return { filename: name.startsWith('file:') ? name.slice(5) : name };
  const options = imageOpts ? parseKeyValues(name) : flatten(parseJson(name.slice('json:'.length)));
  const take = (key: string) => {
    const value = options.get(key);
    options.delete(key);
    return value;
  };
  let format = take('driver');
  let filename = take('file.filename') ?? take('filename');
  const protocol = take('file.driver');
  if (protocol !== undefined && protocol !== 'file') throw new UserError(`Unknown driver '${protocol}'`);
  if (format === 'file') format = undefined;
  filename ??= take('file');
  const [unknown] = options.keys();
  if (unknown !== undefined) throw new UserError(`${name}: option '${unknown}' is not known`);
  if (filename === undefined) throw new UserError(`${name}: a file name is missing: file.filename=NAME`);
  return format === undefined ? { filename } : { filename, format };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UserError(`json:${text}: not valid JSON`);
  }
}

function flatten(value: unknown, prefix = ''): Map<string, string> {
  const entries: [string, string][] = [];
  for (const [key, item] of Object.entries(value ?? {})) {
    if (typeof item === 'object') entries.push(...flatten(item, `${prefix}${key}.`));
    else entries.push([`${prefix}${key}`, String(item)]);
  }
  return new Map(entries);
}

/** Where a name inside an image points to: relative ones start at that image's folder. */
export function resolveName(image: string, name: string): string {
  return isAbsolute(name) || name.startsWith('json:') ? name : join(dirname(image), name);
}

/** Opens an image with all that it stands on. @throws UserError that names the file */
export async function openImage(name: string, options: OpenImageOptions = {}): Promise<OpenedImage> {
  return openLink(name, options, []);
}

async function openLink(name: string, options: OpenImageOptions, above: readonly string[]): Promise<OpenedImage> {
  const parsed = parseImageName(name, options.imageOpts ?? false);
  const { filename } = parsed;
  const file = openFileNode(filename, {
    readOnly: options.writable !== true,
    io: 'blocking',
    lock: options.forceShare !== true,
    flushes: options.unsafe === true ? 'ignore' : 'honour',
  });
  try {
    const real = realpathSync(filename);
    if (above.includes(real))
      throw new UserError(`Could not open '${filename}': its chain of backing files comes back to itself`);
    if (above.length >= CHAIN_MAX)
      throw new UserError(`Could not open '${filename}': more than ${CHAIN_MAX} backing files`);
    const wanted = parsed.format ?? options.format;
    const format = wanted === undefined ? await probe(file, filename) : formatNamed(wanted);
    const backings: OpenedImage[] = [];
    const node = await format.open(file, {
      name: filename,
      readOnly: options.writable !== true,
      compression: nodeCompression,
      withoutBacking: options.withoutBacking ?? false,
      forCheck: options.forCheck ?? false,
      ...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
      resolveDataFile: async (dataFile) =>
        openFileNode(resolveName(filename, dataFile), { readOnly: options.writable !== true, io: 'blocking' }),
      async resolveBacking(reference) {
        const { forceShare = false } = options;
        const backing = await openBacking(filename, reference, { forceShare }, [...above, real]);
        backings.push(backing, ...backing.backings);
        return backing.node;
      },
    });
    return { filename, node, backings };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openBacking(
  image: string,
  { filename, format }: BackingReference,
  options: OpenImageOptions,
  above: readonly string[],
): Promise<OpenedImage> {
  try {
    return await openLink(resolveName(image, filename), format === undefined ? options : { ...options, format }, above);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`Could not open backing file: ${error.message}`);
  }
}

async function probe(
  file: { sizeBytes: number; read(offset: number, target: Uint8Array): Promise<void> },
  name: string,
) {
  const head = new Uint8Array(Math.min(PROBE_BYTES, file.sizeBytes));
  await file.read(0, head);
  return FORMATS.reduce((best, format) => (format.probe(head, name) > best.probe(head, name) ? format : best));
}

/** Options of commands that open one image. */
export function openOptions(args: Arguments): OpenImageOptions {
  const format = args.get('f');
  const imageOpts = args.has('image-opts');
  return { ...(format === undefined ? {} : { format }), forceShare: args.has('U'), imageOpts };
}

/** Opens an image, does something with it, and closes it in any case. */
export async function withImage<T>(
  name: string,
  options: OpenImageOptions,
  body: (image: OpenedImage) => Promise<T>,
): Promise<T> {
  const image = await openImage(name, options);
  try {
    return await body(image);
  } finally {
    await image.node.close();
  }
}
