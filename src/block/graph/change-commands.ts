/** Changes of nodes that are in use: their size, their options, their limits, and the media in drives. */
import type { ThrottleKind } from '../filters/index.ts';
import { GraphError } from './error.ts';
import {
  type Arguments,
  type Attachment,
  findDrive,
  findRoot,
  type GraphCommands,
  type GraphState,
  type Limits,
  leaveNode,
  useNode,
} from './graph.ts';
import { chainOfNode, flatOptions, type GraphNode, imageOf, rootOf } from './node.ts';
import { findNode, openNode, release, reopenNode, takeSwitch } from './open.ts';

export function changeCommands(state: GraphState): GraphCommands {
  const drive = (args: Arguments) => findDrive(state, args);
  return {
    block_resize: async (args: Arguments) => {
      await resize(state, args);
      return {};
    },
    block_set_io_throttle: (args: Arguments) => {
      drive(args).limits = limitsOf(args);
      return {};
    },
    'change-backing-file': async (args: Arguments) => {
      await changeBackingFile(state, args);
      return {};
    },
    'blockdev-reopen': async ({ options }: Arguments) => {
      for (const one of options) await reopen(state, one);
      return {};
    },
    'blockdev-open-tray': (args: Arguments) => openTray(state, drive(args)),
    'blockdev-close-tray': (args: Arguments) => closeTray(state, drive(args)),
    'blockdev-remove-medium': async (args: Arguments) => {
      await removeMedium(state, drive(args));
      return {};
    },
    'blockdev-insert-medium': (args: Arguments) => insertMedium(drive(args), findNode(state, args['node-name'])),
    eject: async (args: Arguments) => {
      const found = drive(args);
      removable(found);
      openTray(state, found);
      await removeMedium(state, found);
      return {};
    },
    'blockdev-change-medium': async (args: Arguments) => {
      await changeMedium(state, drive(args), args);
      return {};
    },
  };
}

async function resize(state: GraphState, args: Arguments): Promise<void> {
  const { size } = args;
  const node = findRoot(state, args['node-name'] ?? args.device ?? '');
  if (!(size >= 0)) throw new GraphError("Parameter 'size' expects a >0 size");
  const root = rootOf(node);
  if (root.job !== undefined)
    throw new GraphError(`Node '${node.name}' is busy: block device is in use by block job: ${root.job}`);
  if (node.readOnly) throw new GraphError(`Image is read-only`);
  if (node.impl.resize === undefined) throw new GraphError(`Image format driver does not support resize`);
  await root.live.drained(() => node.impl.resize!(size));
  node.bitmaps.clear();
  for (const one of state.attachments.values()) if (one.root === root) one.changed();
}

const THROTTLE_NAMES: Readonly<Record<string, ThrottleKind>> = {
  bps: 'bps-total',
  bps_rd: 'bps-read',
  bps_wr: 'bps-write',
  iops: 'iops-total',
  iops_rd: 'iops-read',
  iops_wr: 'iops-write',
};

/** What block_set_io_throttle says; 0 is no limit. */
function limitsOf(args: Arguments): Limits {
  if (args.group !== undefined && args.group !== args.device && args.group !== args.id) {
    throw new GraphError('group: limits that several disks share are not supported');
  }
  if (args.iops_size) throw new GraphError('iops_size is not supported: each request counts once');
  const limits: { -readonly [Kind in ThrottleKind]?: NonNullable<Limits[Kind]> } = {};
  for (const [name, kind] of Object.entries(THROTTLE_NAMES)) {
    const [perSecond, burst] = [args[name] ?? 0, args[`${name}_max`] ?? 0];
    if (perSecond < 0 || burst < 0) throw new GraphError(`bps/iops/max values must be within [0, 1000000000000000]`);
    if (perSecond === 0 && burst > 0) throw new GraphError(`${name}_max require corresponding ${name} values`);
    if (perSecond > 0) limits[kind] = { perSecond, ...(burst > 0 ? { burst } : {}) };
    const seconds = args[`${name}_max_length`] ?? 1;
    if (seconds !== 1) throw new GraphError(`${name}_max_length is not supported, only 1`);
  }
  if (limits['bps-total'] && (limits['bps-read'] || limits['bps-write'])) {
    throw new GraphError('bps/iops total values and read/write values cannot be used at the same time');
  }
  if (limits['iops-total'] && (limits['iops-read'] || limits['iops-write'])) {
    throw new GraphError('bps/iops total values and read/write values cannot be used at the same time');
  }
  return limits;
}

async function changeBackingFile(state: GraphState, args: Arguments): Promise<void> {
  const top = findRoot(state, args.device);
  const node = findNode(state, args['image-node-name']);
  const image = imageOf(node);
  if (!chainOfNode(top).includes(node)) throw new GraphError(`image file not found in the chain of '${args.device}'`);
  if (image.changeBacking === undefined) throw new GraphError(`the format ${node.driver} has no backing files`);
  const wasReadOnly = node.readOnly;
  await rootOf(top).live.drained(async () => {
    if (wasReadOnly) await reopenNode(state, node, { readOnly: false });
    const format = node.backing?.target.driver;
    await imageOf(node).changeBacking!({ filename: args['backing-file'], ...(format === undefined ? {} : { format }) });
    if (wasReadOnly) await reopenNode(state, node, { readOnly: true });
  });
}

/** The same node with other options; those that cannot change must be what they are. */
async function reopen(state: GraphState, given: Arguments): Promise<void> {
  const { backing, ...rest } = given;
  const options = flatOptions(rest);
  const name = options.get('node-name');
  if (name === undefined) throw new GraphError('node-name not specified');
  const node = findNode(state, name);
  if (options.get('driver') !== node.driver) {
    throw new GraphError(`Changing option 'driver' is not supported: ${name} is ${node.driver}`);
  }
  const file = options.get('file');
  if (file !== undefined && file !== node.file?.target.name) {
    throw new GraphError("Changing option 'file' is not supported");
  }
  const root = rootOf(rootOfChain(node));
  const readOnly = takeSwitch(options, 'read-only') ?? false;
  const cache = {
    direct: takeSwitch(options, 'cache.direct') ?? false,
    noFlush: takeSwitch(options, 'cache.no-flush') ?? false,
    writeThrough: node.cache.writeThrough,
  };
  const below = backing === undefined ? undefined : backing === null ? null : backingNamed(state, node, backing);
  const before = node.options;
  await root.live.drained(async () => {
    node.options = new Map([...node.options, ...options]);
    try {
      await reopenNode(state, node, { readOnly, cache, ...(below === undefined ? {} : { backing: below }) });
    } catch (error) {
      node.options = before;
      throw error;
    }
  });
}

function backingNamed(state: GraphState, node: GraphNode, backing: unknown): GraphNode {
  if (typeof backing !== 'string') throw new GraphError("backing must be a node's name, or null");
  const found = findNode(state, backing);
  if (chainOfNode(found).includes(node))
    throw new GraphError(`Making '${backing}' a backing child of '${node.name}' would create a cycle`);
  if (imageOf(node).info?.backing === undefined) {
    throw new GraphError(`the image of '${node.name}' names no backing file, so that it cannot get one`);
  }
  return found;
}

/** The node that has the users, seen from one of the nodes below. */
function rootOfChain(node: GraphNode): GraphNode {
  for (let at = node; ; ) {
    if (at.root !== undefined && at.root.users.size > 0) return at;
    const above = [...at.parents].find(({ owner }) => owner !== undefined);
    if (above?.owner === undefined) return at;
    at = above.owner;
  }
}

function removable(drive: Attachment): { isOpen: boolean } {
  if (drive.tray === undefined) throw new GraphError(`Device '${drive.drive || drive.device}' is not removable`);
  return drive.tray;
}

function moved(state: GraphState, drive: Attachment, isOpen: boolean): void {
  state.tell('DEVICE_TRAY_MOVED', { device: drive.drive, id: drive.device, 'tray-open': isOpen });
}

function openTray(state: GraphState, drive: Attachment): unknown {
  const tray = removable(drive);
  if (tray.isOpen) return {};
  tray.isOpen = true;
  drive.changed();
  moved(state, drive, true);
  return {};
}

function closeTray(state: GraphState, drive: Attachment): unknown {
  const tray = removable(drive);
  if (!tray.isOpen) return {};
  tray.isOpen = false;
  drive.changed();
  moved(state, drive, false);
  return {};
}

async function removeMedium(state: GraphState, drive: Attachment): Promise<void> {
  if (!removable(drive).isOpen) throw new GraphError(`Tray of device '${drive.drive || drive.device}' is not open`);
  await leaveNode(state, drive);
}

function insertMedium(drive: Attachment, node: GraphNode): unknown {
  if (!removable(drive).isOpen) throw new GraphError(`Tray of device '${drive.drive || drive.device}' is not open`);
  if (drive.root !== undefined)
    throw new GraphError(`There already is a medium in device '${drive.drive || drive.device}'`);
  useNode(drive, node, true);
  drive.changed();
  return {};
}

async function changeMedium(state: GraphState, drive: Attachment, args: Arguments): Promise<void> {
  removable(drive);
  const mode = args['read-only-mode'] ?? 'retain';
  if (mode === 'read-write') throw new GraphError('read-only-mode=read-write is not supported: discs are read-only');
  const options = state.drivers.parseName(args.filename);
  options.set('driver', args.format ?? 'auto');
  // Opened first: what cannot be opened leaves the old medium in.
  const node = await openNode(state, options, {
    readOnly: true,
    cache: { direct: false, noFlush: false, writeThrough: false },
    depth: 0,
  });
  try {
    openTray(state, drive);
    await leaveNode(state, drive);
    insertMedium(drive, node);
    closeTray(state, drive);
  } catch (error) {
    await release(state, node);
    throw error;
  }
}
