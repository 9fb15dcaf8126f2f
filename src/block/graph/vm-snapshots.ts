/** Snapshots of a whole machine: one of the same name in every disk, the machine's state in one of them. */
import type { ImageNode, SnapshotInfo, Snapshots } from '../format.ts';
import { GraphError } from './error.ts';
import type { GraphState } from './graph.ts';
import { type GraphNode, nodeOf, type Root } from './node.ts';

export interface VmSnapshotScope {
  /** The node that has the machine's state; default the first. */
  readonly vmstate?: string;
  /** Default: every disk that can be written to. */
  readonly devices?: readonly string[];
}

export interface VmSnapshotRequest {
  readonly name: string;
  readonly vmClockNanos: number;
  /** One of that name goes away first. */
  readonly replaces: boolean;
}

interface Member {
  readonly node: GraphNode;
  readonly root: Root;
  readonly snapshots: Snapshots;
}

const READ_BYTES = 1024 * 1024;

export class VmSnapshots {
  readonly #state: GraphState;

  constructor(state: GraphState) {
    this.#state = state;
  }

  /** Those that all disks have, with what the disk of the machine's state says of them. */
  list(): readonly SnapshotInfo[] {
    const members = this.#members({}, true);
    const [first, ...others] = members;
    if (first === undefined) return [];
    return first.snapshots.list().filter(({ name }) => others.every(({ snapshots }) => has(snapshots, name)));
  }

  async save(
    { name, vmClockNanos, replaces }: VmSnapshotRequest,
    scope: VmSnapshotScope,
    state: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    if (name === '') throw new GraphError('Name is empty');
    const members = this.#members(scope);
    if (members.some(({ snapshots }) => has(snapshots, name))) {
      if (!replaces) throw new GraphError(`Snapshot '${name}' already exists in one or more devices`);
      await this.delete(name, scope);
    }
    const now = this.#state.drivers.nowSeconds();
    const request = { name, vmClockNanos, dateSeconds: Math.floor(now), dateNanos: Math.floor((now % 1) * 1e9) };
    const made: Member[] = [];
    try {
      for (const [index, member] of members.entries()) {
        await member.root.live.drained(async () => {
          await member.node.impl.flush();
          await member.snapshots.create(request, index === 0 ? state : undefined);
        });
        made.push(member);
      }
    } catch (error) {
      for (const { snapshots } of made) await snapshots.delete(name);
      throw error;
    }
  }

  /** The machine's state in pieces, which are used again. */
  async *read(name: string, scope: VmSnapshotScope): AsyncGenerator<Uint8Array, void> {
    const [first] = this.#withSnapshot(name, scope);
    const { vmStateBytes } = first.snapshots.list().find((one) => isNamed(one, name))!;
    if (vmStateBytes === 0) {
      throw new GraphError('This is a disk-only snapshot. Revert to it offline using qemu-img');
    }
    const buffer = new Uint8Array(Math.min(READ_BYTES, vmStateBytes));
    for (let at = 0; at < vmStateBytes; at += buffer.length) {
      const piece = buffer.subarray(0, vmStateBytes - at);
      await first.snapshots.readState(name, at, piece);
      yield piece;
    }
  }

  /** Makes the disks what they were. */
  async apply(name: string, scope: VmSnapshotScope): Promise<void> {
    for (const { root, snapshots } of this.#withSnapshot(name, scope)) {
      await root.live.drained(() => snapshots.apply(name));
      for (const attachment of this.#state.attachments.values()) if (attachment.root === root) attachment.changed();
    }
  }

  /** @throws GraphError when no disk has it */
  async delete(name: string, scope: VmSnapshotScope): Promise<void> {
    const members = this.#members(scope).filter(({ snapshots }) => has(snapshots, name));
    if (members.length === 0) throw new GraphError(`Snapshot '${name}' does not exist in one or more devices`);
    for (const { root, snapshots } of members) await root.live.drained(() => snapshots.delete(name));
  }

  #withSnapshot(name: string, scope: VmSnapshotScope): Member[] {
    const members = this.#members(scope);
    if (members.some(({ snapshots }) => !has(snapshots, name)))
      throw new GraphError(`Snapshot '${name}' does not exist in one or more devices`);
    return members;
  }

  /** The disks that can be written to, that of the state first. @throws GraphError when one cannot keep snapshots */
  #members({ vmstate, devices }: VmSnapshotScope, isTolerant = false): Member[] {
    const roots = [...this.#state.attachments.values()].flatMap(({ root }) => root ?? []);
    const nodes = [...new Set(roots)].map((root) => ({ root, node: nodeOf(root) }));
    const missing = [...(devices ?? []), ...(vmstate === undefined ? [] : [vmstate])].find(
      (name) => !nodes.some(({ node }) => node.name === name),
    );
    if (missing !== undefined) throw new GraphError(`No block device node '${missing}'`);
    const members = nodes
      .filter(({ node }) => !node.readOnly && (devices === undefined || devices.includes(node.name)))
      .flatMap(({ node, root }): Member[] => {
        const { snapshots } = node.impl as ImageNode;
        if (snapshots !== undefined) return [{ node, root, snapshots }];
        if (isTolerant) return [];
        throw new GraphError(`Device '${node.name}' is writable but does not support snapshots`);
      });
    if (members.length === 0 && !isTolerant) throw new GraphError('No block device can accept snapshots');
    const first = members.find(({ node }) => node.name === vmstate);
    return first === undefined ? members : [first, ...members.filter((one) => one !== first)];
  }
}

function isNamed({ name, id }: SnapshotInfo, idOrName: string): boolean {
  return name === idOrName || id === idOrName;
}

function has(snapshots: Snapshots, idOrName: string): boolean {
  return snapshots.list().some((one) => isNamed(one, idOrName));
}
