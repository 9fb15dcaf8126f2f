/** The node graph of one machine: nodes by name, devices that stand on them, jobs, exports, and QMP's commands on all of it. */
import type { BlockNode, WriteZeroesOptions } from '../../contract/index.ts';
import { type ThrottleKind, type ThrottleLimit, throttleFilter } from '../filters/index.ts';
import { zeroRange } from '../request.ts';
import { bitmapCommands } from './bitmap-commands.ts';
import { changeCommands } from './change-commands.ts';
import type { GraphDrivers } from './drivers.ts';
import { GraphError, noNode } from './error.ts';
import { exportCommands, NbdServers } from './exports.ts';
import { infoCommands } from './info.ts';
import { jobCommands } from './job-commands.ts';
import { JobTable, type JobType } from './job-table.ts';
import { flatOptions, type GraphNode, nodeOf, type Root, rootOf } from './node.ts';
import { findNode, giveUp, type NodeTable, openNode, release, takeBack } from './open.ts';
import { runOnce } from './run-once.ts';
import { snapshotCommands } from './snapshot-commands.ts';
import { temporaryOver } from './temporary.ts';
import { transaction } from './transaction.ts';
import { VmSnapshots } from './vm-snapshots.ts';

/** Tells of QMP's events. */
export type TellEvent = (name: string, data: Readonly<Record<string, unknown>>) => void;

/** A device of the guest and what is in it. */
export interface Attachment {
  /** The id of its drive (-drive), or ''. */
  readonly drive: string;
  /** The device's id. */
  readonly device: string;
  /** Undefined: no medium is in it. */
  root: Root | undefined;
  limits: Limits;
  /** Of a drive with removable media. */
  tray?: { isOpen: boolean };
  /** The name of the medium's content changed, or its size. */
  changed(): void;
}

export type Limits = Readonly<Partial<Record<ThrottleKind, ThrottleLimit>>>;

export interface AttachOptions {
  readonly drive?: string;
  readonly device: string;
  readonly node?: string;
  readonly isRemovable?: boolean;
  readonly limits?: Limits;
  /** The size or the medium is another one. */
  onChange?(): void;
}

/** What a device uses; without a medium it has no bytes. */
export interface AttachedNode extends BlockNode {
  readonly hasMedium: boolean;
}

export interface GraphState extends NodeTable {
  readonly attachments: Map<string, Attachment>;
  readonly jobs: JobTable;
  readonly servers: NbdServers;
  readonly tell: TellEvent;
}

/** What QMP's commands take and return, by the schema; checked before they come here. */
// biome-ignore lint/suspicious/noExplicitAny: the schema's types are those of the monitor, which stands above
export type Arguments = any;
export type GraphCommands = Readonly<Record<string, (args: Arguments) => Promise<unknown> | unknown>>;

/** Names of nodes that nobody named; those of the command line are below. */
const FIRST_NAME = 1000;

export class BlockGraph {
  readonly #state: GraphState;
  readonly #commands: GraphCommands;
  readonly vm: VmSnapshots;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param isElsewhere another process has the images: they are only looked at until `take` */
  constructor(drivers: GraphDrivers, tell: TellEvent, isElsewhere = false) {
    let counter = FIRST_NAME;
    const state: GraphState = {
      drivers,
      isElsewhere,
      nodes: new Map(),
      attachments: new Map(),
      jobs: new JobTable(tell),
      servers: new NbdServers(drivers, tell),
      tell,
      nextName() {
        counter += 1;
        return `#block${counter}`;
      },
    };
    this.#state = state;
    this.vm = new VmSnapshots(state);
    this.#commands = {
      ...nodeCommands(state),
      ...infoCommands(state),
      ...jobCommands(state),
      ...bitmapCommands(state),
      ...snapshotCommands(state),
      ...changeCommands(state),
      ...exportCommands(state),
      transaction: (args: Arguments) => transaction(state, args),
    };
  }

  /**
   * A node from the command line. Beside the options of blockdev-add it takes `image-name`, a file's name or a URI,
   * and `snapshot=on`: what is written to it goes to a file that nobody keeps.
   */
  async add(given: ReadonlyMap<string, string>): Promise<void> {
    const options = new Map(given);
    const image = options.get('image-name');
    const isTemporary = options.get('snapshot') === 'on';
    for (const key of ['image-name', 'snapshot']) options.delete(key);
    if (image !== undefined) {
      for (const [key, value] of this.#state.drivers.parseName(image)) if (!options.has(key)) options.set(key, value);
    }
    const name = options.get('node-name');
    if (isTemporary) {
      options.delete('node-name');
      options.set('read-only', 'on');
    }
    const node = await openNode(this.#state, options);
    (isTemporary ? await temporaryOver(this.#state, node, name) : node).isOwned = true;
  }

  /** Runs a QMP command by name; one at a time. @throws GraphError or UserError */
  execute(name: string, args: Arguments): Promise<unknown> {
    const command = this.#commands[name];
    if (command === undefined) throw new GraphError(`the command ${name} is not about block nodes`);
    const result = this.#turn.then(() => command(args));
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Work of the machine's own as a job. @throws GraphError unless a job may be called so */
  startJob(id: string, type: JobType, work: () => Promise<void>): void {
    this.#state.jobs.check(id);
    this.#state.jobs.add({ id, type, isBlockJob: false, autoDismiss: false }, runOnce(work));
  }

  /** Jobs or clients are at work: their progress is a matter of the host's event loop. */
  get isBusy(): boolean {
    return this.#state.jobs.isBusy || this.#state.servers.isBusy;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#commands, name);
  }

  /** Puts a device on a node. Closing what it gets takes it away again. */
  attach(options: AttachOptions): AttachedNode {
    return attachDevice(this.#state, options);
  }

  /** False from `release`, or while another process has the images, until `take`. */
  get isOpen(): boolean {
    return !this.#state.isElsewhere;
  }

  /** Where another process has the images: what they are is known now, and they are closed until `take`. */
  async looked(): Promise<void> {
    if (this.isOpen) return;
    for (const node of topDown(this.#state.nodes.values())) await giveUp(node);
  }

  /** Closes every image after a flush; the nodes stay. @throws GraphError while jobs work or clients are served */
  async release(): Promise<void> {
    const { servers, jobs, nodes } = this.#state;
    if (this.#state.isElsewhere) return;
    if (jobs.all().length > 0 || servers.isRunning) throw new GraphError('a job or an export uses the disks');
    for (const node of topDown(nodes.values())) {
      if (!node.impl.readOnly) await node.impl.flush();
    }
    this.#state.isElsewhere = true;
    for (const node of topDown(nodes.values())) await giveUp(node);
  }

  /** Opens them again, all or none. */
  async take(): Promise<void> {
    const { nodes } = this.#state;
    if (!this.#state.isElsewhere) return;
    const absent = topDown(nodes.values()).filter(({ isGivenUp }) => isGivenUp);
    this.#state.isElsewhere = false;
    try {
      for (const node of absent.toReversed()) await takeBack(this.#state, node);
    } catch (error) {
      this.#state.isElsewhere = true;
      for (const node of absent) await giveUp(node);
      throw error;
    }
  }

  async close(): Promise<void> {
    const { servers, jobs, nodes } = this.#state;
    servers.close();
    await jobs.cancelAll();
    for (const node of topDown(nodes.values())) await node.impl.close();
    nodes.clear();
  }
}

/** Those above first: each writes into those below when it is closed. */
function topDown(nodes: Iterable<GraphNode>): GraphNode[] {
  const [left, order] = [new Set(nodes), [] as GraphNode[]];
  while (left.size > 0) {
    const top = [...left].find((node) => ![...left].some((other) => standsOn(other, node))) ?? [...left][0];
    left.delete(top);
    order.push(top);
  }
  return order;
}

function standsOn(above: GraphNode, below: GraphNode): boolean {
  return [above.file, above.backing, above.dataFile].some((edge) => edge?.target === below);
}

function attachDevice(state: GraphState, options: AttachOptions): AttachedNode {
  const { drive = '', device, node: name, isRemovable = false, limits = {}, onChange = () => {} } = options;
  const key = device;
  let throttled: BlockNode | undefined;
  const attachment: Attachment = {
    drive,
    device,
    root: undefined,
    get limits() {
      return current;
    },
    set limits(next) {
      current = next;
      rebuild();
    },
    ...(isRemovable ? { tray: { isOpen: false } } : {}),
    changed() {
      rebuild();
      onChange();
    },
  };
  let current = limits;
  let live: BlockNode | undefined;
  const rebuild = () => {
    live = attachment.tray?.isOpen ? undefined : attachment.root?.live;
    const isLimited = Object.keys(current).length > 0;
    throttled = live && isLimited ? throttleFilter(live, { clock: state.drivers.clock, limits: current }) : live;
  };
  if (name !== undefined) useNode(attachment, findNode(state, name), isRemovable);
  rebuild();
  state.attachments.set(key, attachment);
  const readOnly = isRemovable || (attachment.root !== undefined && nodeOf(attachment.root).readOnly);
  const none = () => Promise.reject(new GraphError('there is no medium'));
  const node: AttachedNode = {
    get hasMedium() {
      return throttled !== undefined;
    },
    get sizeBytes() {
      return throttled?.sizeBytes ?? 0;
    },
    readOnly,
    get limits() {
      return throttled?.limits ?? { alignmentBytes: 1, preferredBytes: 4096 };
    },
    read: (offset, target) => throttled?.read(offset, target) ?? none(),
    write: (offset, source) => throttled?.write(offset, source) ?? none(),
    flush: async () => throttled?.flush(),
    extents: (offset, length) => throttled?.extents(offset, length) ?? none(),
    async close() {
      state.attachments.delete(key);
      await leaveNode(state, attachment);
    },
  };
  const direct = () => (throttled === live ? live?.immediate : undefined);
  // What a guest was offered stays, whatever it stands on later.
  return Object.assign(node, {
    immediate: {
      read: (offset: number, targets: readonly Uint8Array[]) => direct()?.read(offset, targets) ?? false,
      write: (offset: number, sources: readonly Uint8Array[]) => direct()?.write(offset, sources) ?? false,
    },
    ...(readOnly
      ? {}
      : {
          discard: async (offset: number, length: number) => throttled?.discard?.(offset, length),
          writeZeroes: async (offset: number, length: number, how?: WriteZeroesOptions) =>
            throttled === undefined ? none() : zeroRange(throttled, offset, length, how?.mayUnmap),
        }),
  });
}

/** Puts a medium into a drive, or a disk on its node. */
export function useNode(attachment: Attachment, node: GraphNode, readOnly = false): void {
  const root = rootOf(node);
  const others = [...root.users].filter((user) => user.startsWith('device '));
  if (others.length > 0 && !readOnly)
    throw new GraphError(`Node '${node.name}' is busy: it is in use by another device`);
  root.users.add(userOf(attachment));
  attachment.root = root;
}

/** Takes the medium out. */
export async function leaveNode(state: GraphState, attachment: Attachment): Promise<void> {
  const { root } = attachment;
  if (root === undefined) return;
  attachment.root = undefined;
  attachment.changed();
  await root.live.drained(() => root.live.current.flush());
  root.users.delete(userOf(attachment));
  await release(state, nodeOf(root));
}

function userOf({ device }: Attachment): string {
  return `device ${device}`;
}

/** The attachment of a drive by its id, or of a device by its. */
export function findDrive(state: GraphState, { device, id }: { device?: string; id?: string }): Attachment {
  const found = [...state.attachments.values()].find((one) =>
    id === undefined
      ? one.drive !== '' && one.drive === device
      : one.device === id || one.device.split('/').includes(id),
  );
  if (found === undefined) throw new GraphError(`Device '${id ?? device ?? ''}' not found`, 'DeviceNotFound');
  return found;
}

/** A node by the name of the drive that stands on it, or by its own. */
export function findRoot(state: GraphState, name: string): GraphNode {
  const drive = [...state.attachments.values()].find((one) => one.drive !== '' && one.drive === name);
  if (drive !== undefined) {
    if (drive.root === undefined) throw new GraphError(`Device '${name}' has no medium`);
    return nodeOf(drive.root);
  }
  const node = state.nodes.get(name);
  if (node === undefined) throw noNode(name);
  return node;
}

/** The drive that stands on a node, as jobs tell of it. */
export function driveOf(state: GraphState, root: Root | undefined): string | undefined {
  const found = [...state.attachments.values()].find((one) => root !== undefined && one.root === root);
  return found === undefined ? undefined : found.drive;
}

function nodeCommands(state: GraphState): GraphCommands {
  return {
    async 'blockdev-add'(args: Arguments) {
      const options = flatOptions(args);
      if (!options.has('node-name')) throw new GraphError("'node-name' must be specified for the root node");
      (await openNode(state, options)).isOwned = true;
      return {};
    },
    async 'blockdev-del'({ 'node-name': name }: Arguments) {
      const node = state.nodes.get(name);
      if (node === undefined) throw new GraphError(`Failed to find node with node-name='${name}'`);
      refuseBusy(node);
      if (!node.isOwned) throw new GraphError(`Node ${name} is not owned by the monitor`);
      node.isOwned = false;
      // A root that nobody uses any more does not hold it.
      for (const edge of [...node.parents]) if (edge.role === 'root') node.parents.delete(edge);
      node.root = undefined;
      await release(state, node);
      return {};
    },
  };
}

/** @throws GraphError when somebody uses the node */
export function refuseBusy(node: GraphNode): void {
  const [user] = node.root?.users ?? [];
  const above = [...node.parents].find(({ role }) => role !== 'root');
  if (above !== undefined) throw new GraphError(`Node '${node.name}' is busy: node is used as '${above.role}'`);
  if (node.root?.job !== undefined) {
    throw new GraphError(`Node '${node.name}' is busy: block device is in use by block job: ${node.root.job}`);
  }
  if (user !== undefined) throw new GraphError(`Node '${node.name}' is busy: node is in use by ${user}`);
}
