/** Snapshots: an overlay on top of a node, or inside its image. */
import type { ImageNode } from '../format.ts';
import { GraphError } from './error.ts';
import { type Arguments, driveOf, findRoot, type GraphCommands, type GraphState, refuseBusy } from './graph.ts';
import { snapshotInfo } from './info.ts';
import { backingOptions } from './job-commands.ts';
import { chainOfNode, cut, type GraphNode, imageOf, moveRoot, nodeOf, rootOf } from './node.ts';
import { findNode, openNode, release, reopenNode } from './open.ts';

export function snapshotCommands(state: GraphState): GraphCommands {
  return {
    'blockdev-snapshot': async (args: Arguments) => {
      await drainedSnapshot(state, await prepareSnapshot(state, args));
      return {};
    },
    'blockdev-snapshot-sync': async (args: Arguments) => {
      await drainedSnapshot(state, await prepareSnapshotSync(state, args));
      return {};
    },
    'blockdev-snapshot-internal-sync': async (args: Arguments) => {
      await rootOf(findRoot(state, args.device)).live.drained(() => takeInternal(state, args));
      return {};
    },
    'blockdev-snapshot-delete-internal-sync': (args: Arguments) => deleteInternal(state, args),
  };
}

/** An overlay that is open and stands on its node, and is not yet what the guest sees. */
export interface PreparedSnapshot {
  readonly below: GraphNode;
  readonly overlay: GraphNode;
  /** Was made for this. */
  readonly isNew: boolean;
}

function checkSource(node: GraphNode): void {
  const { job } = node.root ?? {};
  if (job !== undefined)
    throw new GraphError(`Node '${node.name}' is busy: block device is in use by block job: ${job}`);
}

export async function prepareSnapshot(state: GraphState, args: Arguments): Promise<PreparedSnapshot> {
  const below = findRoot(state, args.node);
  const overlay = findNode(state, args.overlay);
  checkSource(below);
  if (chainOfNode(below).includes(overlay)) throw new GraphError(`'${overlay.name}' is below '${below.name}' already`);
  if (overlay.backing !== undefined) throw new GraphError('The overlay already has a backing image');
  refuseBusy(overlay);
  if (overlay.root !== undefined) {
    for (const edge of [...overlay.parents]) if (edge.role === 'root') cut(edge);
    overlay.root = undefined;
  }
  await attachBacking(state, overlay, below);
  return { below, overlay, isNew: false };
}

/** Puts an image on another one; when it names none, it does afterwards. */
async function attachBacking(state: GraphState, overlay: GraphNode, below: GraphNode): Promise<void> {
  const image = imageOf(overlay);
  if (image.changeBacking === undefined) throw new GraphError(`the format ${overlay.driver} has no backing files`);
  if (overlay.impl.sizeBytes < below.impl.sizeBytes) {
    throw new GraphError(`the overlay has ${overlay.impl.sizeBytes} bytes, and the disk ${below.impl.sizeBytes}`);
  }
  if (image.info?.backing === undefined) await image.changeBacking({ filename: below.filename, format: below.driver });
  await reopenNode(state, overlay, { backing: below });
}

export async function prepareSnapshotSync(state: GraphState, args: Arguments): Promise<PreparedSnapshot> {
  const { drivers, nodes } = state;
  const name = args['node-name'] ?? args.device;
  if (name === undefined) throw new GraphError("one of 'device' and 'node-name' is needed");
  const below = findRoot(state, name);
  checkSource(below);
  const file: string = args['snapshot-file'];
  const overlayName: string | undefined = args['snapshot-node-name'];
  if (overlayName !== undefined && nodes.has(overlayName)) {
    throw new GraphError(`New overlay node-name already in use`);
  }
  const format: string = args.format ?? 'qcow2';
  if (args.mode !== 'existing') {
    const options = new Map<string, string>();
    backingOptions(below, options);
    await drivers.createImage(format, file, below.impl.sizeBytes, options);
  }
  const options = drivers.parseName(file);
  options.set('driver', format);
  if (overlayName !== undefined) options.set('node-name', overlayName);
  options.set('backing', below.name);
  const overlay = await openNode(state, options, { readOnly: false, cache: below.cache, depth: 0 });
  if (overlay.backing === undefined) {
    await release(state, overlay);
    throw new GraphError(`the image ${file} names no backing file`);
  }
  return { below, overlay, isNew: true };
}

/** The guest sees the overlay from now on; everybody who stood on the node below stands on it. */
export function applySnapshot({ below, overlay }: PreparedSnapshot): void {
  moveRoot(rootOf(below), overlay);
}

export async function undoSnapshot(state: GraphState, { below, overlay, isNew }: PreparedSnapshot): Promise<void> {
  if (overlay.root !== undefined && nodeOf(overlay.root) === overlay) moveRoot(overlay.root, below);
  if (isNew) await release(state, overlay);
  else await reopenNode(state, overlay, { backing: null });
}

async function drainedSnapshot(state: GraphState, prepared: PreparedSnapshot): Promise<void> {
  const root = rootOf(prepared.below);
  try {
    await root.live.drained(async () => {
      await prepared.below.impl.flush();
      applySnapshot(prepared);
    });
  } catch (error) {
    await undoSnapshot(state, prepared);
    throw error;
  }
}

function imageWithSnapshots(state: GraphState, device: string): { node: GraphNode; image: ImageNode } {
  const node = findRoot(state, device);
  const image = node.impl as ImageNode;
  if (image.snapshots === undefined || node.readOnly) {
    const name = driveOf(state, node.root) ?? device;
    throw new GraphError(`Block format '${node.driver}' used by device '${name}' does not support internal snapshots`);
  }
  return { node, image };
}

/** The node must be drained. @returns what takes it back */
export async function takeInternal(state: GraphState, { device, name }: Arguments): Promise<() => Promise<void>> {
  const { image } = imageWithSnapshots(state, device);
  if (name === '') throw new GraphError('Name is empty');
  if (image.snapshots!.list().some((one) => one.name === name)) {
    throw new GraphError(`Snapshot with name '${name}' already exists on device '${device}'`);
  }
  const now = state.drivers.nowSeconds();
  const request = { name, dateSeconds: Math.floor(now), dateNanos: Math.floor((now % 1) * 1e9) };
  await image.flush();
  await image.snapshots!.create(request);
  return () => image.snapshots!.delete(name);
}

async function deleteInternal(state: GraphState, { device, id, name }: Arguments): Promise<unknown> {
  const { node, image } = imageWithSnapshots(state, device);
  if (id === undefined && name === undefined) throw new GraphError('Name or id must be provided');
  const found = image.snapshots!.list().find((one) => (id ?? one.id) === one.id && (name ?? one.name) === one.name);
  if (found === undefined) {
    throw new GraphError(
      `Snapshot with id '${id ?? '(null)'}' and name '${name ?? '(null)'}' does not exist on device '${device}'`,
    );
  }
  await rootOf(node).live.drained(() => image.snapshots!.delete(found.id));
  return snapshotInfo(found);
}
