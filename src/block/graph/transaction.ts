/** Several actions at one moment, all or none. */
import { BITMAP_ACTIONS, type Undo } from './bitmap-commands.ts';
import { GraphError } from './error.ts';
import { type Arguments, findRoot, type GraphState } from './graph.ts';
import { backup, driveBackup } from './job-commands.ts';
import { type Root, rootOf } from './node.ts';
import { findNode } from './open.ts';
import {
  applySnapshot,
  type PreparedSnapshot,
  prepareSnapshot,
  prepareSnapshotSync,
  takeInternal,
  undoSnapshot,
} from './snapshot-commands.ts';

const ACTIONS_MAX = 256;

interface Action {
  readonly type: string;
  readonly data: Arguments;
}

/** The nodes whose requests must rest while the actions are done. */
const SOURCES: Readonly<Record<string, (data: Arguments) => string | undefined>> = {
  'blockdev-snapshot': ({ node }) => node,
  'blockdev-snapshot-sync': (data) => data['node-name'] ?? data.device,
  'blockdev-snapshot-internal-sync': ({ device }) => device,
  'blockdev-backup': ({ device }) => device,
  'drive-backup': ({ device }) => device,
  ...Object.fromEntries(Object.keys(BITMAP_ACTIONS).map((type) => [type, ({ node }: Arguments) => node])),
};

export async function transaction(state: GraphState, { actions, properties = {} }: Arguments): Promise<unknown> {
  const list = actions as readonly Action[];
  if (list.length > ACTIONS_MAX) throw new GraphError(`a transaction has at most ${ACTIONS_MAX} actions`);
  if (properties['completion-mode'] === 'grouped') {
    throw new GraphError('completion-mode=grouped is not supported, only individual');
  }
  const undos: Undo[] = [];
  try {
    // Images are made and opened before the guest has to wait.
    const prepared = new Map<Action, PreparedSnapshot>();
    for (const action of list) {
      const snapshot = await prepare(state, action);
      if (snapshot === undefined) continue;
      if ([...prepared.values()].some(({ below }) => below === snapshot.below)) {
        await undoSnapshot(state, snapshot);
        throw new GraphError(`two actions make snapshots of '${snapshot.below.name}'`);
      }
      prepared.set(action, snapshot);
      undos.unshift(() => undoSnapshot(state, snapshot));
    }
    const roots = new Set(
      list.flatMap(({ type, data }) => {
        const name = Object.hasOwn(SOURCES, type) ? SOURCES[type](data) : undefined;
        return name === undefined ? [] : [rootOf(findRoot(state, name))];
      }),
    );
    await drainAll([...roots], async () => {
      for (const action of list) undos.unshift(await act(state, action, prepared.get(action)));
    });
  } catch (error) {
    for (const undo of undos) await undo();
    throw error;
  }
  return {};
}

async function prepare(state: GraphState, { type, data }: Action): Promise<PreparedSnapshot | undefined> {
  if (type === 'blockdev-snapshot') return prepareSnapshot(state, data);
  if (type === 'blockdev-snapshot-sync') return prepareSnapshotSync(state, data);
  return undefined;
}

const NOTHING: Undo = async () => {};

async function act(state: GraphState, { type, data }: Action, snapshot: PreparedSnapshot | undefined): Promise<Undo> {
  if (snapshot !== undefined) {
    await snapshot.below.impl.flush();
    applySnapshot(snapshot);
    return NOTHING; // the prepared snapshot's own undo takes it back
  }
  const bitmap = Object.hasOwn(BITMAP_ACTIONS, type) ? BITMAP_ACTIONS[type] : undefined;
  if (bitmap !== undefined) return bitmap(state, data);
  switch (type) {
    case 'abort':
      throw new GraphError('Transaction aborted using Abort action');
    case 'blockdev-snapshot-internal-sync':
      return takeInternal(state, data);
    case 'blockdev-backup':
      return begun(state, async (moment) => backup(state, data, findNode(state, data.target), moment));
    case 'drive-backup':
      return begun(state, (moment) => driveBackup(state, data, moment));
    default:
      throw new GraphError(`the action ${type} is not supported in a transaction`);
  }
}

/** Begins a backup and waits until it has the moment. */
async function begun(
  state: GraphState,
  start: (moment: { isDrained: true; onBegun: () => void }) => Promise<string>,
): Promise<Undo> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const id = await start({ isDrained: true, onBegun: resolve });
  await Promise.race([promise, state.jobs.over(id)]);
  return () => state.jobs.undo(id);
}

function drainAll(roots: readonly Root[], body: () => Promise<void>): Promise<void> {
  const [first, ...rest] = roots;
  return first === undefined ? body() : first.live.drained(() => drainAll(rest, body));
}
