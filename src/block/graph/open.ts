/** Makes nodes: from options, with children that are named or described, and backing files that images name themselves. */
import { IoError, UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { detectZeroesFilter } from '../filters/index.ts';
import type { BackingReference, ImageNode, OpenOptions } from '../format.ts';
import type { GraphDrivers, NodeCache, NodeHow, NodeOptions } from './drivers.ts';
import { GraphError, noNode } from './error.ts';
import { cut, type Edge, edgeTo, type GraphNode } from './node.ts';

export const WRITE_BACK: NodeCache = { direct: false, noFlush: false, writeThrough: false };
/** Nodes in one machine, and images that stand on one another. */
const NODES_MAX = 4096;
const CHAIN_MAX = 200;
const NAME = /^[a-z][\w.-]{0,30}$/i;

export interface NodeTable {
  readonly drivers: GraphDrivers;
  readonly nodes: Map<string, GraphNode>;
  nextName(): string;
  /** Another process has the images: they may only be looked at. */
  isElsewhere: boolean;
}

interface OpenHow extends NodeHow {
  /** Nodes above, to end a chain that goes in circles. */
  readonly depth: number;
}

function take(options: NodeOptions, key: string): string | undefined {
  const value = options.get(key);
  options.delete(key);
  return value;
}

export function takeSwitch(options: NodeOptions, key: string): boolean | undefined {
  const text = take(options, key);
  if (text === undefined) return undefined;
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  throw new UserError(`Parameter '${key}' expects 'on' or 'off'`);
}

function takeChild(options: NodeOptions, child: string): NodeOptions | undefined {
  const found: NodeOptions = new Map();
  for (const key of [...options.keys()]) {
    if (key.startsWith(`${child}.`)) found.set(key.slice(child.length + 1), take(options, key)!);
  }
  return found.size === 0 ? undefined : found;
}

export function findNode({ nodes }: Pick<NodeTable, 'nodes'>, name: string): GraphNode {
  const node = nodes.get(name);
  if (node === undefined) throw noNode(name);
  return node;
}

/** Opens a node with all that its options describe. All or nothing. */
export async function openNode(
  table: NodeTable,
  given: ReadonlyMap<string, string>,
  inherited: OpenHow = { readOnly: false, cache: WRITE_BACK, depth: 0 },
): Promise<GraphNode> {
  if (inherited.depth > CHAIN_MAX) throw new UserError(`more than ${CHAIN_MAX} images stand on one another`);
  if (table.nodes.size >= NODES_MAX) throw new UserError(`there are ${NODES_MAX} nodes already`);
  const options = new Map(given);
  const name = take(options, 'node-name') ?? table.nextName();
  if (!name.startsWith('#block') && !NAME.test(name)) throw new GraphError(`Invalid node-name: '${name}'`);
  if (table.nodes.has(name)) throw new GraphError(`Duplicate nodes with node-name='${name}'`);
  const driver = take(options, 'driver');
  const kind = driver === undefined || driver === 'auto' ? 'format' : table.drivers.kindOf(driver);
  if (kind === undefined) throw new GraphError(`Unknown driver '${driver}'`);
  const { readOnly: ownReadOnly, cache, detectZeroes } = commonOptions(options, inherited);
  const isAutoReadOnly = takeSwitch(options, 'auto-read-only') ?? false;
  const how: OpenHow = { readOnly: ownReadOnly, cache, depth: inherited.depth };
  const opened: Edge[] = [];
  try {
    if (kind === 'protocol') {
      const protocol = await openProtocol(table, driver!, options, how, isAutoReadOnly);
      return register(table, {
        name,
        driver: driver!,
        given,
        how,
        cache,
        filename: protocol.filename,
        impl: protocol.node,
      });
    }
    const file = await openChild(table, options, how);
    opened.push(file);
    const { filename } = file.target;
    const isProbed = driver === undefined || driver === 'auto';
    const known = isProbed ? await table.drivers.probe(file, filename) : driver!;
    const children: Children = { file };
    const impl = withZeroes(
      kind === 'filter'
        ? await openFilter(table, known, file, options, how)
        : await openFormat(table, known, file, options, { how, filename, isProbed, children, opened }),
      detectZeroes,
    );
    return register(table, { name, driver: known, given, how, cache, filename, impl, isProbed, ...children });
  } catch (error) {
    for (const edge of opened) {
      cut(edge);
      await release(table, edge.target);
    }
    throw error;
  }
}

type DetectZeroes = 'off' | 'on' | 'unmap';

function commonOptions(options: NodeOptions, inherited: NodeHow) {
  const readOnly = takeSwitch(options, 'read-only') ?? inherited.readOnly;
  const cache: NodeCache = {
    direct: takeSwitch(options, 'cache.direct') ?? inherited.cache.direct,
    noFlush: takeSwitch(options, 'cache.no-flush') ?? inherited.cache.noFlush,
    writeThrough: inherited.cache.writeThrough,
  };
  const writeBack = takeSwitch(options, 'cache.writeback');
  const detectZeroes = (take(options, 'detect-zeroes') ?? 'off') as DetectZeroes;
  if (!['off', 'on', 'unmap'].includes(detectZeroes)) {
    throw new UserError(`Parameter 'detect-zeroes' does not accept value '${detectZeroes}'`);
  }
  take(options, 'discard');
  if (takeSwitch(options, 'force-share')) throw new UserError('force-share=on is not supported: open it read-only');
  return {
    readOnly,
    cache: writeBack === undefined ? cache : { ...cache, writeThrough: !writeBack },
    detectZeroes,
  };
}

/** The same image; zeros that are written become zeros that need no space. */
function withZeroes(impl: BlockNode, detectZeroes: DetectZeroes): BlockNode {
  if (detectZeroes === 'off' || impl.writeZeroes === undefined) return impl;
  const { write } = detectZeroesFilter(impl, { mayUnmap: detectZeroes === 'unmap' });
  return Object.create(impl, { write: { value: write } }) as BlockNode;
}

/** An image that another process has is opened for reading, without its lock. */
function looking(isElsewhere: boolean, readOnly: boolean): Pick<NodeHow, 'readOnly' | 'lookOnly'> {
  return { readOnly: readOnly || isElsewhere, lookOnly: isElsewhere };
}

async function openProtocol(
  { drivers, isElsewhere }: NodeTable,
  driver: string,
  options: NodeOptions,
  how: OpenHow,
  isAutoReadOnly: boolean,
): Promise<{ node: BlockNode; filename: string }> {
  const filename = options.get('filename') ?? options.get('uri') ?? options.get('url') ?? `${driver}:`;
  const open = async (readOnly: boolean) => {
    const own = new Map(options);
    const node = await drivers.openProtocol(driver, own, { ...how, ...looking(isElsewhere, readOnly) });
    await refuseRest(own, node);
    return node;
  };
  try {
    return { node: await open(how.readOnly), filename };
  } catch (error) {
    if (!isAutoReadOnly || how.readOnly) throw error;
    return { node: await open(true), filename };
  }
}

async function refuseRest(options: NodeOptions, node: BlockNode): Promise<void> {
  const [unknown] = options.keys();
  if (unknown === undefined) return;
  await node.close();
  throw new GraphError(`Parameter '${unknown}' is unexpected`);
}

/** The node that a format or filter stands on: one that is there, or one that the options describe. */
async function openChild(table: NodeTable, options: NodeOptions, how: OpenHow): Promise<Edge> {
  const named = take(options, 'file') ?? take(options, 'image');
  const described = takeChild(options, 'file') ?? takeChild(options, 'image');
  if (named !== undefined) return edgeTo(findNode(table, named), 'file');
  if (described === undefined) throw new GraphError("Parameter 'file' is missing");
  if (!described.has('driver')) described.set('driver', 'file');
  return edgeTo(await openNode(table, described, { ...how, depth: how.depth + 1 }), 'file');
}

async function openFilter(
  { drivers }: NodeTable,
  driver: string,
  file: Edge,
  options: NodeOptions,
  how: OpenHow,
): Promise<BlockNode> {
  const node = await drivers.openFilter(driver, file, options, how);
  await refuseRest(options, node);
  return node;
}

interface Children {
  file: Edge;
  backing?: Edge;
  dataFile?: Edge;
}

interface FormatContext {
  readonly how: OpenHow;
  readonly filename: string;
  readonly isProbed: boolean;
  readonly children: Children;
  /** Edges to be taken away again when it fails. */
  readonly opened: Edge[];
}

async function openFormat(
  table: NodeTable,
  driver: string,
  file: Edge,
  options: NodeOptions,
  context: FormatContext,
): Promise<ImageNode> {
  const { how, filename, isProbed, children, opened } = context;
  const backingName = take(options, 'backing');
  const backingOptions = takeChild(options, 'backing');
  const dataOptions = takeChild(options, 'data-file');
  const dataName = take(options, 'data-file');
  const below: OpenHow = { readOnly: true, cache: how.cache, depth: how.depth + 1 };
  const trust = (name: string) => {
    if (isProbed) throw new UserError(`${filename} stands on ${name}: to allow that, say format=${driver}`);
  };
  const keep = (node: GraphNode, role: 'backing' | 'data-file') => {
    const edge = edgeTo(node, role);
    opened.push(edge);
    return edge;
  };
  const resolving: OpenOptions = {
    name: filename,
    readOnly: how.readOnly || table.isElsewhere,
    withoutBacking: backingName === '',
    async resolveBacking(reference) {
      if (backingName !== undefined) children.backing = keep(findNode(table, backingName), 'backing');
      else if (backingOptions !== undefined) {
        children.backing = keep(await openNode(table, backingOptions, below), 'backing');
      } else {
        trust(reference.filename);
        children.backing = keep(await openNamed(table, filename, reference, below), 'backing');
      }
      return children.backing;
    },
    async resolveDataFile(name) {
      const beside = { ...below, readOnly: how.readOnly };
      if (dataName === undefined && dataOptions === undefined) trust(name);
      const plain = () => takeChild(table.drivers.parseName(table.drivers.resolveName(filename, name)), 'file')!;
      const found =
        dataName === undefined ? await openNode(table, dataOptions ?? plain(), beside) : findNode(table, dataName);
      children.dataFile = keep(found, 'data-file');
      return children.dataFile;
    },
  };
  const node = await table.drivers.openFormat(driver, file, options, how, resolving);
  await refuseRest(options, node);
  const isAttached = children.backing !== undefined || backingName === undefined || backingName === '';
  if (!isAttached) {
    await node.close();
    throw new GraphError(`the image ${filename} names no backing file, so that it cannot stand on '${backingName}'`);
  }
  return node;
}

/** The image that another one names. */
export function openNamed(
  table: NodeTable,
  image: string,
  { filename, format }: BackingReference,
  how: OpenHow,
): Promise<GraphNode> {
  const name = table.drivers.resolveName(image, filename);
  const options = table.drivers.parseName(name);
  // A guest decides what a raw disk begins with: without a stated format, nothing is guessed.
  if (!options.has('driver')) options.set('driver', format ?? 'raw');
  return openNode(table, options, how);
}

export interface Made {
  readonly name: string;
  readonly driver: string;
  readonly given: ReadonlyMap<string, string>;
  readonly how: NodeHow;
  readonly cache: NodeCache;
  readonly filename: string;
  readonly impl: BlockNode;
  readonly isProbed?: boolean;
  readonly file?: Edge;
  readonly backing?: Edge;
  readonly dataFile?: Edge;
}

export function register({ nodes, isElsewhere }: NodeTable, made: Made): GraphNode {
  const { name, driver, given, how, cache, filename, impl, isProbed = false, file, backing, dataFile } = made;
  const node: GraphNode = {
    ...{ name, driver, options: given, cache, filename, impl, isProbed, isOwned: false },
    readOnly: how.readOnly || (!isElsewhere && impl.readOnly),
    isReadOnlyWanted: how.readOnly,
    parents: new Set(),
    bitmaps: new Map(),
    ...(file === undefined ? {} : { file }),
    ...(backing === undefined ? {} : { backing }),
    ...(dataFile === undefined ? {} : { dataFile }),
  };
  for (const edge of [file, backing, dataFile]) if (edge !== undefined) edge.owner = node;
  nodes.set(name, node);
  return node;
}

/** Closes a node that nobody uses any more, and what stood below for it alone. */
export async function release(table: NodeTable, node: GraphNode): Promise<void> {
  const isUsed = node.isOwned || node.parents.size > 0;
  if (isUsed || table.nodes.get(node.name) !== node) return;
  table.nodes.delete(node.name);
  await node.impl.close();
  const children = [node.file, node.backing, node.dataFile].flatMap((edge) => edge ?? []);
  for (const edge of children) cut(edge);
  for (const { target } of children) await release(table, target);
}

/**
 * Opens a node's driver again over the same children, or others. Nothing may be under way in it.
 * When that fails, it is as it was.
 */
export async function reopenNode(
  table: NodeTable,
  node: GraphNode,
  changes: { readonly readOnly?: boolean; readonly cache?: NodeCache; readonly backing?: GraphNode | null },
): Promise<void> {
  const before = { readOnly: node.readOnly, cache: node.cache };
  const how = { readOnly: changes.readOnly ?? node.readOnly, cache: changes.cache ?? node.cache };
  if (node.file !== undefined && !how.readOnly && node.file.target.readOnly) {
    await reopenNode(table, node.file.target, { readOnly: false });
  }
  const backing = changes.backing === undefined ? node.backing?.target : (changes.backing ?? undefined);
  await node.impl.close();
  try {
    node.impl = await openAgain(table, node, how, backing);
  } catch (error) {
    node.impl = await openAgain(table, node, before, node.backing?.target);
    throw error;
  }
  node.readOnly = how.readOnly || node.impl.readOnly;
  node.isReadOnlyWanted = how.readOnly;
  node.cache = how.cache;
  if (changes.backing === undefined || backing === node.backing?.target) return;
  const old = node.backing;
  node.backing = backing === undefined ? undefined : edgeTo(backing, 'backing');
  if (node.backing !== undefined) node.backing.owner = node;
  cut(old);
  if (old !== undefined) await release(table, old.target);
}

async function openAgain(
  { drivers }: NodeTable,
  node: GraphNode,
  how: NodeHow,
  backing: GraphNode | undefined,
): Promise<BlockNode> {
  const options = new Map(node.options);
  for (const key of ['node-name', 'driver', 'auto-read-only', 'file', 'image', 'backing']) options.delete(key);
  for (const child of ['file', 'image', 'backing', 'data-file']) takeChild(options, child);
  const { detectZeroes } = commonOptions(options, how);
  if (node.file === undefined) return drivers.openProtocol(node.driver, options, how);
  if (drivers.kindOf(node.driver) === 'filter') return drivers.openFilter(node.driver, node.file, options, how);
  const resolving: OpenOptions = {
    name: node.filename,
    readOnly: how.readOnly,
    withoutBacking: backing === undefined,
    resolveBacking: async () => viewOf(() => node.backing?.target ?? backing!),
    ...(node.dataFile === undefined ? {} : { resolveDataFile: async () => node.dataFile! }),
  };
  return withZeroes(await drivers.openFormat(node.driver, node.file, options, how, resolving), detectZeroes);
}

/** What a format reads from that was opened again: whatever its node's edge leads to. */
function viewOf(target: () => GraphNode): BlockNode {
  return {
    get sizeBytes() {
      return target().impl.sizeBytes;
    },
    readOnly: true,
    get limits() {
      return target().impl.limits;
    },
    read: (offset, into) => target().impl.read(offset, into),
    write: (offset, source) => target().impl.write(offset, source),
    flush: () => target().impl.flush(),
    extents: (offset, length) => target().impl.extents(offset, length),
    close: async () => {},
  };
}

/** Closes a node's image; the node knows what it was, and refuses requests. */
export async function giveUp(node: GraphNode): Promise<void> {
  const { impl } = node;
  const { sizeBytes, readOnly, limits } = impl;
  const gone = () => Promise.reject(new IoError('io', `${node.filename} was given up: another process may have it`));
  node.impl = {
    sizeBytes,
    readOnly,
    limits,
    read: gone,
    write: gone,
    flush: gone,
    extents: gone,
    close: async () => {},
  };
  node.isGivenUp = true;
  await impl.close();
}

/** Opens the image of a node again that was given up; those below it must be open. */
export async function takeBack(table: NodeTable, node: GraphNode): Promise<void> {
  const how = { readOnly: node.isReadOnlyWanted, cache: node.cache };
  node.impl = await openAgain(table, node, how, node.backing?.target);
  node.readOnly = node.isReadOnlyWanted || node.impl.readOnly;
  node.isGivenUp = false;
}

/** The same for the node and all that it stands on, of which some may be open. */
export async function takeTreeBack(table: NodeTable, node: GraphNode): Promise<void> {
  for (const edge of [node.file, node.backing, node.dataFile]) {
    if (edge !== undefined) await takeTreeBack(table, edge.target);
  }
  if (node.isGivenUp) await takeBack(table, node);
}
