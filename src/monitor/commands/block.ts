/** Handlers of QMP's commands on block nodes: most of them are the machine's node graph's to answer. */
import type { BlockCounters } from '../../machine/index.ts';
import { diskPath, fdsetPath } from '../emulator/disk-options.ts';
import type { Emulator } from '../emulator/emulator.ts';
import type { blockCommands } from '../qapi/block.ts';
import { type blockGraphCommands, blockGraphNames } from '../qapi/block-graph.ts';
import type { Handlers } from './handler.ts';

type NodeInfo = Awaited<ReturnType<Handlers<'query-named-block-nodes'>['query-named-block-nodes']>>[number];
type StatsInfo = Awaited<ReturnType<Handlers<'query-blockstats'>['query-blockstats']>>[number];

/** What the graph tells of a device. */
interface Attached {
  readonly drive: string;
  readonly device: string;
  readonly isTrayOpen?: boolean;
  readonly inserted?: NodeInfo;
  readonly tree?: Tree;
}

interface Tree {
  readonly 'node-name': string;
  readonly parent?: Tree;
  readonly backing?: Tree;
}

/** Commands that go to the graph as they are. */
const forwarded = Object.fromEntries(
  blockGraphNames.map((name) => [
    name,
    (emulator: Emulator, args: unknown) => emulator.blockCommand(name, withFdsets(emulator, args)),
  ]),
) as unknown as Handlers<keyof typeof blockGraphCommands>;

/** Names of files that were handed over become names that can be opened. */
function withFdsets({ fdsets }: Emulator, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => withFdsets({ fdsets } as Emulator, one));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      key === 'filename' && typeof one === 'string' ? fdsetPath(fdsets, one) : withFdsets({ fdsets } as Emulator, one),
    ]),
  );
}

export const blockHandlers: Handlers<keyof typeof blockCommands | keyof typeof blockGraphCommands> = {
  ...forwarded,
  async 'query-block'(emulator) {
    const rows = await attached(emulator);
    return emulator.config.disks.map((disk) => {
      const device = diskPath(emulator.config, disk);
      const row = rows.find((one) => one.device === device);
      return {
        'io-status': 'ok' as const,
        device: disk.drive,
        locked: false,
        removable: disk.media === 'cdrom',
        ...(row?.inserted === undefined ? {} : { inserted: row.inserted }),
        qdev: device,
        type: 'unknown',
        ...(row?.isTrayOpen === undefined ? {} : { tray_open: row.isTrayOpen }),
      };
    });
  },
  async 'query-blockstats'(emulator, args) {
    const states = (await emulator.machine?.command('disks')) ?? [];
    const rows = await attached(emulator);
    const countersOf = (node: string) => {
      const device = rows.find(({ inserted }) => inserted?.['node-name'] === node)?.device;
      return states.find((state) => state.device !== undefined && state.device === device)?.counters ?? NOTHING;
    };
    if (args['query-nodes']) {
      const trees = (await emulator.blockCommand('query-node-tree', {})) as readonly Tree[];
      return trees.map((tree) => nodeStats(tree, countersOf));
    }
    return emulator.config.disks.map((disk) => {
      const qdev = diskPath(emulator.config, disk);
      const tree = rows.find(({ device }) => device === qdev)?.tree;
      return {
        device: disk.drive,
        qdev,
        ...(tree === undefined ? { stats: numbersOf(NOTHING) } : nodeStats(tree, countersOf)),
      };
    });
  },
};

async function attached(emulator: Emulator): Promise<readonly Attached[]> {
  return (await emulator.blockCommand('query-attached', {})) as readonly Attached[];
}

const COUNTER = { operations: 0, bytes: 0, failed: 0, nanos: 0 };
const NOTHING: BlockCounters = { read: COUNTER, write: COUNTER, flush: COUNTER, discard: COUNTER, highestOffset: 0 };

function numbersOf({ read, write, flush, discard, highestOffset }: BlockCounters): StatsInfo['stats'] {
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
  const stats = {
    ...(Object.fromEntries(rows) as Record<string, number>),
    wr_highest_offset: highestOffset,
    account_invalid: false,
    account_failed: false,
    timed_stats: [],
  };
  return stats as unknown as StatsInfo['stats'];
}

function nodeStats(tree: Tree, countersOf: (node: string) => BlockCounters): StatsInfo {
  const { parent, backing } = tree;
  return {
    'node-name': tree['node-name'],
    stats: numbersOf(countersOf(tree['node-name'])),
    ...(parent === undefined ? {} : { parent: nodeStats(parent, countersOf) }),
    ...(backing === undefined ? {} : { backing: nodeStats(backing, countersOf) }),
  };
}
