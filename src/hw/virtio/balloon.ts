/** The memory balloon: VIRTIO 1.2, section 5.5, with statistics, free page hinting and free page reporting. */

import { added, stateTable, u32 } from '../../base/index.ts';
import type { Chain } from './chain.ts';
import type { DevicePort, Negotiated, VirtioDevice } from './device.ts';
import { layout } from './layout.ts';
import type { Virtqueue } from './queue.ts';

const FEATURE = { statistics: 1, deflateOnOom: 2, freePageHint: 3, pagePoison: 4, pageReporting: 5 } as const;
/** In pages of 4 KiB what the device asks for and what the driver has given; which hints are wanted; what free pages hold. */
const CONFIG = layout({ wanted: 'u32', actual: 'u32', hintCommand: 'u32', poison: 'u32' });
const CONFIG_BYTES_WITHOUT_HINTS = 8;
const PAGE_BYTES = 4096;
const PAGE_NUMBER_BYTES = 4;
/** Page numbers looked at in one request; Linux sends 256. */
const PAGES_MAX = 65_536;
const STATISTIC = layout({ tag: 'u16', value: 'u64' });
const STATISTICS_MAX = 64;
const QUEUE_SIZE = 128;
/** Commands of free page hinting (5.5.6.5): end of the driver's list, end of the device's interest; others are lists. */
const HINT = { stop: 0, done: 1, first: 2 } as const;

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
  /** Told about pages that the guest gives up, as guest physical ranges: zeros may be found there from now on. */
  readonly giveUp?: (base: number, length: number) => void;
  /** Lets the driver tell which pages are free when it is asked; default false. */
  readonly freePageHints?: boolean;
  /** Lets the driver report pages that are free for long by itself, to be given up; default false. */
  readonly freePageReporting?: boolean;
}

/** Who wants to know which pages are free, as a migration does. */
export interface HintReceiver {
  /** The guest uses these pages for nothing until `doneWithHints`. */
  free(base: number, length: number): void;
  /** All of them have been told. */
  end(): void;
}

export interface VirtioBalloon extends VirtioDevice {
  /** How much of its memory the guest shall give up, in bytes. */
  setTarget(bytes: number): void;
  /** How much the guest says it has given up, in bytes. */
  readonly actualBytes: number;
  /** Asks the guest for its statistics; `statistics` has them once it has answered. */
  refreshStatistics(): void;
  readonly statistics: BalloonStatistics;
  /** How much the guest has reported as free since its driver started, in bytes; the same page may count again. */
  readonly reportedBytes: number;
  /** Asks which pages are free now; false when the driver does not tell. */
  askForHints(receiver: HintReceiver): boolean;
  /** The guest may use the pages again that it has told about. */
  doneWithHints(): void;
}

const STATE = stateTable({ wanted: u32(), actual: u32(), hintCommand: added(u32()), poison: added(u32()) });

/** The queues in their order; those of features that were not negotiated are left out (5.5.2). */
type QueueRole = 'inflate' | 'deflate' | 'statistics' | 'hints' | 'reports';
const NEEDS: Readonly<Partial<Record<QueueRole, number>>> = {
  statistics: FEATURE.statistics,
  hints: FEATURE.freePageHint,
  reports: FEATURE.pageReporting,
};

export function virtioBalloon(options: BalloonOptions): VirtioBalloon {
  const { name, giveUp = () => {}, freePageHints = false, freePageReporting = false } = options;
  const queues: readonly QueueRole[] = [
    ...(['inflate', 'deflate', 'statistics'] as const),
    ...(freePageHints ? (['hints'] as const) : []),
    ...(freePageReporting ? (['reports'] as const) : []),
  ];
  const { statistics: hasStatistics, deflateOnOom, freePageHint, pagePoison, pageReporting } = FEATURE;
  const configBytes = freePageHints || freePageReporting ? CONFIG.length : CONFIG_BYTES_WITHOUT_HINTS;
  let state = STATE.initial();
  let port: DevicePort | undefined;
  let roles: readonly QueueRole[] = [];
  let statistics: BalloonStatistics = {};
  let reportedBytes = 0;
  let receiver: HintReceiver | undefined;
  /** The list that the driver is sending. */
  let told: number = HINT.stop;
  let lastCommand: number = HINT.done;

  const handlers: Readonly<Record<QueueRole, (queue: Virtqueue) => void>> = {
    inflate: (queue) => queue.pump((chain) => inflate(queue, chain)),
    // The guest uses these pages again: memory that was given up is simply touched.
    deflate: (queue) => queue.pump((chain) => queue.complete(chain, 0)),
    statistics: readStatistics,
    hints: (queue) => queue.pump((chain) => takeHint(queue, chain)),
    reports: (queue) => queue.pump((chain) => takeReport(queue, chain)),
  };
  const setHintCommand = (command: number) => {
    state.hintCommand = command;
    port?.configChanged();
  };

  return {
    name,
    id: 5,
    pciClass: 0x00_ff_00,
    features: [
      ...[hasStatistics, deflateOnOom],
      ...(freePageHints ? [freePageHint] : []),
      ...(freePageReporting ? [pageReporting] : []),
      ...(freePageHints || freePageReporting ? [pagePoison] : []),
    ],
    queues: queues.map((_, index) => ({
      maxSize: QUEUE_SIZE,
      onNotify: (queue) => handlers[roles[index]]?.(queue),
    })),
    attach(given) {
      port = given;
    },
    start(negotiated: Negotiated) {
      roles = queues.filter((role) => NEEDS[role] === undefined || negotiated(NEEDS[role]));
    },
    config: () => CONFIG.encode(state).subarray(0, configBytes),
    writeConfig(offset, bytes) {
      if (bytes.length !== 4) return;
      const value = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
      if (offset === CONFIG.offsets.actual) state.actual = value;
      else if (offset === CONFIG.offsets.poison) state.poison = value;
    },
    reset() {
      state = STATE.initial();
      statistics = {};
      roles = [];
      reportedBytes = 0;
      told = HINT.stop;
      receiver = undefined;
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
      if (!roles.includes('statistics')) return;
      // Giving the buffer back asks for a new one (5.5.6.3).
      const queue = port?.queue(roles.indexOf('statistics'));
      const chain = queue?.take();
      if (queue && chain) queue.complete(chain, 0);
    },
    get statistics() {
      return statistics;
    },
    get reportedBytes() {
      return reportedBytes;
    },
    askForHints(given) {
      if (!roles.includes('hints')) return false;
      receiver = given;
      lastCommand = lastCommand === 0xffff_ffff ? HINT.first : lastCommand + 1;
      setHintCommand(lastCommand);
      return true;
    },
    doneWithHints() {
      receiver = undefined;
      if (roles.includes('hints')) setHintCommand(HINT.done);
    },
  };

  function inflate(queue: Virtqueue, chain: Chain): void {
    const numbers = new Uint8Array(Math.min(chain.readableBytes, PAGES_MAX * PAGE_NUMBER_BYTES));
    const view = new DataView(numbers.buffer, 0, chain.read(0, numbers));
    const pages = new Uint32Array(view.byteLength / PAGE_NUMBER_BYTES);
    for (let i = 0; i < pages.length; i++) pages[i] = view.getUint32(i * PAGE_NUMBER_BYTES, true);
    pages.sort();
    for (let from = 0; from < pages.length; ) {
      let to = from + 1;
      while (to < pages.length && pages[to] <= pages[to - 1] + 1) to++;
      giveUp(pages[from] * PAGE_BYTES, (pages[to - 1] - pages[from] + 1) * PAGE_BYTES);
      from = to;
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

  /** 5.5.6.5: which list begins or ends, or pages of the list, whose content the driver keeps off until it is done. */
  function takeHint(queue: Virtqueue, chain: Chain): void {
    const isOfInterest = told >= HINT.first && told === state.hintCommand;
    if (chain.readableBytes >= 4) {
      const command = new Uint8Array(4);
      chain.read(0, command);
      told = new DataView(command.buffer).getUint32(0, true);
      if (told === HINT.stop && isOfInterest) receiver?.end();
    } else if (isOfInterest) {
      for (const { address, bytes } of chain.writable) receiver?.free(address, bytes.length);
    }
    queue.complete(chain, 0);
  }

  /** 5.5.6.6: pages that are free while the device has the request. Ones that must keep a pattern are left as they are. */
  function takeReport(queue: Virtqueue, chain: Chain): void {
    if (state.poison === 0) {
      for (const { address, bytes } of chain.writable) {
        if (address % PAGE_BYTES !== 0 || bytes.length % PAGE_BYTES !== 0) continue;
        reportedBytes += bytes.length;
        giveUp(address, bytes.length);
      }
    }
    queue.complete(chain, 0);
  }
}
