/** What QMP tells of nodes and of the devices that stand on them. */
import type { SnapshotInfo } from '../format.ts';
import { bitmapInfos } from './bitmaps.ts';
import type { Attachment, GraphCommands, GraphState, Limits } from './graph.ts';
import { chainOfNode, type GraphNode, imageOf, infoOf, nodeOf } from './node.ts';

export function infoCommands(state: GraphState): GraphCommands {
  return {
    'query-named-block-nodes': ({ flat = false }: { flat?: boolean }) =>
      Promise.all([...state.nodes.values()].map((node) => deviceInfo(state, node, {}, !flat))),
    /** One row a device, by what it was attached as. */
    'query-attached': () => Promise.all([...state.attachments.values()].map((one) => attachedInfo(state, one))),
    'query-node-tree': () => [...state.nodes.values()].map(treeOf),
  };
}

async function attachedInfo(state: GraphState, { drive, device, root, limits, tray }: Attachment) {
  return {
    drive,
    device,
    ...(tray === undefined ? {} : { isTrayOpen: tray.isOpen }),
    ...(root === undefined
      ? {}
      : { inserted: await deviceInfo(state, nodeOf(root), limits, true), tree: treeOf(nodeOf(root)) }),
  };
}

/** The node and what it stands on, as query-blockstats nests them. */
interface Tree {
  readonly 'node-name': string;
  readonly parent?: Tree;
  readonly backing?: Tree;
}

function treeOf(node: GraphNode): Tree {
  return {
    'node-name': node.name,
    ...(node.file === undefined ? {} : { parent: treeOf(node.file.target) }),
    ...(node.backing === undefined ? {} : { backing: treeOf(node.backing.target) }),
  };
}

/** BlockDeviceInfo of QAPI. */
async function deviceInfo(state: GraphState, node: GraphNode, limits: Limits, withChain: boolean) {
  const limit = (kind: keyof Limits) => Math.round(limits[kind]?.perSecond ?? 0);
  const chain = chainOfNode(node);
  const bitmaps = await bitmapInfos(node);
  return {
    iops_rd: limit('iops-read'),
    iops_wr: limit('iops-write'),
    iops: limit('iops-total'),
    bps_rd: limit('bps-read'),
    bps_wr: limit('bps-write'),
    bps: limit('bps-total'),
    detect_zeroes: detectZeroesOf(node),
    image: imageInfo(state, node, withChain),
    ro: node.readOnly,
    'node-name': node.name,
    backing_file_depth: chain.length - 1,
    ...(chain.length > 1 ? { backing_file: chain[1].filename } : {}),
    drv: node.driver,
    write_threshold: 0,
    encrypted: infoOf(node).encrypted ?? false,
    cache: {
      'no-flush': node.cache.noFlush,
      direct: node.cache.direct,
      writeback: !node.cache.writeThrough,
    },
    file: node.filename,
    ...(bitmaps.length === 0 ? {} : { 'dirty-bitmaps': bitmaps }),
  };
}

function detectZeroesOf({ options }: GraphNode): 'off' | 'on' | 'unmap' {
  const given = options.get('detect-zeroes');
  return given === 'on' || given === 'unmap' ? given : 'off';
}

/** ImageInfo of QAPI. */
function imageInfo(state: GraphState, node: GraphNode, withChain: boolean): Record<string, unknown> {
  const { backing, clusterBytes, specific, dirty, encrypted } = infoOf(node);
  const actual = state.drivers.allocatedBytes(node.filename);
  const snapshots = imageOf(node).snapshots?.list() ?? [];
  const below = node.backing?.target;
  return {
    'virtual-size': node.impl.sizeBytes,
    filename: node.filename,
    format: node.driver,
    ...(actual === undefined ? {} : { 'actual-size': actual }),
    ...(clusterBytes === undefined ? {} : { 'cluster-size': clusterBytes }),
    ...(encrypted ? { encrypted } : {}),
    'dirty-flag': dirty ?? false,
    ...(specific === undefined ? {} : { 'format-specific': specific }),
    ...(backing === undefined
      ? {}
      : {
          'backing-filename': backing.filename,
          'full-backing-filename': state.drivers.resolveName(node.filename, backing.filename),
          ...(backing.format === undefined ? {} : { 'backing-filename-format': backing.format }),
        }),
    ...(withChain && below !== undefined ? { 'backing-image': imageInfo(state, below, true) } : {}),
    ...(snapshots.length === 0
      ? {}
      : {
          snapshots: snapshots.map(snapshotInfo),
        }),
  };
}

/** An internal snapshot as QMP's SnapshotInfo. */
export function snapshotInfo(one: SnapshotInfo) {
  return {
    id: one.id,
    name: one.name,
    'vm-state-size': one.vmStateBytes,
    'date-sec': one.dateSeconds,
    'date-nsec': one.dateNanos,
    'vm-clock-sec': Math.floor(one.vmClockNanos / 1e9),
    'vm-clock-nsec': one.vmClockNanos % 1e9,
  };
}
