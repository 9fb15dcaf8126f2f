/** QMP's commands that begin jobs and steer them. */
import { UserError } from '../../base/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import { backupJob, commitJob, type Job, liveNode, mirrorJob, streamJob } from '../jobs/index.ts';
import { bitmapOf } from './bitmaps.ts';
import { GraphError } from './error.ts';
import { type Arguments, driveOf, findRoot, type GraphCommands, type GraphState, refuseBusy } from './graph.ts';
import type { JobSpec, JobType } from './job-table.ts';
import { chainOfNode, cut, type Edge, edgeTo, type GraphNode, imageOf, type Root, rootOf } from './node.ts';
import { findNode, openNode, release, reopenNode } from './open.ts';
import { runOnce } from './run-once.ts';

export function jobCommands(state: GraphState): GraphCommands {
  const { jobs } = state;
  const steer =
    (isBlockJob: boolean, key: 'device' | 'id', act: (entry: ReturnType<typeof jobs.find>, args: Arguments) => void) =>
    (args: Arguments) => {
      act(jobs.find(args[key], isBlockJob), args);
      return {};
    };
  return {
    'block-job-pause': steer(true, 'device', (entry) => jobs.pause(entry)),
    'block-job-resume': steer(true, 'device', (entry) => jobs.resume(entry)),
    'block-job-cancel': steer(true, 'device', (entry, { force = false }) => jobs.cancel(entry, force)),
    'block-job-complete': steer(true, 'device', (entry) => jobs.complete(entry)),
    'block-job-set-speed': steer(true, 'device', (entry, { speed }) => jobs.setSpeed(entry, speed)),
    'block-job-dismiss': steer(true, 'id', (entry) => jobs.dismiss(entry)),
    'block-job-finalize': steer(true, 'id', (entry) => jobs.finalize(entry)),
    'job-pause': steer(false, 'id', (entry) => jobs.pause(entry)),
    'job-resume': steer(false, 'id', (entry) => jobs.resume(entry)),
    'job-cancel': steer(false, 'id', (entry) => jobs.cancel(entry, true)),
    'job-complete': steer(false, 'id', (entry) => jobs.complete(entry)),
    'job-dismiss': steer(false, 'id', (entry) => jobs.dismiss(entry)),
    'job-finalize': steer(false, 'id', (entry) => jobs.finalize(entry)),
    'query-block-jobs': () => jobs.blockJobs(),
    'query-jobs': () => jobs.all(),
    'blockdev-mirror': async (args: Arguments) => {
      mirror(state, args, findNode(state, args.target));
      return {};
    },
    'drive-mirror': async (args: Arguments) => {
      const source = findRoot(state, args.device);
      const target = await makeTarget(state, source, args, args.sync === 'full');
      await orRelease(state, target, () => mirror(state, args, target));
      return {};
    },
    'blockdev-backup': async (args: Arguments) => {
      backup(state, args, findNode(state, args.target));
      return {};
    },
    'drive-backup': async (args: Arguments) => {
      await driveBackup(state, args);
      return {};
    },
    'block-stream': async (args: Arguments) => {
      stream(state, args);
      return {};
    },
    'block-commit': async (args: Arguments) => {
      await commit(state, args);
      return {};
    },
    'blockdev-create': (args: Arguments) => {
      create(state, args);
      return {};
    },
  };
}

/** What all commands that begin a job have in common. */
function specOf(
  state: GraphState,
  args: Arguments,
  type: JobType,
  root: Root,
): Omit<JobSpec, 'finish' | 'settle' | 'clean'> {
  const id = args['job-id'] ?? driveOf(state, root) ?? '';
  for (const name of ['on-error', 'on-source-error', 'on-target-error']) {
    if (args[name] !== undefined && args[name] !== 'report') {
      throw new GraphError(`${name}=${args[name]} is not supported, only report: the job ends with the error`);
    }
  }
  state.jobs.check(id);
  return {
    ...{ id, type, isBlockJob: true },
    ...(args.speed === undefined ? {} : { speed: args.speed }),
    autoFinalize: args['auto-finalize'] ?? true,
    autoDismiss: args['auto-dismiss'] ?? true,
  };
}

function speedOf({ speed }: Arguments, { drivers: { clock, breathe } }: GraphState) {
  if (speed !== undefined && !(speed >= 0)) throw new GraphError("Parameter 'speed' expects a non-negative value");
  return { clock, breathe, ...(speed === undefined || speed === 0 ? {} : { bytesPerSecond: speed }) };
}

function take(node: GraphNode, id: string): Root {
  const root = rootOf(node);
  if (root.job !== undefined) {
    throw new GraphError(`Node '${node.name}' is busy: block device is in use by block job: ${root.job}`);
  }
  root.job = id;
  return root;
}

function refuseSelf(source: GraphNode, target: GraphNode): void {
  if (chainOfNode(source).includes(target) || chainOfNode(target).includes(source)) {
    throw new GraphError(`Cannot copy '${source.name}' onto '${target.name}': one stands on the other`);
  }
}

function mirror(state: GraphState, args: Arguments, target: GraphNode): void {
  const source = findRoot(state, args.device);
  if (args['copy-mode'] !== undefined && args['copy-mode'] !== 'background') {
    throw new GraphError('copy-mode=write-blocking is not supported, only background');
  }
  if (args.replaces !== undefined && args.replaces !== source.name) {
    throw new GraphError(`replaces=${args.replaces} is not supported: the mirror replaces ${source.name}`);
  }
  const { sync } = args;
  if (!['full', 'top', 'none'].includes(sync)) throw new GraphError(`Sync mode '${sync}' not supported for a mirror`);
  refuseSelf(source, target);
  refuseBusy(target);
  const root = rootOf(source);
  const spec = specOf(state, args, 'mirror', root);
  const edge = edgeTo(target, 'target');
  addMover({ state, spec, root, node: source, edge, to: target }, (stay) =>
    begin(root, source, spec.id, [edge], () =>
      mirrorJob(root.live, { target: edge, sync, stay, ...speedOf(args, state) }),
    ),
  );
}

/** A job at whose end the guest goes on with the target, unless it is told to stay. */
interface Mover {
  readonly state: GraphState;
  readonly spec: ReturnType<typeof specOf>;
  readonly root: Root;
  /** What the guest writes to meanwhile. */
  readonly node: GraphNode;
  readonly edge: Edge;
  readonly to: GraphNode;
}

function addMover({ state, spec, root, node, edge, to }: Mover, start: (stay: () => 'source' | 'target') => Job): void {
  let stays = false;
  const job = start(() => (stays ? 'source' : 'target'));
  state.jobs.add(
    {
      ...spec,
      finish(how) {
        stays = how === 'stay';
        job.complete();
      },
      async settle() {
        if (!stays) await adopt(state, root, node, edge);
      },
      clean: () => done(state, root, edge, to),
    },
    job,
  );
}

/** Begins a job on a root; when it cannot begin, nothing is left of it. */
function begin(root: Root, node: GraphNode, id: string, edges: readonly Edge[], start: () => Job): Job {
  try {
    take(node, id);
    return start();
  } catch (error) {
    if (root.job === id) root.job = undefined;
    for (const edge of edges) cut(edge);
    throw error;
  }
}

async function done(state: GraphState, root: Root, edge: Edge, target: GraphNode): Promise<void> {
  root.job = undefined;
  cut(edge);
  await release(state, target);
}

/** The root stands on another node now, which a job put there: the graph says so too. */
async function adopt(state: GraphState, root: Root, old: GraphNode, edge: Edge): Promise<void> {
  const { target } = edge;
  await root.live.drained(async () => {
    const fresh = edgeTo(target, 'root');
    for (const one of [...old.parents]) if (one.role === 'root') cut(one);
    old.root = undefined;
    target.root = root;
    root.live.replace(fresh);
  });
  await release(state, old);
}

/** The image that drive-mirror and drive-backup make, or find. */
async function makeTarget(state: GraphState, source: GraphNode, args: Arguments, isFull: boolean): Promise<GraphNode> {
  const { drivers } = state;
  const format: string = args.format ?? (args.mode === 'existing' ? 'auto' : source.driver);
  if (args.mode !== 'existing') {
    const options = new Map<string, string>();
    if (!isFull && format !== 'raw') backingOptions(source, options);
    await drivers.createImage(format, args.target, source.impl.sizeBytes, options);
  }
  const name = args['node-name'];
  const options = drivers.parseName(args.target);
  if (!options.has('driver') && format !== 'auto') options.set('driver', format);
  if (name !== undefined) options.set('node-name', name);
  return openNode(state, options, { readOnly: false, cache: source.cache, depth: 0 });
}

export function backingOptions(node: GraphNode, options: Map<string, string>): void {
  options.set('backing_file', node.filename);
  options.set('backing_fmt', node.driver);
}

async function orRelease(state: GraphState, node: GraphNode, work: () => void): Promise<void> {
  try {
    work();
  } catch (error) {
    await release(state, node);
    throw error;
  }
}

export async function driveBackup(state: GraphState, args: Arguments, moment: BackupMoment = {}): Promise<string> {
  const source = findRoot(state, args.device);
  const target = await makeTarget(state, source, args, args.sync !== 'top');
  let id = '';
  await orRelease(state, target, () => {
    id = backup(state, args, target, moment);
  });
  return id;
}

/** When several backups begin at one moment. */
export interface BackupMoment {
  readonly isDrained?: boolean;
  readonly onBegun?: () => void;
}

/** @returns the job's id */
export function backup(state: GraphState, args: Arguments, target: GraphNode, moment: BackupMoment = {}): string {
  const source = findRoot(state, args.device);
  refuseSelf(source, target);
  if (args.compress) throw new GraphError('compress=true is not supported');
  const { sync } = args;
  const root = rootOf(source);
  const spec = specOf(state, args, 'backup', root);
  const bitmap = args.bitmap === undefined ? undefined : bitmapFor(source, args);
  if (bitmap === undefined && ['bitmap', 'incremental'].includes(sync)) {
    throw new GraphError("must provide a valid bitmap name for 'incremental' and 'bitmap' sync mode");
  }
  if (bitmap !== undefined && !['bitmap', 'incremental'].includes(sync)) {
    throw new GraphError(`Bitmap sync mode given with sync mode '${sync}'`);
  }
  const edge = edgeTo(target, 'target');
  const job = begin(root, source, spec.id, [edge], () =>
    backupJob(root.live, {
      target: edge,
      sync: bitmap === undefined ? sync : 'incremental',
      ...(bitmap === undefined ? {} : { bitmap: { bitmaps: bitmap, name: args.bitmap } }),
      ...moment,
      ...speedOf(args, state),
    }),
  );
  state.jobs.add({ ...spec, clean: () => done(state, root, edge, target) }, job);
  return spec.id;
}

function bitmapFor(source: GraphNode, args: Arguments) {
  const mode = args['bitmap-mode'] ?? (args.sync === 'incremental' ? 'on-success' : undefined);
  if (mode === undefined) throw new GraphError('Bitmap sync mode must be given when providing a bitmap');
  if (mode === 'always') throw new GraphError('bitmap-mode=always is not supported, only on-success and never');
  const bitmap = bitmapOf(source, args.bitmap);
  const keeps = mode === 'never';
  return {
    dirtyRanges: () => bitmap.dirtyRanges(),
    clear: async () => (keeps ? undefined : bitmap.clear()),
    mark: async (_name: string, ranges: Parameters<typeof bitmap.mark>[0]) => (keeps ? undefined : bitmap.mark(ranges)),
  };
}

/** The node of a chain by its file's name or its own name. */
function inChain(state: GraphState, chain: readonly GraphNode[], file: string | undefined, name: string | undefined) {
  if (file === undefined && name === undefined) return undefined;
  const found =
    name === undefined ? chain.find((node) => isNamed(state, node, chain[0], file!)) : findNode(state, name);
  if (found === undefined || !chain.includes(found)) {
    throw new GraphError(`Can't find '${file ?? name}' in the backing chain`);
  }
  return found;
}

function isNamed({ drivers }: GraphState, node: GraphNode, top: GraphNode, file: string): boolean {
  return node.filename === file || node.filename === drivers.resolveName(top.filename, file);
}

function stream(state: GraphState, args: Arguments): void {
  const top = findRoot(state, args.device);
  const chain = chainOfNode(top);
  const bottom = args.bottom === undefined ? undefined : findNode(state, args.bottom);
  const base = bottom === undefined ? inChain(state, chain, args.base, args['base-node']) : bottom.backing?.target;
  if (args['snapshot-node-name'] !== undefined) throw new GraphError('snapshot-node-name is not supported');
  const root = rootOf(top);
  const spec = specOf(state, args, 'stream', root);
  const depth = base === undefined ? undefined : chain.indexOf(base);
  if (depth === 0) throw new GraphError(`Node '${top.name}' cannot be its own base`);
  const reference = base && { filename: args['backing-file'] ?? base.filename, format: base.driver };
  const job = begin(root, top, spec.id, [], () =>
    streamJob(root.live, {
      ...(reference === undefined ? {} : { base: { depth: depth!, reference } }),
      ...speedOf(args, state),
    }),
  );
  const settle = async () => {
    const old = top.backing;
    if (old === undefined || old.target === base) return;
    const between = old.target;
    await root.live.drained(async () => {
      if (base === undefined) {
        top.backing = undefined;
        cut(old);
        await reopenNode(state, top, { backing: null });
      } else old.target = base;
    });
    await release(state, between);
  };
  const clean = () => {
    root.job = undefined;
  };
  state.jobs.add({ ...spec, settle, clean }, job);
}

async function commit(state: GraphState, args: Arguments): Promise<void> {
  const active = findCommitted(state, args.device);
  const chain = chainOfNode(active);
  const top = inChain(state, chain, args.top, args['top-node']) ?? active;
  const base = inChain(state, chain, args.base, args['base-node']) ?? chain.at(-1)!;
  const depth = chain.indexOf(base) - chain.indexOf(top);
  if (depth <= 0) throw new GraphError(`'${base.filename}' is not below '${top.filename}' in the backing chain`);
  const root = rootOf(active);
  const spec = specOf(state, args, 'commit', root);
  const isActive = top === active;
  if (isActive && args['backing-file'] !== undefined) {
    throw new GraphError("'backing-file' specified, but 'top' is the active layer");
  }
  take(active, spec.id);
  const wasReadOnly = base.readOnly;
  const edge = edgeTo(base, 'target');
  try {
    if (wasReadOnly) await root.live.drained(() => reopenNode(state, base, { readOnly: false }));
    if (base.impl.sizeBytes < top.impl.sizeBytes) await base.impl.resize?.(top.impl.sizeBytes);
    const begun = { state, args, spec, root, active, top, base, edge, depth, wasReadOnly };
    if (isActive) commitActive(begun);
    else commitBetween(begun);
  } catch (error) {
    root.job = undefined;
    cut(edge);
    throw error;
  }
}

function findCommitted(state: GraphState, device: string): GraphNode {
  try {
    return findRoot(state, device);
  } catch (error) {
    if (error instanceof UserError) throw new GraphError(`Device '${device}' not found`, 'DeviceNotFound');
    throw error;
  }
}

interface Commit {
  readonly state: GraphState;
  readonly args: Arguments;
  readonly spec: Omit<JobSpec, 'finish' | 'settle' | 'clean'>;
  readonly root: Root;
  readonly active: GraphNode;
  readonly top: GraphNode;
  readonly base: GraphNode;
  readonly edge: Edge;
  readonly depth: number;
  readonly wasReadOnly: boolean;
}

/** What the guest writes to goes down, and the guest goes on with the image below. */
function commitActive({ state, args, spec, root, active, base, edge, depth }: Commit): void {
  addMover({ state, spec, root, node: active, edge, to: base }, (stay) =>
    commitJob(root.live, { base: edge, depth, stay, ...speedOf(args, state) }),
  );
}

/** An image between goes down; the one above it stands on the base afterwards. */
function commitBetween({ state, args, spec, root, active, top, base, edge, depth, wasReadOnly }: Commit): void {
  const chain = chainOfNode(active);
  const overlay = chain[chain.indexOf(top) - 1];
  const still: BlockNode = edgeTo(top, 'target');
  const job = commitJob(liveNode(still), { base: edge, depth, stay: () => 'source', ...speedOf(args, state) });
  // Nobody writes to it, so that it is ready to end as soon as all is copied.
  void job.ready.then(() => {
    if (job.state === 'ready') job.complete();
  });
  state.jobs.add(
    {
      ...spec,
      async settle() {
        const name = args['backing-file'] ?? base.filename;
        await root.live.drained(async () => {
          if (overlay.readOnly) await reopenNode(state, overlay, { readOnly: false });
          await imageOf(overlay).changeBacking?.({
            filename: name,
            format: args['backing-file-format'] ?? base.driver,
          });
          overlay.backing!.target = base;
        });
      },
      async clean() {
        cut(still as Edge);
        if (wasReadOnly) await root.live.drained(() => reopenNode(state, base, { readOnly: true }));
        await done(state, root, edge, base);
        await release(state, top);
      },
    },
    job,
  );
}

/** Formats an image, as a job: it may take a while. */
function create(state: GraphState, args: Arguments): void {
  const { 'job-id': id, options } = args;
  state.jobs.check(id);
  const job = runOnce(() => createNow(state, options));
  state.jobs.add({ id, type: 'create', isBlockJob: false, autoDismiss: false }, job);
}

async function createNow(state: GraphState, { driver, ...given }: Arguments): Promise<void> {
  const values = new Map<string, string>();
  const rest = { ...given };
  for (const key of ['file', 'filename', 'size']) delete rest[key];
  for (const [key, value] of Object.entries(rest)) {
    if (typeof value === 'object') throw new GraphError(`Parameter '${key}' is not supported for ${driver}`);
    values.set(
      CREATE_NAMES[key] ?? key.replaceAll('-', '_'),
      typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value),
    );
  }
  if (driver === 'file') return state.drivers.createImage('raw', given.filename, given.size, values);
  const node = findNode(state, given.file);
  if (values.get('compat') !== undefined) values.set('compat', values.get('compat') === 'v2' ? '0.10' : '1.1');
  await state.drivers.formatNode(driver, node.impl, given.size, values);
}

/** QAPI's names for what -o names otherwise. */
const CREATE_NAMES: Readonly<Record<string, string>> = { version: 'compat', 'data-file-raw': 'data_file_raw' };
