/** The block device: VIRTIO 1.2, section 5.2. Its disk is any block node. */

import { stateTable, u8 } from '../../../base/index.ts';
import type { BlockNode } from '../../../contract/index.ts';
import type { Chain } from '../chain.ts';
import type { DevicePort, VirtioDevice } from '../device.ts';
import { layout } from '../layout.ts';
import type { Virtqueue } from '../queue.ts';
import { Schedule, whenNotified } from '../schedule.ts';
import { execute, executeNow } from './execute.ts';
import type { BlkRequest } from './request.ts';
import { BLK_STATUS, parseRequest, RANGES_MAX, SECTOR_BYTES } from './request.ts';

/** Feature bits (5.2.3). */
export const BLK_FEATURE = {
  segmentsMax: 2,
  readOnly: 5,
  blockSize: 6,
  flush: 9,
  topology: 10,
  configWriteback: 11,
  multiQueue: 12,
  discard: 13,
  writeZeroes: 14,
} as const;

/** struct virtio_blk_config (5.2.4). */
const CONFIG = layout({
  capacity: 'u64',
  sizeMax: 'u32',
  segmentsMax: 'u32',
  cylinders: 'u16',
  heads: 'u8',
  sectors: 'u8',
  blockSize: 'u32',
  physicalBlockExponent: 'u8',
  alignmentOffset: 'u8',
  minIoBlocks: 'u16',
  optimalIoBlocks: 'u32',
  writeback: 'u8',
  unused0: 'u8',
  queueCount: 'u16',
  discardSectorsMax: 'u32',
  discardRangesMax: 'u32',
  discardAlignmentSectors: 'u32',
  writeZeroesSectorsMax: 'u32',
  writeZeroesRangesMax: 'u32',
  writeZeroesMayUnmap: 'u8',
});

const QUEUE_SIZE = 256;
const QUEUES_MAX = 64;
const GIB = 2 ** 30;
/** Of one range where the node has to be sent the zeros. */
const WRITTEN_ZEROES_MAX = 2 ** 20;
const BLOCK_BYTES_MAX = 4096;

const STATE = stateTable({ writeback: u8(1) });

export interface BlkOptions {
  readonly name: string;
  readonly node: BlockNode;
  /** At most 20 characters of ASCII: what the guest sees as the disk's serial number. */
  readonly serial?: string;
  /** Default 1. */
  readonly queueCount?: number;
  /** Does something a little later, together with other things; without it each notification is served at once. */
  readonly gather?: (work: () => void) => void;
}

export interface VirtioBlk extends VirtioDevice {
  /** The node has another size: tells the driver. */
  resized(): void;
  /** Resolves when nothing is in flight; for snapshots and the end. */
  idle(): Promise<void>;
}

export function virtioBlk({ name, node, serial = '', queueCount = 1, gather }: BlkOptions): VirtioBlk {
  const queues = Math.max(1, Math.min(queueCount, QUEUES_MAX));
  const rangeBytesMax = node.writeZeroes ? GIB : WRITTEN_ZEROES_MAX;
  const canDiscard = node.discard !== undefined && !node.readOnly;
  const schedule = new Schedule();
  let state = STATE.initial();
  let port: DevicePort | undefined;
  let flushes = false;

  return {
    name,
    id: 2,
    answersOutOfOrder: true,
    pciClass: 0x01_00_00,
    features: featuresOf(node, canDiscard, queues),
    queues: Array.from({ length: queues }, () => ({ maxSize: QUEUE_SIZE, onNotify: whenNotified(serve, gather) })),
    attach(given) {
      port = given;
    },
    start(negotiated) {
      flushes = negotiated(BLK_FEATURE.flush) || negotiated(BLK_FEATURE.configWriteback);
    },
    config: () => CONFIG.encode(configOf(node, queues, canDiscard, rangeBytesMax, state.writeback)),
    writeConfig(offset, bytes) {
      const value = bytes[CONFIG.offsets.writeback - offset];
      if (value !== undefined) state.writeback = value & 1;
    },
    reset() {
      state = STATE.initial();
      schedule.reset();
    },
    snapshot: () => STATE.save(state),
    restore(record) {
      state = STATE.load(record);
    },
    resized: () => port?.configChanged(),
    idle: () => schedule.idle(),
  };

  function serve(queue: Virtqueue): void {
    queue.pump((chain) => {
      const rules = { sizeBytes: wholeSectors(node), readOnly: node.readOnly, canDiscard, rangeBytesMax };
      const request = parseRequest(chain, rules);
      if (typeof request === 'string') queue.fail(request);
      else start(queue, chain, request);
    });
  }

  function start(queue: Virtqueue, chain: Chain, request: BlkRequest): void {
    const writeThrough = !flushes || state.writeback === 0; // 5.2.5.1
    const options = { node, serial, writeThrough, isWanted: () => queue.holds(chain) };
    if (schedule.isClear && executeNow(request, chain, options)) {
      answer(queue, chain, BLK_STATUS.ok);
      return;
    }
    schedule.add(async () => {
      const status = await execute(request, chain, options);
      if (options.isWanted()) answer(queue, chain, status);
    });
  }
}

function answer(queue: Virtqueue, chain: Chain, status: number): void {
  chain.write(chain.writableBytes - 1, Uint8Array.of(status));
  const isFilled = status === BLK_STATUS.ok || chain.writableBytes === 1;
  queue.complete(chain, isFilled ? chain.writableBytes : 0);
}

function featuresOf(node: BlockNode, canDiscard: boolean, queues: number): number[] {
  const { readOnly, blockSize, topology, segmentsMax, flush, configWriteback, multiQueue } = BLK_FEATURE;
  return [
    ...[segmentsMax, blockSize, topology, flush, configWriteback],
    ...(node.readOnly ? [readOnly] : [BLK_FEATURE.writeZeroes]),
    ...(canDiscard ? [BLK_FEATURE.discard] : []),
    ...(queues > 1 ? [multiQueue] : []),
  ];
}

/** A last part of a sector is out of the driver's reach. */
function wholeSectors(node: BlockNode): number {
  return node.sizeBytes - (node.sizeBytes % SECTOR_BYTES);
}

function configOf(
  node: BlockNode,
  queueCount: number,
  canDiscard: boolean,
  rangeBytesMax: number,
  writeback: number,
): Parameters<typeof CONFIG.encode>[0] {
  const blockSize = Math.min(Math.max(node.limits.alignmentBytes, SECTOR_BYTES), BLOCK_BYTES_MAX);
  const preferredBlocks = Math.max(1, Math.floor(node.limits.preferredBytes / blockSize));
  const physicalBytes = Math.max(blockSize, Math.min(node.limits.preferredBytes, BLOCK_BYTES_MAX));
  return {
    capacity: wholeSectors(node) / SECTOR_BYTES,
    segmentsMax: QUEUE_SIZE - 2,
    blockSize,
    physicalBlockExponent: Math.floor(Math.log2(physicalBytes / blockSize)),
    minIoBlocks: Math.max(1, physicalBytes / blockSize),
    optimalIoBlocks: preferredBlocks,
    writeback,
    queueCount,
    discardSectorsMax: canDiscard ? rangeBytesMax / SECTOR_BYTES : 0,
    discardRangesMax: canDiscard ? RANGES_MAX : 0,
    discardAlignmentSectors: canDiscard ? Math.max(1, node.limits.preferredBytes / SECTOR_BYTES) : 0,
    writeZeroesSectorsMax: rangeBytesMax / SECTOR_BYTES,
    writeZeroesRangesMax: RANGES_MAX,
    writeZeroesMayUnmap: node.writeZeroes ? 1 : 0,
  };
}
