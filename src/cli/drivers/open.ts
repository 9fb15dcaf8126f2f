/** Opens images by name: which format, which backing files, from where. */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { UserError } from '../../base/index.ts';
import { type BackingReference, type Format, type ImageNode, type OpenOptions, raw } from '../../block/core.ts';
import type { BlockNode } from '../../contract/index.ts';
import { nodeCompression, nodeCrypto } from '../../host/node/block.ts';
import { parseImageName } from './names.ts';
import { type Objects, parseObjects } from './objects.ts';
import { type DriverOptions, refuseRest, take, takeChild } from './options.ts';
import { probeFormat } from './probe.ts';
import { type CacheMode, filterNamed, formatDriverNamed, type OpenHow, protocolNamed } from './registry.ts';

/** Images that stand on one another, at most. */
const CHAIN_MAX = 200;
/** Nodes of one image's options inside one another, at most. */
const NESTING_MAX = 32;
export const WRITE_BACK: CacheMode = { direct: false, noFlush: false, writeThrough: false };

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
  readonly cache?: CacheMode;
  /** Default `mixed`: right for programs that do nothing else meanwhile. */
  readonly io?: OpenHow['io'];
  /** `filename` is `driver=…` key and value pairs. */
  readonly imageOpts?: boolean;
  /** An image whose format nobody stated may not refer to other files: a guest can write any header into a raw disk. */
  readonly distrustProbed?: boolean;
  /** Options of the format beyond those in the name, e.g. the secret of an image that was just made. */
  readonly formatOptions?: ReadonlyMap<string, string>;
  /** What the command line's `--object` options made. */
  readonly objects?: Objects;
}

/** An open image, by whose name it may be spoken of. */
export interface OpenedImage {
  readonly filename: string;
  readonly node: ImageNode;
  /** The images below, from the nearest on. */
  readonly backings: readonly OpenedImage[];
}

/** Where a name inside an image points to: relative ones start at that image's folder. */
export function resolveName(image: string, name: string): string {
  const isPlain = !/^[a-z][a-z0-9+.-]*:/i.test(name);
  return isAbsolute(name) || !isPlain ? name : join(dirname(image), name);
}

/** Opens an image with all that it stands on. @throws UserError that names the file */
export async function openImage(name: string, options: OpenImageOptions = {}): Promise<OpenedImage> {
  return openLink(name, options, []);
}

/** The file that a name leads to, or the name itself where it is no file. */
export function filenameOf(name: string, imageOpts = false): string {
  return nameIn(parseImageName(name, imageOpts)) ?? name;
}

/** The name of the file at the bottom of a tree of options. */
function nameIn(options: DriverOptions): string | undefined {
  const keys = [...options.keys()].filter((key) => /^((file|image)\.)*(filename|file)$/.test(key));
  return keys.length === 0 ? undefined : options.get(keys[0]);
}

async function openLink(name: string, options: OpenImageOptions, above: readonly string[]): Promise<OpenedImage> {
  const parsed = parseImageName(name, options.imageOpts ?? false);
  for (const [key, value] of options.formatOptions ?? []) parsed.set(key, value);
  const filename = nameIn(parsed) ?? name;
  const identity = realOf(filename);
  if (above.includes(identity))
    throw new UserError(`Could not open '${filename}': its chain of backing files comes back to itself`);
  if (above.length >= CHAIN_MAX)
    throw new UserError(`Could not open '${filename}': more than ${CHAIN_MAX} backing files`);
  const how: OpenHow = {
    readOnly: options.writable !== true,
    lock: options.forceShare !== true,
    cache: options.cache ?? WRITE_BACK,
    io: options.io ?? 'mixed',
    objects: options.objects ?? parseObjects([]),
  };
  const backings: OpenedImage[] = [];
  const link: Link = { filename, options, above: [...above, identity], how, backings, depth: 0 };
  const node = await openNode(parsed, link, options.format);
  return { filename, node, backings };
}

/** An image of a chain while it is opened. */
interface Link {
  readonly filename: string;
  readonly options: OpenImageOptions;
  /** Names of the images above, and this one's. */
  readonly above: readonly string[];
  readonly how: OpenHow;
  readonly backings: OpenedImage[];
  readonly depth: number;
}

async function openNode(options: DriverOptions, link: Link, formatName?: string): Promise<ImageNode> {
  if (link.depth > NESTING_MAX) throw new UserError(`${link.filename}: its options are nested too deeply`);
  let driver = take(options, 'driver');
  // `driver=file,filename=X` alone, and a bare `filename=X`, are a file whose format is still to be found.
  const isBare = (driver === undefined || protocolNamed(driver) !== undefined) && takeChildless(options);
  if (isBare) {
    options = new Map([...options].map(([key, value]) => [`file.${key}`, value]));
    if (driver !== undefined) options.set('file.driver', driver);
    driver = undefined;
  }
  const filter = driver === undefined ? undefined : filterNamed(driver);
  if (filter !== undefined) {
    const child = await openNode(childOptions(options, link), { ...link, depth: link.depth + 1 });
    return closeOnFailure(child, async () => {
      const node = await filter.open(child, options, link.how);
      refuseRest(options, link.filename);
      return raw.open(node, { name: link.filename, readOnly: node.readOnly });
    });
  }
  return openFormat(options, link, driver ?? formatName);
}

function takeChildless(options: DriverOptions): boolean {
  return ![...options.keys()].some((key) => key === 'file' || key.startsWith('file.'));
}

/** The options of the node below: `file.…`, or `file=NAME`. */
function childOptions(options: DriverOptions, { filename }: Link): DriverOptions {
  const child = takeChild(options, 'file') ?? takeChild(options, 'image');
  if (child !== undefined) return child;
  const name = take(options, 'file') ?? take(options, 'image');
  if (name === undefined) throw new UserError(`${filename}: a file name is missing: file.filename=NAME`);
  return new Map([
    ['driver', 'file'],
    ['filename', name],
  ]);
}

/** The node that an image format stands on: a protocol's, or a filter's, or another format's. */
async function openChild(options: DriverOptions, link: Link): Promise<BlockNode> {
  const driver = options.get('driver') ?? 'file';
  const protocol = protocolNamed(driver);
  if (protocol === undefined) return openNode(options, { ...link, depth: link.depth + 1 });
  options.delete('driver');
  const node = await protocol.open(options, link.how);
  return closeOnFailure(node, async () => {
    refuseRest(options, link.filename);
    return node;
  });
}

async function openFormat(options: DriverOptions, link: Link, formatName: string | undefined): Promise<ImageNode> {
  const given = formatName === undefined ? undefined : formatDriverNamed(formatName);
  const file = await openChild(childOptions(options, link), link);
  return closeOnFailure(file, async () => {
    const driver = given ?? (await probeFormat(file, link.filename));
    const format = await driver.load();
    const resolving = resolvers(options, link, given === undefined ? format : undefined);
    const special = driver.openOptions?.(options, link.how) ?? {};
    take(options, 'read-only');
    take(options, 'discard');
    refuseRest(options, link.filename);
    return format.open(file, { ...resolving, ...special });
  });
}

/** What a format needs to know of where it is; `probed`: its format was only guessed. */
function resolvers(options: DriverOptions, link: Link, probed: Format | undefined): OpenOptions {
  const { filename, how, above, backings } = link;
  const {
    snapshot,
    withoutBacking = false,
    forCheck = false,
    forceShare = false,
    distrustProbed = false,
  } = link.options;
  const isDistrusted = distrustProbed && probed !== undefined;
  const trust = (name: string) => {
    if (isDistrusted) throw new UserError(`${filename} stands on ${name}: to allow that, say format=${probed.name}`);
  };
  const backingOptions = takeChild(options, 'backing');
  const isDetached = take(options, 'backing') === '';
  const dataOptions = takeChild(options, 'data-file');
  const backingImage = { forceShare, distrustProbed, io: how.io, objects: how.objects };
  return {
    name: filename,
    readOnly: how.readOnly,
    compression: nodeCompression,
    crypto: nodeCrypto,
    withoutBacking: withoutBacking || isDetached,
    forCheck,
    ...(snapshot === undefined ? {} : { snapshot }),
    async resolveDataFile(dataFile) {
      trust(dataFile);
      if (probed?.name === 'vmdk') refuseOutside(filename, dataFile);
      return openChild(dataOptions ?? new Map([['filename', resolveName(filename, dataFile)]]), link);
    },
    async resolveBacking(reference) {
      trust(reference.filename);
      if (backingOptions !== undefined) {
        const below = { ...link, how: { ...how, readOnly: true }, depth: link.depth + 1 };
        return openNode(backingOptions, below);
      }
      const backing = await openBacking(filename, reference, backingImage, above);
      backings.push(backing, ...backing.backings);
      return backing.node;
    },
  };
}

/** Extents of an image whose format was only guessed lie beside it: a text that names any file is easily made. */
function refuseOutside(image: string, name: string): void {
  const path = relative(dirname(image), resolve(dirname(image), name));
  if (path !== '..' && !path.startsWith(`..${sep}`) && !isAbsolute(path)) return;
  throw new UserError(
    `${image}: its extent ${name} lies outside its folder: to allow that, say which format it has (vmdk)`,
  );
}

async function openBacking(
  image: string,
  { filename, format }: BackingReference,
  options: OpenImageOptions,
  above: readonly string[],
): Promise<OpenedImage> {
  // A guest decides what a raw disk begins with: without a stated format, nothing is guessed for a machine.
  const known = format ?? (options.distrustProbed === true ? 'raw' : undefined);
  try {
    return await openLink(
      resolveName(image, filename),
      known === undefined ? options : { ...options, format: known },
      above,
    );
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`Could not open backing file: ${error.message}`);
  }
}

async function closeOnFailure<T>(node: BlockNode, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    await node.close();
    throw error;
  }
}

function realOf(filename: string): string {
  try {
    return realpathSync(filename);
  } catch {
    return filename;
  }
}
