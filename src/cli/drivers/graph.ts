/** The drivers of the registry as the node graph of a machine uses them. */
import { mkdtempSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UserError } from '../../base/index.ts';
import {
  BlockGraph,
  createLuks,
  createParallels,
  createQcow,
  createQcow2,
  type GraphDrivers,
  GraphError,
  type NodeHow,
  type TellEvent,
} from '../../block/index.ts';
import type { BlockNode } from '../../contract/index.ts';
import {
  allocatedBytes,
  listenByteStreams,
  nodeCompression,
  nodeCrypto,
  openFileNode,
  systemClock,
} from '../../host/node/index.ts';
import type { BlockService, BlockServiceOptions } from '../../machine/index.ts';
import { parseBytes } from '../img/arguments.ts';
import { createImage } from '../img/create.ts';
import { luksOptions, qcow2Encryption } from '../img/create-encrypted.ts';
import { qcow2Options } from '../img/creators.ts';
import { parseImageName } from './names.ts';
import { nullProtocols } from './null.ts';
import { type Objects, parseObjects } from './objects.ts';
import { resolveName } from './open.ts';
import { probeFormat } from './probe.ts';
import { FORMAT_DRIVERS, filterNamed, formatDriverNamed, type OpenHow, protocolNamed } from './registry.ts';

/** QEMU has drivers of several names that open files here. */
const FILE_DRIVERS = ['host_device', 'host_cdrom'];

/** The block nodes of one machine; lives where the machine's devices do. */
export async function openBlockService(
  { nodes, objects: texts, isElsewhere = false }: BlockServiceOptions,
  tell: TellEvent,
): Promise<BlockService> {
  const rows = new Map(texts.map((text) => [idOf(text), text]));
  let objects = parseObjects([...rows.values()]);
  const graph = new BlockGraph(
    graphDrivers(() => objects),
    tell,
    isElsewhere,
  );
  const changeObjects = () => {
    objects = parseObjects([...rows.values()]);
    return {};
  };
  try {
    for (const node of nodes) await graph.add(new Map(node));
    await graph.looked();
  } catch (error) {
    await graph.close();
    throw error;
  }
  return {
    attach: (options) => graph.attach(options),
    async execute(name, args) {
      try {
        if (name === 'object-add') {
          const { text } = args as { text: string };
          rows.set(idOf(text), text);
          return { result: changeObjects() };
        }
        if (name === 'object-del') {
          rows.delete((args as { id: string }).id);
          return { result: changeObjects() };
        }
        return { result: await graph.execute(name, args) };
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        return { failure: error.message, errorClass: error instanceof GraphError ? error.errorClass : 'GenericError' };
      }
    },
    get isBusy() {
      return graph.isBusy;
    },
    get isOpen() {
      return graph.isOpen;
    },
    release: () => graph.release(),
    take: () => graph.take(),
    close: () => graph.close(),
    startJob: (id, type, work) => graph.startJob(id, type, work),
    vm: graph.vm,
  };
}

function idOf(text: string): string {
  return String((JSON.parse(text) as { id: unknown }).id);
}

function graphDrivers(objects: () => Objects): GraphDrivers {
  const protocol = (driver: string) =>
    protocolNamed(FILE_DRIVERS.includes(driver) ? 'file' : driver) ?? nullProtocols.find(({ name }) => name === driver);
  const how = ({ readOnly, cache, lookOnly }: NodeHow): OpenHow => ({
    ...{ readOnly, cache, lock: lookOnly !== true, io: 'cached' },
    objects: objects(),
  });
  return {
    kindOf(driver) {
      if (protocol(driver) !== undefined) return 'protocol';
      if (filterNamed(driver) !== undefined) return 'filter';
      return FORMAT_DRIVERS.some(({ name }) => name === driver) ? 'format' : undefined;
    },
    openProtocol: async (driver, options, given) => protocol(driver)!.open(options, how(given)),
    openFilter: async (driver, child, options, given) => filterNamed(driver)!.open(child, options, how(given)),
    async openFormat(driver, file, options, given, resolving) {
      const { load, openOptions } = formatDriverNamed(driver);
      const special = openOptions?.(options, how(given)) ?? {};
      for (const name of IGNORED) options.delete(name);
      const common = { compression: nodeCompression, crypto: nodeCrypto };
      return (await load()).open(file, { ...common, ...resolving, ...special });
    },
    probe: async (file, name) => (await probeFormat(file, name)).name,
    parseName: (name) => parseImageName(name),
    resolveName,
    async createImage(driver, path, sizeBytes, options) {
      await createImage(path, driver, new Map(options), sizeBytes, objects());
    },
    formatNode: (driver, node, sizeBytes, options) => formatNode(driver, node, sizeBytes, new Map(options), objects()),
    allocatedBytes(path) {
      try {
        return allocatedBytes(path);
      } catch {
        return undefined;
      }
    },
    clock: systemClock(),
    breathe: () => setImmediate(),
    nowSeconds: () => Date.now() / 1000,
    temporaryFile,
    listen: async (at, accept, tls) =>
      listenByteStreams(at, accept, tls === undefined ? {} : { tls: await objects().tls(tls, 'server') }),
  };
}

/** Options of formats that change how fast they are, and not what they do. */
const IGNORED = [
  ...['lazy-refcounts', 'pass-discard-request', 'pass-discard-snapshot', 'pass-discard-other', 'discard-no-unref'],
  ...['overlap-check', 'overlap-check.template', 'cache-size', 'l2-cache-size', 'l2-cache-entry-size'],
  ...['refcount-cache-size', 'cache-clean-interval'],
];

function temporaryFile(): BlockNode {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-overlay-'));
  const path = join(folder, 'overlay');
  try {
    const node = openFileNode(path, { create: true, io: 'cached', flushes: 'ignore', lock: false });
    unlinkSync(path);
    return node;
  } finally {
    rmdirSync(folder);
  }
}

type Values = Map<string, string>;
type Formatter = (node: BlockNode, sizeBytes: number, values: Values, objects: Objects) => Promise<void>;

const FORMATTERS: Readonly<Record<string, Formatter>> = {
  async qcow2(node, sizeBytes, values, objects) {
    const { preallocation, ...plain } = qcow2Options(values, sizeBytes);
    const encryption = qcow2Encryption(values, objects);
    if (preallocation !== 'off') throw new GraphError('preallocation is not supported with blockdev-create');
    await createQcow2(node, encryption === undefined ? plain : { ...plain, encryption });
  },
  luks: (node, sizeBytes, values, objects) => createLuks(node, sizeBytes, luksOptions(values, '', objects)),
  qcow: (node, sizeBytes) => createQcow(node, { sizeBytes }),
  parallels: (node, sizeBytes, values) =>
    createParallels(node, { sizeBytes, clusterBytes: parseBytes(values.get('cluster_size') ?? '1M', 'cluster_size') }),
};

async function formatNode(driver: string, node: BlockNode, sizeBytes: number, values: Values, objects: Objects) {
  const formatter = Object.hasOwn(FORMATTERS, driver) ? FORMATTERS[driver] : undefined;
  if (formatter === undefined) {
    const known = Object.keys(FORMATTERS).join(', ');
    throw new GraphError(`blockdev-create cannot make ${driver}, only file, ${known}`);
  }
  if (node.readOnly) throw new GraphError('the node to be formatted is read-only');
  await node.resize?.(0);
  await formatter(node, sizeBytes, values, objects);
  await node.flush();
}
