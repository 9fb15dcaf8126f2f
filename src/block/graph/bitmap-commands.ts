/** QMP's commands on dirty bitmaps. */
import { bitmapNames, bitmapOf, GRANULARITY, markBitmaps, memoryBitmap, storedBitmaps } from './bitmaps.ts';
import { GraphError } from './error.ts';
import { type Arguments, findRoot, type GraphCommands, type GraphState } from './graph.ts';
import { type GraphNode, infoOf, nodeOf, rootOf } from './node.ts';

/** Bits in memory that one bitmap takes at most. */
const BITS_MAX = 2 ** 31;
const NAME_BYTES_MAX = 1023;

/** Takes back what a command did. */
export type Undo = () => Promise<void>;

export function bitmapCommands(state: GraphState): GraphCommands {
  const done = (run: (state: GraphState, args: Arguments) => Promise<Undo>) => async (args: Arguments) => {
    await rootOf(findRoot(state, args.node)).live.drained(() => run(state, args));
    return {};
  };
  return Object.fromEntries(Object.entries(BITMAP_ACTIONS).map(([name, run]) => [name, done(run)]));
}

/** Each does its work at once, while its node is drained, and returns how it is undone. */
export const BITMAP_ACTIONS: Readonly<Record<string, (state: GraphState, args: Arguments) => Promise<Undo>>> = {
  'block-dirty-bitmap-add': add,
  async 'block-dirty-bitmap-remove'(state, { node: nodeName, name }) {
    const node = findRoot(state, nodeName);
    const bitmap = bitmapOf(node, name);
    const { isInUse, granularityBytes, isEnabled } = await bitmap.info();
    const ranges = isInUse ? [] : await bitmap.dirtyRanges();
    await bitmap.remove();
    const args = {
      node: nodeName,
      name,
      granularity: granularityBytes,
      persistent: bitmap.isPersistent,
      disabled: !isEnabled,
    };
    return async () => {
      await add(state, args);
      await bitmapOf(node, name).mark(ranges);
    };
  },
  async 'block-dirty-bitmap-clear'(state, { node, name }) {
    const bitmap = bitmapOf(findRoot(state, node), name);
    const ranges = await bitmap.dirtyRanges();
    await bitmap.clear();
    return () => bitmap.mark(ranges);
  },
  'block-dirty-bitmap-enable': (state, args) => setEnabled(state, args, true),
  'block-dirty-bitmap-disable': (state, args) => setEnabled(state, args, false),
  async 'block-dirty-bitmap-merge'(state, { node: nodeName, target, bitmaps }) {
    const node = findRoot(state, nodeName);
    const into = bitmapOf(node, target);
    const sources = (bitmaps as readonly Arguments[]).map((one) =>
      typeof one === 'string' ? bitmapOf(node, one) : bitmapOf(findRoot(state, one.node), one.name),
    );
    const before = await into.dirtyRanges();
    for (const source of sources) await into.mark(await source.dirtyRanges());
    return async () => {
      await into.clear();
      await into.mark(before);
    };
  },
};

async function setEnabled(state: GraphState, { node, name }: Arguments, isEnabled: boolean): Promise<Undo> {
  const bitmap = bitmapOf(findRoot(state, node), name);
  const was = (await bitmap.info()).isEnabled;
  await bitmap.setEnabled(isEnabled);
  return () => bitmap.setEnabled(was);
}

async function add(state: GraphState, args: Arguments): Promise<Undo> {
  const { node: nodeName, name, persistent = false, disabled = false } = args;
  const node = findRoot(state, nodeName);
  const granularity =
    args.granularity ?? Math.max(4096, Math.min(65536, infoOf(node).clusterBytes ?? GRANULARITY.default));
  if (name === '') throw new GraphError('Bitmap name cannot be empty');
  if (name.length > NAME_BYTES_MAX) throw new GraphError('Bitmap name too long');
  if (bitmapNames(node).includes(name)) throw new GraphError(`Bitmap already exists: ${name}`);
  if (!(granularity >= GRANULARITY.min && granularity <= GRANULARITY.max) || Math.log2(granularity) % 1 !== 0) {
    throw new GraphError('Granularity must be a power of 2, at least 512');
  }
  if (node.impl.sizeBytes / granularity > BITS_MAX)
    throw new GraphError(`a granularity of ${granularity} is too fine for this disk`);
  if (persistent) {
    const stored = storedBitmaps(node);
    if (stored === undefined || node.readOnly) throw new GraphError(`the node ${node.name} cannot keep bitmaps`);
    await stored.add({ name, granularityBytes: granularity });
    if (disabled) await stored.setEnabled(name, false);
    return () => stored.remove(name);
  }
  node.bitmaps.set(name, memoryBitmap(name, node.impl.sizeBytes, granularity, !disabled));
  watchChanges(node);
  return async () => {
    node.bitmaps.delete(name);
  };
}

/** Bitmaps in memory hear of every change of their node from now on. */
function watchChanges(node: GraphNode): void {
  const root = rootOf(node);
  if (root.isWatched) return;
  root.isWatched = true;
  root.live.watch({ after: (offset, length) => markBitmaps(nodeOf(root), offset, length) });
}
