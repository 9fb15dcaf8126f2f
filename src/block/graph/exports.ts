/** NBD exports of nodes, while guests use them. */
import type { ByteStream, HostEndpoint } from '../../contract/index.ts';
import { passThrough } from '../filters/index.ts';
import { bitmapContext, depthContext, type NbdContext, type NbdExport, serveNbd } from '../nbd/index.ts';
import { bitmapOf } from './bitmaps.ts';
import type { GraphDrivers } from './drivers.ts';
import { GraphError } from './error.ts';
import { type Arguments, findRoot, type GraphCommands, type GraphState, type TellEvent } from './graph.ts';
import { chainOfNode, type GraphNode, nodeOf, type Root, rootOf } from './node.ts';
import { findNode, release, takeTreeBack } from './open.ts';

const EXPORTS_MAX = 256;
const CONNECTIONS_DEFAULT = 100;
/** How long after a request the next one is to be expected. */
const REQUEST_PENDING_NANOS = 3_000_000;

interface Served {
  readonly id: string;
  readonly disk: NbdExport;
  readonly root: Root;
  /** Connections that use it. */
  readonly streams: Set<ByteStream>;
}

export class NbdServers {
  readonly #drivers: GraphDrivers;
  readonly #tell: TellEvent;
  readonly exports = new Map<string, Served>();
  #listener: { close(): void } | undefined;
  readonly #streams = new Set<ByteStream>();
  #lastRequestNanos = Number.NEGATIVE_INFINITY;

  constructor(drivers: GraphDrivers, tell: TellEvent) {
    this.#drivers = drivers;
    this.#tell = tell;
  }

  get isRunning(): boolean {
    return this.#listener !== undefined;
  }

  async start(at: HostEndpoint, tls: string | undefined, connectionsMax: number): Promise<void> {
    if (this.#listener !== undefined) throw new GraphError('NBD server already running');
    const accept = (stream: ByteStream) => {
      if (connectionsMax > 0 && this.#streams.size >= connectionsMax) stream.destroy();
      else void this.#serve(stream, tls);
    };
    this.#listener = await this.#drivers.listen(at, accept, tls);
  }

  async stop(state: GraphState): Promise<void> {
    if (this.#listener === undefined) throw new GraphError('NBD server not running');
    for (const { id } of [...this.exports.values()]) await this.remove(state, id, true);
    this.close();
  }

  close(): void {
    this.#listener?.close();
    this.#listener = undefined;
    for (const stream of this.#streams) stream.destroy();
  }

  add(id: string, node: GraphNode, disk: Omit<NbdExport, 'node'>): void {
    if (this.#listener === undefined) throw new GraphError('NBD server not running');
    if (this.exports.has(id)) throw new GraphError(`Block export id '${id}' is already in use`);
    if ([...this.exports.values()].some((one) => one.disk.name === disk.name)) {
      throw new GraphError(`NBD server already has export named '${disk.name}'`);
    }
    if (this.exports.size >= EXPORTS_MAX) throw new GraphError(`there are ${EXPORTS_MAX} exports already`);
    if (disk.readOnly === false && node.readOnly) throw new GraphError(`Node '${node.name}' is read-only`);
    const root = rootOf(node);
    root.users.add(`export ${id}`);
    this.exports.set(id, { id, root, disk: { ...disk, node: this.#noted(root) }, streams: new Set() });
  }

  /** @throws GraphError when a client uses it and it is not to be ended */
  async remove(state: GraphState, id: string, isHard: boolean): Promise<void> {
    const found = this.exports.get(id);
    if (found === undefined) throw new GraphError(`Export '${id}' is not found`);
    if (!isHard && found.streams.size > 0) throw new GraphError(`export '${id}' still in use`);
    this.exports.delete(id);
    for (const stream of found.streams) stream.destroy();
    found.root.users.delete(`export ${id}`);
    this.#tell('BLOCK_EXPORT_DELETED', { id });
    await release(state, nodeOf(found.root));
  }

  /** Requests of clients are noted, so that others are expected soon. */
  get isBusy(): boolean {
    return this.#drivers.clock.nowNanos() - this.#lastRequestNanos < REQUEST_PENDING_NANOS;
  }

  #noted({ live }: Root) {
    const note = () => {
      this.#lastRequestNanos = this.#drivers.clock.nowNanos();
    };
    return passThrough(live, {
      read(offset, target) {
        note();
        return live.read(offset, target);
      },
      write(offset, source) {
        note();
        return live.write(offset, source);
      },
    });
  }

  async #serve(stream: ByteStream, tls: string | undefined): Promise<void> {
    const served = [...this.exports.values()];
    this.#streams.add(stream);
    try {
      await serveNbd(stream, {
        exports: served.map(({ disk }) => disk),
        tls: tls === undefined ? 'none' : 'required',
        onChosen: (index) => served[index].streams.add(stream),
      });
    } finally {
      this.#streams.delete(stream);
      for (const { streams } of served) streams.delete(stream);
    }
  }
}

export function exportCommands(state: GraphState): GraphCommands {
  const { servers } = state;
  return {
    'nbd-server-start': async (args: Arguments) => {
      if (args['tls-authz'] !== undefined) throw new GraphError('tls-authz is not supported');
      await servers.start(endpointOf(args.addr), args['tls-creds'], args['max-connections'] ?? CONNECTIONS_DEFAULT);
      return {};
    },
    'nbd-server-stop': async () => {
      await servers.stop(state);
      return {};
    },
    'nbd-server-add': async (args: Arguments) => {
      const node = findRoot(state, args.device);
      const name = args.name ?? args.device;
      await addExport(state, name, node, { ...args, name, bitmaps: args.bitmap === undefined ? [] : [args.bitmap] });
      return {};
    },
    'nbd-server-remove': async ({ name, mode = 'safe' }: Arguments) => {
      const found = [...servers.exports.values()].find(({ disk }) => disk.name === name);
      if (!servers.isRunning) throw new GraphError('NBD server not running');
      if (found === undefined) throw new GraphError(`Export '${name}' is not found`);
      await servers.remove(state, found.id, mode === 'hard');
      return {};
    },
    'block-export-add': async (args: Arguments) => {
      const { id, type } = args;
      if (type !== 'nbd') throw new GraphError(`exports of type ${type} are not supported, only nbd`);
      await addExport(state, id, findNode(state, args['node-name']), { ...args, name: args.name ?? args['node-name'] });
      return {};
    },
    'block-export-del': async ({ id, mode = 'safe' }: Arguments) => {
      await servers.remove(state, id, mode === 'hard');
      return {};
    },
    'query-block-exports': () =>
      [...servers.exports.values()].map(({ id, root }) => ({
        id,
        type: 'nbd',
        'node-name': nodeOf(root).name,
        'shutting-down': false,
      })),
  };
}

async function addExport(state: GraphState, id: string, node: GraphNode, args: Arguments): Promise<void> {
  // A machine that is still to come gets the content of this disk by the export: nobody else has the image.
  if (state.isElsewhere) await takeTreeBack(state, node);
  const contexts: NbdContext[] = args['allocation-depth'] ? [depthContext(rootOf(node).live.current)] : [];
  for (const given of args.bitmaps ?? []) {
    const name: string = typeof given === 'string' ? given : given.name;
    const owner =
      typeof given === 'string' ? chainOfNode(node).find((one) => hasBitmap(one, name)) : findNode(state, given.node);
    if (owner === undefined) throw new GraphError(`Bitmap '${name}' is not found`);
    const bitmap = bitmapOf(owner, name);
    if ((await bitmap.info()).isEnabled && args.writable) {
      throw new GraphError(`Enabled bitmap '${name}' incompatible with readonly export`);
    }
    contexts.push(bitmapContext(name, node.impl.sizeBytes, await bitmap.dirtyRanges()));
  }
  const { name, description } = args;
  state.servers.add(id, node, {
    name,
    readOnly: !args.writable,
    multiConnection: !args.writable,
    contexts,
    ...(description === undefined ? {} : { description }),
  });
}

function hasBitmap(node: GraphNode, name: string): boolean {
  try {
    bitmapOf(node, name);
    return true;
  } catch {
    return false;
  }
}

function endpointOf({ type, data, ...flat }: Arguments): HostEndpoint {
  const { path, host, port } = data ?? flat;
  if (type === 'unix') return { kind: 'unix', path };
  if (type !== 'inet') throw new GraphError(`addresses of type ${type} are not supported, only unix and inet`);
  const number = Number(port);
  if (!/^\d+$/.test(String(port)) || number > 65_535) throw new GraphError(`'${port}' is not a port`);
  return { kind: 'inet', address: host === '' ? '0.0.0.0' : host, port: number };
}
