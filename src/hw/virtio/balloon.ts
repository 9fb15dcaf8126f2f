/** The memory balloon: VIRTIO 1.2, section 5.5, with statistics. */

import { stateTable, u32 } from '../../base/index.ts';
import type { Chain } from './chain.ts';
import type { DevicePort, VirtioDevice } from './device.ts';
import { layout } from './layout.ts';
import type { Virtqueue } from './queue.ts';

const FEATURE = { statistics: 1, deflateOnOom: 2 } as const;
/** Both in pages of 4 KiB: what the device asks for, what the driver has given. */
const CONFIG = layout({ wanted: 'u32', actual: 'u32' });
const PAGE_BYTES = 4096;
const PAGE_NUMBER_BYTES = 4;
/** Page numbers looked at in one request; Linux sends 256. */
const PAGES_MAX = 65_536;
const STATISTIC = layout({ tag: 'u16', value: 'u64' });
const STATISTICS_MAX = 64;
const STATISTICS_QUEUE = 2;
const QUEUE_SIZE = 128;

/** What the guest says of its memory (5.5.6.4), by tag. Bytes, pages or events; as the guest counts them. */
export const BALLOON_STATISTICS = [
  'swapIn',
  'swapOut',
  'majorFaults',
  'minorFaults',
  'freeMemory',
  'totalMemory',
  'availableMemory',
  'diskCaches',
  'hugePageAllocations',
  'hugePageFailures',
] as const;
export type BalloonStatistics = { [Name in (typeof BALLOON_STATISTICS)[number]]?: number };

export interface BalloonOptions {
  readonly name: string;
  /** Told about each page that the guest gives up, as guest physical ranges of 4 KiB: their content is no longer needed. */
  readonly giveUp?: (base: number, length: number) => void;
}

export interface VirtioBalloon extends VirtioDevice {
  /** How much of its memory the guest shall give up, in bytes. */
  setTarget(bytes: number): void;
  /** How much the guest says it has given up, in bytes. */
  readonly actualBytes: number;
  /** Asks the guest for its statistics; `statistics` has them once it has answered. */
  refreshStatistics(): void;
  readonly statistics: BalloonStatistics;
}

const STATE = stateTable({ wanted: u32(), actual: u32() });

export function virtioBalloon({ name, giveUp = () => {} }: BalloonOptions): VirtioBalloon {
  let state = STATE.initial();
  let port: DevicePort | undefined;
  let hasStatistics = false;
  let statistics: BalloonStatistics = {};

  return {
    name,
    id: 5,
    pciClass: 0x00_ff_00,
    features: Object.values(FEATURE),
    queues: [
      { maxSize: QUEUE_SIZE, onNotify: (queue) => queue.pump((chain) => inflate(queue, chain)) },
      // The guest uses these pages again: memory that was given up is simply touched.
      { maxSize: QUEUE_SIZE, onNotify: (queue) => queue.pump((chain) => queue.complete(chain, 0)) },
      { maxSize: QUEUE_SIZE, onNotify: (queue) => readStatistics(queue) },
    ],
    attach(given) {
      port = given;
    },
    start(negotiated) {
      hasStatistics = negotiated(FEATURE.statistics);
    },
    config: () => CONFIG.encode(state),
    writeConfig(offset, bytes) {
      if (offset !== CONFIG.offsets.actual || bytes.length !== 4) return;
      state.actual = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    },
    reset() {
      state = STATE.initial();
      statistics = {};
      hasStatistics = false;
    },
    snapshot: () => STATE.save(state),
    restore(record) {
      state = STATE.load(record);
    },
    setTarget(bytes) {
      state.wanted = Math.min(Math.floor(bytes / PAGE_BYTES), 0xffff_ffff);
      port?.configChanged();
    },
    get actualBytes() {
      return state.actual * PAGE_BYTES;
    },
    refreshStatistics() {
      if (!hasStatistics) return;
      // Giving the buffer back asks for a new one (5.5.6.3).
      const queue = port?.queue(STATISTICS_QUEUE);
      const chain = queue?.take();
      if (queue && chain) queue.complete(chain, 0);
    },
    get statistics() {
      return statistics;
    },
  };

  function inflate(queue: Virtqueue, chain: Chain): void {
    const numbers = new Uint8Array(Math.min(chain.readableBytes, PAGES_MAX * PAGE_NUMBER_BYTES));
    const view = new DataView(numbers.buffer, 0, chain.read(0, numbers));
    for (let at = 0; at + PAGE_NUMBER_BYTES <= view.byteLength; at += PAGE_NUMBER_BYTES) {
      giveUp(view.getUint32(at, true) * PAGE_BYTES, PAGE_BYTES);
    }
    queue.complete(chain, 0);
  }

  /** The driver's buffer stays in the ring: it is read and put back. */
  function readStatistics(queue: Virtqueue): void {
    const { position } = queue;
    const chain = queue.take();
    if (chain === undefined) return;
    const bytes = new Uint8Array(Math.min(chain.readableBytes, STATISTICS_MAX * STATISTIC.length));
    chain.read(0, bytes);
    queue.putBack([chain], position);
    const found: BalloonStatistics = {};
    for (let at = 0; at + STATISTIC.length <= bytes.length; at += STATISTIC.length) {
      const { tag, value } = STATISTIC.decode(bytes.subarray(at, at + STATISTIC.length));
      const known = BALLOON_STATISTICS[tag];
      if (known !== undefined) found[known] = value;
    }
    statistics = found;
  }
}
