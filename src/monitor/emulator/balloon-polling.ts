/** Asks the guest for its memory statistics every so often, as libvirt sets it. */
import type { Machine } from '../../machine/index.ts';
import type { EventClock } from '../qmp/events.ts';

/** QEMU's names for VIRTIO's statistics. */
const NAMES: Readonly<Record<string, string>> = {
  swapIn: 'stat-swap-in',
  swapOut: 'stat-swap-out',
  majorFaults: 'stat-major-faults',
  minorFaults: 'stat-minor-faults',
  freeMemory: 'stat-free-memory',
  totalMemory: 'stat-total-memory',
  availableMemory: 'stat-available-memory',
  diskCaches: 'stat-disk-caches',
  hugePageAllocations: 'stat-htlb-pgalloc',
  hugePageFailures: 'stat-htlb-pgfail',
};
/** What was never said. */
const UNKNOWN = 0xffff_ffff_ffff_ffffn;

export class BalloonPolling {
  readonly #clock: EventClock;
  readonly #machine: Machine | undefined;
  #seconds = 0;
  #cancel: (() => void) | undefined;
  #statistics: Readonly<Record<string, number>> = {};
  #lastUpdateSeconds = 0;

  constructor(clock: EventClock, machine: Machine | undefined) {
    this.#clock = clock;
    this.#machine = machine;
  }

  get seconds(): number {
    return this.#seconds;
  }

  /** 0 stops asking. */
  setSeconds(seconds: number): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#seconds = seconds;
    if (seconds > 0) void this.#ask();
  }

  /** As qom-get of guest-stats returns it. */
  stats() {
    const entries = Object.entries(NAMES).map(([name, qemuName]) => [qemuName, this.#statistics[name] ?? UNKNOWN]);
    return { stats: Object.fromEntries(entries), 'last-update': this.#lastUpdateSeconds };
  }

  async #ask(): Promise<void> {
    try {
      const balloon = await this.#machine?.command('balloon');
      if (balloon !== undefined && Object.keys(balloon.statistics).length > 0) {
        this.#statistics = balloon.statistics;
        this.#lastUpdateSeconds = Math.floor(this.#clock.nowMillis() / 1000);
      }
      await this.#machine?.command('refresh-balloon-statistics');
    } catch {
      return; // the machine has ended
    }
    if (this.#seconds > 0) this.#cancel = this.#clock.after(this.#seconds * 1000, () => void this.#ask());
  }
}
