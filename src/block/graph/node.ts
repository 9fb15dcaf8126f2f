/** Nodes of the graph, the edges between them, and the roots that devices stand on. */
import { InternalError } from '../../base/index.ts';
import type { BlockExtent, BlockNode } from '../../contract/index.ts';
import type { ImageInfo, ImageNode } from '../format.ts';
import { type LiveNode, liveNode } from '../jobs/index.ts';
import type { MemoryBitmap } from './bitmaps.ts';
import type { NodeCache, NodeOptions } from './drivers.ts';

/** What stands between a node and who uses it; where it leads can change while nothing is under way. */
export interface Edge extends Omit<ImageNode, 'format' | 'info'> {
  readonly role: EdgeRole;
  target: GraphNode;
  /** The node that stands on the target by this edge. */
  owner?: GraphNode;
}
export type EdgeRole = 'file' | 'backing' | 'root' | 'target' | 'data-file';

export interface GraphNode {
  readonly name: string;
  /** The driver by QEMU's name. */
  readonly driver: string;
  /** As they were given; to open it again. */
  options: ReadonlyMap<string, string>;
  readOnly: boolean;
  /** Nobody wants to write to it. */
  isReadOnlyWanted: boolean;
  cache: NodeCache;
  /** The file at the bottom, as people know it. */
  readonly filename: string;
  /** Nobody said which format it is. */
  readonly isProbed: boolean;
  /** What does the work; another one after it was opened again. */
  impl: BlockNode;
  file?: Edge;
  backing?: Edge;
  dataFile?: Edge;
  /** Who stands on it. */
  readonly parents: Set<Edge>;
  readonly bitmaps: Map<string, MemoryBitmap>;
  root?: Root;
  /** Its image is closed, because another process may have it. */
  isGivenUp?: boolean;
  /** Made by blockdev-add or -blockdev: stays until blockdev-del. */
  isOwned: boolean;
}

/** What devices, exports and jobs of one node have in common. */
export interface Root {
  readonly live: LiveNode;
  readonly users: Set<string>;
  /** Bitmaps in memory of the nodes that it stands on are kept up to date. */
  isWatched?: boolean;
  /** The name of the job that works on it. */
  job?: string;
}

export function imageOf(node: GraphNode): Partial<ImageNode> & BlockNode {
  return node.impl;
}

export function infoOf(node: GraphNode): ImageInfo {
  return imageOf(node).info ?? {};
}

/** A node as another one sees it. Closing the edge leaves the node alone. */
export function edgeTo(first: GraphNode, role: EdgeRole): Edge {
  let target = first;
  const edge: Edge = {
    role,
    get target() {
      return target;
    },
    set target(next) {
      target.parents.delete(edge);
      target = next;
      next.parents.add(edge);
    },
    get sizeBytes() {
      return target.impl.sizeBytes;
    },
    get readOnly() {
      return target.impl.readOnly;
    },
    get limits() {
      return target.impl.limits;
    },
    get backing() {
      return target.backing;
    },
    get changeBacking() {
      return imageOf(target).changeBacking;
    },
    get discard() {
      const { impl } = target;
      return impl.discard && ((offset: number, length: number) => impl.discard!(offset, length));
    },
    get writeZeroes() {
      const { impl } = target;
      return (
        impl.writeZeroes &&
        ((...given: Parameters<NonNullable<BlockNode['writeZeroes']>>) => impl.writeZeroes!(...given))
      );
    },
    get resize() {
      const { impl } = target;
      return impl.resize && ((sizeBytes: number) => impl.resize!(sizeBytes));
    },
    immediate: {
      read: (offset, targets) => target.impl.immediate?.read(offset, targets) ?? false,
      write: (offset, sources) => !target.impl.readOnly && (target.impl.immediate?.write(offset, sources) ?? false),
    },
    read: (offset, into) => target.impl.read(offset, into),
    write: (offset, source) => target.impl.write(offset, source),
    flush: () => target.impl.flush(),
    extents: (offset, length): Promise<readonly BlockExtent[]> => target.impl.extents(offset, length),
    close: async () => {},
  };
  first.parents.add(edge);
  return edge;
}

/** Takes an edge away. */
export function cut(edge: Edge | undefined): void {
  edge?.target.parents.delete(edge);
}

/** The root of a node, made when there is none. Its changes reach the bitmaps of whatever node it stands on. */
export function rootOf(node: GraphNode): Root {
  if (node.root !== undefined) return node.root;
  const live = liveNode(edgeTo(node, 'root'));
  const root: Root = { live, users: new Set() };
  node.root = root;
  return root;
}

export function nodeOf({ live }: Root): GraphNode {
  return (live.current as Edge).target;
}

/** Puts a root on another node; the root must be drained, and the node must have none. */
export function moveRoot(root: Root, next: GraphNode): void {
  if (next.root !== undefined && next.root !== root) throw new InternalError(`the node ${next.name} has users`);
  const edge = root.live.current as Edge;
  edge.target.root = undefined;
  edge.target = next;
  next.root = root;
}

/** The backing chain of a node, itself first. */
export function chainOfNode(node: GraphNode): GraphNode[] {
  const chain: GraphNode[] = [];
  for (let at: GraphNode | undefined = node; at !== undefined; at = at.backing?.target) chain.push(at);
  return chain;
}

/** Options as a map, what is nested with dots. */
export function flatOptions(value: object, prefix = ''): NodeOptions {
  const flat: NodeOptions = new Map();
  for (const [key, item] of Object.entries(value)) {
    if (item === null) flat.set(`${prefix}${key}`, '');
    else if (typeof item === 'object') {
      for (const [inner, text] of flatOptions(item, `${prefix}${key}.`)) flat.set(inner, text);
    } else if (typeof item === 'boolean') flat.set(`${prefix}${key}`, item ? 'on' : 'off');
    else flat.set(`${prefix}${key}`, String(item));
  }
  return flat;
}
