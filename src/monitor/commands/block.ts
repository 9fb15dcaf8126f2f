/** Handlers of qapi/block.ts. */
import type { BlockCounters, DiskState } from '../../machine/index.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { readBlockdev } from '../options/build-devices.ts';
import type { BlockNodeConfig, DiskConfig } from '../options/config.ts';
import type { blockCommands } from '../qapi/block.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { devicePath } from './qom-tree.ts';

type NodeInfo = Awaited<ReturnType<Handlers<'query-named-block-nodes'>['query-named-block-nodes']>>[number];
type StatsInfo = Awaited<ReturnType<Handlers<'query-blockstats'>['query-blockstats']>>[number];

export const blockHandlers: Handlers<keyof typeof blockCommands> = {
  async 'query-block'(emulator) {
    const states = await diskStates(emulator);
    const { disks } = emulator.config;
    return Promise.all(
      disks.map(async (disk, index) => ({
        'io-status': 'ok' as const,
        device: disk.drive,
        locked: false,
        removable: disk.media === 'cdrom',
        inserted: await nodeInfo(emulator, nodeNamed(emulator, disk.node), states[index]),
        qdev: qdevOf(emulator, disk),
        type: 'unknown',
        ...(disk.media === 'cdrom' ? { tray_open: false } : {}),
      })),
    );
  },
  async 'query-blockstats'(emulator, args) {
    const states = await diskStates(emulator);
    const { disks } = emulator.config;
    const countersOf = (node: string) => states[disks.findIndex((disk) => disk.node === node)]?.counters ?? NOTHING;
    if (args['query-nodes']) {
      return [...emulator.blockNodes.values()].map((node) => nodeStats(emulator, node, countersOf));
    }
    return disks.map((disk) => ({
      device: disk.drive,
      qdev: qdevOf(emulator, disk),
      ...nodeStats(emulator, nodeNamed(emulator, disk.node), countersOf),
    }));
  },
  async 'query-named-block-nodes'(emulator) {
    const states = await diskStates(emulator);
    const { disks } = emulator.config;
    return Promise.all(
      [...emulator.blockNodes.values()].map((node) =>
        nodeInfo(emulator, node, states[disks.findIndex((disk) => disk.node === node.nodeName)]),
      ),
    );
  },
  'query-block-jobs': () => [],
  'query-jobs': () => [],
  async 'blockdev-add'(emulator, options) {
    const { blockNodes } = emulator;
    const flat = Object.entries(options).flatMap(([key, value]): [string, string][] => {
      if (key === 'cache')
        return Object.entries(value as object).map(([name, on]) => [`cache.${name}`, on ? 'on' : 'off']);
      return [[key, typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value ?? '')]];
    });
    const node = readBlockdev({ nodes: [...blockNodes.values()] }, flat);
    blockNodes.set(node.nodeName, node);
    return DONE;
  },
  'blockdev-del'({ blockNodes, config }, args) {
    const name = args['node-name'];
    if (!blockNodes.has(name)) throw new QmpError(`Failed to find node with node-name='${name}'`);
    const above = [...blockNodes.values()].find(({ child }) => child === name);
    const isUsed = above !== undefined || config.disks.some(({ node }) => node === name);
    if (isUsed) throw new QmpError(`Node '${name}' is busy: node is used as ${above ? "'file'" : 'a disk'}`);
    blockNodes.delete(name);
    return DONE;
  },
};

async function diskStates({ machine }: Emulator): Promise<readonly DiskState[]> {
  return machine === undefined ? [] : machine.command('disks');
}

export function nodeNamed({ blockNodes }: Pick<Emulator, 'blockNodes'>, name: string): BlockNodeConfig {
  const node = blockNodes.get(name);
  if (node === undefined) throw new QmpError(`Cannot find device='' nor node-name='${name}'`);
  return node;
}

/** The file at the bottom of a node. */
function fileOf(emulator: Emulator, node: BlockNodeConfig): string {
  return node.child === undefined ? (node.filename ?? '') : fileOf(emulator, nodeNamed(emulator, node.child));
}

function qdevOf(emulator: Emulator, { device }: DiskConfig): string {
  const path = devicePath(emulator.config, device);
  return device.driver === 'virtio-blk-pci' ? `${path}/virtio-backend` : path;
}

async function nodeInfo(emulator: Emulator, node: BlockNodeConfig, state: DiskState | undefined): Promise<NodeInfo> {
  const file = fileOf(emulator, node);
  const actual = await emulator.host.allocatedBytes(file);
  const drv = node.driver === 'auto' ? 'raw' : node.driver;
  return {
    iops_rd: 0,
    detect_zeroes: 'off',
    image: {
      'virtual-size': state?.sizeBytes ?? (await emulator.host.fileBytes(file)) ?? 0,
      filename: file,
      format: drv,
      ...(actual === undefined ? {} : { 'actual-size': actual }),
      'dirty-flag': false,
    },
    iops_wr: 0,
    ro: node.readOnly,
    'node-name': node.nodeName,
    backing_file_depth: 0,
    drv,
    iops: 0,
    bps_wr: 0,
    write_threshold: 0,
    encrypted: false,
    bps: 0,
    bps_rd: 0,
    cache: { 'no-flush': node.cache.noFlush, direct: node.cache.direct, writeback: !node.cache.writeThrough },
    file,
  };
}

const COUNTER = { operations: 0, bytes: 0, failed: 0, nanos: 0 };
const NOTHING: BlockCounters = { read: COUNTER, write: COUNTER, flush: COUNTER, discard: COUNTER, highestOffset: 0 };

function nodeStats(emulator: Emulator, node: BlockNodeConfig, countersOf: (node: string) => BlockCounters): StatsInfo {
  const { read, write, flush, discard, highestOffset } = countersOf(node.nodeName);
  const kinds = { rd: read, wr: write, unmap: discard, flush };
  const rows = Object.entries(kinds).flatMap(([name, counter]) => [
    ...(name === 'flush'
      ? []
      : [
          [`${name}_bytes`, counter.bytes],
          [`${name}_merged`, 0],
        ]),
    [`${name}_operations`, counter.operations],
    [`${name}_total_time_ns`, counter.nanos],
    [`failed_${name}_operations`, counter.failed],
    [`invalid_${name}_operations`, 0],
  ]);
  const numbers = Object.fromEntries(rows) as Record<string, number>;
  const stats = {
    ...numbers,
    wr_highest_offset: highestOffset,
    account_invalid: false,
    account_failed: false,
    timed_stats: [],
  };
  const parent =
    node.child === undefined ? {} : { parent: nodeStats(emulator, nodeNamed(emulator, node.child), countersOf) };
  return { 'node-name': node.nodeName, stats: stats as unknown as StatsInfo['stats'], ...parent };
}
