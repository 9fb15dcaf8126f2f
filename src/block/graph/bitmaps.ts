/** Dirty bitmaps of nodes: those in memory, and those that an image keeps. */
import type { BitmapInfo, Bitmaps, ImageNode } from '../format.ts';
import { type GranuleMap, granuleMap } from '../jobs/ranges.ts';
import { GraphError } from './error.ts';
import type { GraphNode } from './node.ts';

export interface MemoryBitmap {
  readonly name: string;
  isEnabled: boolean;
  readonly map: GranuleMap;
}

export const GRANULARITY = { min: 512, max: 2 ** 31, default: 65536 };

export function memoryBitmap(
  name: string,
  sizeBytes: number,
  granularityBytes: number,
  isEnabled: boolean,
): MemoryBitmap {
  return { name, isEnabled, map: granuleMap(sizeBytes, granularityBytes) };
}

/** Notes a change of a node. */
export function markBitmaps(node: GraphNode, offset: number, length: number): void {
  for (const { isEnabled, map } of node.bitmaps.values()) if (isEnabled) map.set(offset, length);
}

type Range = { readonly offset: number; readonly length: number };

function rangesOf(map: GranuleMap, sizeBytes: number): Range[] {
  const ranges: { offset: number; length: number }[] = [];
  let from = 0;
  for (;;) {
    const index = map.next(from);
    if (index === undefined || index < from) return ranges;
    const offset = index * map.granuleBytes;
    const length = Math.min(map.granuleBytes, sizeBytes - offset);
    const last = ranges.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else ranges.push({ offset, length });
    from = index + 1;
  }
}

function clearMap(map: GranuleMap): void {
  for (let index = map.next(0); index !== undefined; index = map.next(index)) map.clear(index);
}

/** One bitmap, wherever it is kept. */
export interface NodeBitmap {
  readonly name: string;
  readonly isPersistent: boolean;
  info(): Promise<BitmapInfo & { readonly dirtyBytes: number }>;
  dirtyRanges(): Promise<readonly Range[]>;
  clear(): Promise<void>;
  mark(ranges: readonly Range[]): Promise<void>;
  setEnabled(isEnabled: boolean): Promise<void>;
  remove(): Promise<void>;
}

export function bitmapNames(node: GraphNode): string[] {
  return [
    ...node.bitmaps.keys(),
    ...(storedBitmaps(node)
      ?.list()
      .map(({ name }) => name) ?? []),
  ];
}

export function storedBitmaps(node: GraphNode): Bitmaps | undefined {
  return (node.impl as Partial<ImageNode>).bitmaps;
}

const dirtyBytesOf = (ranges: readonly Range[]) => ranges.reduce((sum, { length }) => sum + length, 0);

/** @throws GraphError when the node has no such bitmap */
export function bitmapOf(node: GraphNode, name: string): NodeBitmap {
  const own = node.bitmaps.get(name);
  if (own !== undefined) return inMemory(node, own);
  const stored = storedBitmaps(node);
  if (stored === undefined || !stored.list().some((one) => one.name === name)) {
    throw new GraphError(`Dirty bitmap '${name}' not found`);
  }
  return {
    name,
    isPersistent: true,
    async info() {
      const found = stored.list().find((one) => one.name === name)!;
      if (!found.isInUse) return { ...found, dirtyBytes: dirtyBytesOf(await stored.dirtyRanges(name)) };
      // In use by this machine, or left so by one that was killed: then nobody knows what is in it.
      try {
        return { ...found, isInUse: false, dirtyBytes: dirtyBytesOf(await stored.dirtyRanges(name)) };
      } catch {
        return { ...found, dirtyBytes: 0 };
      }
    },
    dirtyRanges: () => stored.dirtyRanges(name),
    clear: () => stored.clear(name),
    mark: (ranges) => stored.mark(name, ranges),
    setEnabled: (isEnabled) => stored.setEnabled(name, isEnabled),
    remove: () => stored.remove(name),
  };
}

function inMemory(node: GraphNode, bitmap: MemoryBitmap): NodeBitmap {
  const { name, map } = bitmap;
  return {
    name,
    isPersistent: false,
    info: async () => ({
      name,
      granularityBytes: map.granuleBytes,
      isEnabled: bitmap.isEnabled,
      isInUse: false,
      dirtyBytes: dirtyBytesOf(rangesOf(map, node.impl.sizeBytes)),
    }),
    dirtyRanges: async () => rangesOf(map, node.impl.sizeBytes),
    clear: async () => clearMap(map),
    async mark(ranges) {
      for (const { offset, length } of ranges) map.set(offset, length);
    },
    async setEnabled(isEnabled) {
      bitmap.isEnabled = isEnabled;
    },
    async remove() {
      node.bitmaps.delete(name);
    },
  };
}

/** As query-block and query-named-block-nodes tell of them. */
export async function bitmapInfos(node: GraphNode) {
  return Promise.all(
    bitmapNames(node).map(async (name) => {
      const bitmap = bitmapOf(node, name);
      const { granularityBytes, isEnabled, isInUse, dirtyBytes } = await bitmap.info();
      return {
        name,
        recording: isEnabled,
        persistent: bitmap.isPersistent,
        busy: false,
        granularity: granularityBytes,
        count: dirtyBytes,
        ...(isInUse ? { inconsistent: true } : {}),
      };
    }),
  );
}
