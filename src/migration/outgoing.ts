/**
 * Live migration's sending side: RAM in passes while the guest runs, what it wrote meanwhile in the next one, and the
 * rest with the devices' state while it stands still.
 */
import { UserError } from '../base/index.ts';
import type { DeviceRecord } from '../contract/index.ts';
import { encodeHeader, encodePreamble, KIND, PAGE_BYTES } from './format.ts';
import type { MigrationParameters } from './parameters.ts';
import { RamStream } from './ram-stream.ts';
import { type DeviceSection, deviceToText, recordToText } from './record-text.ts';
import type { Ram } from './scan.ts';

/** The machine as its sender sees it. */
export interface MigratedMachine {
  readonly memory: Ram;
  /** What machine it is, for the other side to compare. */
  readonly state: DeviceRecord;
  startDirtyLog(): Promise<void>;
  /** As DirtyLog.take. */
  takeDirty(): Promise<Uint8Array>;
  stopDirtyLog(): Promise<void>;
  /** The guest runs this many percent of its time less. */
  throttle(percent: number): Promise<void>;
  /** The guest stands still from here on, and nothing is in flight: the devices' state. */
  stop(): Promise<readonly DeviceSection[]>;
  /** Disks are given up: another process may take them. */
  release(): Promise<void>;
}

export interface MigrationChannel {
  /** The bytes may be used again once it has settled. */
  send(bytes: Uint8Array): Promise<void>;
  /** Resolves when the other side has everything and runs the guest from now on, or at once where nobody answers. */
  finish(): Promise<void>;
}

export interface MigrationClock {
  nowMillis(): number;
  sleep(millis: number): Promise<void>;
}

export interface MigrationHooks {
  /** A pass over RAM begins, the first being 1. */
  onPass(pass: number): void;
  /** The guest stands still; resolves when the rest may go. */
  beforeSwitchover(): Promise<void>;
  onDevice(): void;
}

export interface MigrationProgress {
  readonly pass: number;
  readonly transferredBytes: number;
  readonly remainingBytes: number;
  readonly totalBytes: number;
  readonly zeroPages: number;
  readonly normalPages: number;
  readonly dirtyPagesPerSecond: number;
  readonly bytesPerSecond: number;
  /** What it would be if it were now. */
  readonly expectedDowntimeMillis: number;
  readonly downtimeMillis: number;
  readonly throttlePercent: number;
  /** Bytes sent while the guest ran, and while it stood still. */
  readonly precopyBytes: number;
  readonly downtimeBytes: number;
}

export class MigrationCancelled extends UserError {
  override name = 'MigrationCancelled';
  constructor() {
    super('the migration was cancelled');
  }
}

export class OutgoingMigration {
  readonly #machine: MigratedMachine;
  readonly #channel: MigrationChannel;
  readonly #parameters: Readonly<MigrationParameters>;
  readonly #clock: MigrationClock;
  readonly #hooks: MigrationHooks;
  readonly #autoConverge: boolean;
  readonly #ram: RamStream;
  readonly #dirty: Uint8Array;
  #isCancelled = false;
  #pass = 0;
  #throttle = 0;
  #slowPasses = 0;
  #dirtyPagesPerSecond = 0;
  #bytesPerSecond = 0;
  #stoppedAt: number | undefined;
  #downtimeMillis = 0;
  #precopyBytes = 0;

  constructor(
    machine: MigratedMachine,
    channel: MigrationChannel,
    options: {
      readonly parameters: Readonly<MigrationParameters>;
      readonly clock: MigrationClock;
      readonly hooks: MigrationHooks;
      readonly autoConverge?: boolean;
    },
  ) {
    this.#machine = machine;
    this.#channel = channel;
    this.#parameters = options.parameters;
    this.#clock = options.clock;
    this.#hooks = options.hooks;
    this.#autoConverge = options.autoConverge ?? false;
    this.#ram = new RamStream(machine.memory, (bytes) => this.#send(bytes));
    const pages = machine.memory.ranges.reduce((sum, { size }) => sum + size / PAGE_BYTES, 0);
    this.#dirty = new Uint8Array(Math.ceil(pages / 8)).fill(0xff);
    if (pages % 8 !== 0) this.#dirty[this.#dirty.length - 1] = (1 << (pages % 8)) - 1;
  }

  /** The guest stands still. */
  get hasStopped(): boolean {
    return this.#stoppedAt !== undefined;
  }

  /** Ends it soon; what is being sent must be ended by whoever owns the channel. */
  cancel(): void {
    this.#isCancelled = true;
  }

  get progress(): MigrationProgress {
    const { counts } = this.#ram;
    const remainingBytes = countBits(this.#dirty) * PAGE_BYTES;
    const rate = this.#bytesPerSecond;
    return {
      pass: this.#pass,
      transferredBytes: counts.sentBytes,
      remainingBytes,
      totalBytes: this.#machine.memory.ranges.reduce((sum, { size }) => sum + size, 0),
      zeroPages: counts.zeroPages,
      normalPages: counts.normalPages,
      dirtyPagesPerSecond: this.#dirtyPagesPerSecond,
      bytesPerSecond: rate,
      expectedDowntimeMillis: rate > 0 ? Math.round((remainingBytes / rate) * 1000) : this.#parameters.downtimeLimit,
      downtimeMillis: this.#downtimeMillis,
      throttlePercent: this.#throttle,
      precopyBytes: this.#stoppedAt === undefined ? counts.sentBytes : this.#precopyBytes,
      downtimeBytes: this.#stoppedAt === undefined ? 0 : counts.sentBytes - this.#precopyBytes,
    };
  }

  /**
   * Sends the machine. When it rejects, the guest may stand still, with its disks given up: `hasStopped` says so.
   * Rejects with MigrationCancelled after `cancel`.
   */
  async run(): Promise<void> {
    await this.#machine.startDirtyLog();
    try {
      await this.#ram.raw(encodePreamble());
      await this.#ram.section(KIND.state, encode(recordToText(this.#machine.state)));
      await this.#copyWhileItRuns();
      await this.#switchOver();
    } catch (error) {
      throw this.#isCancelled ? new MigrationCancelled() : error;
    } finally {
      await this.#machine.stopDirtyLog();
      if (this.#throttle > 0) await this.#machine.throttle(0);
      this.#throttle = 0;
    }
  }

  /** Passes until what is left can go while the guest stands still. */
  async #copyWhileItRuns(): Promise<void> {
    for (;;) {
      this.#pass++;
      this.#hooks.onPass(this.#pass);
      const before = this.#ram.counts.sentBytes;
      const startedAt = this.#clock.nowMillis();
      await this.#ram.sendPages(this.#dirty, this.#pass > 1, () => !this.#isCancelled);
      await this.#ram.flush();
      this.#check();
      const seconds = Math.max(1e-3, (this.#clock.nowMillis() - startedAt) / 1000);
      const sent = this.#ram.counts.sentBytes - before;
      // A pass of a few pages says little about how fast the channel is.
      if (sent > 1024 * 1024 || this.#bytesPerSecond === 0) this.#bytesPerSecond = sent / seconds;
      await this.#collect();
      const left = countBits(this.#dirty);
      this.#dirtyPagesPerSecond = Math.round(left / seconds);
      if (left * PAGE_BYTES <= this.#bytesPerSecond * (this.#parameters.downtimeLimit / 1000)) return;
      await this.#converge(left * PAGE_BYTES, sent);
    }
  }

  async #collect(): Promise<void> {
    const taken = await this.#machine.takeDirty();
    for (let i = 0; i < taken.length; i++) this.#dirty[i] |= taken[i];
  }

  /** Twice in a row the guest wrote about as much as was sent: it gets less time. */
  async #converge(dirtied: number, sent: number): Promise<void> {
    if (!this.#autoConverge) return;
    const { throttleTriggerThreshold, cpuThrottleInitial, cpuThrottleIncrement, maxCpuThrottle } = this.#parameters;
    if (dirtied * 100 <= sent * throttleTriggerThreshold) return;
    this.#slowPasses++;
    if (this.#slowPasses < 2) return;
    this.#slowPasses = 0;
    const next = this.#throttle === 0 ? cpuThrottleInitial : this.#throttle + cpuThrottleIncrement;
    this.#throttle = Math.min(maxCpuThrottle, next);
    await this.#machine.throttle(this.#throttle);
  }

  async #switchOver(): Promise<void> {
    this.#precopyBytes = this.#ram.counts.sentBytes;
    const stoppedAt = this.#clock.nowMillis();
    this.#stoppedAt = stoppedAt;
    const devices = await this.#machine.stop();
    await this.#collect();
    await this.#hooks.beforeSwitchover();
    this.#check();
    this.#hooks.onDevice();
    await this.#machine.release();
    await this.#ram.sendPages(this.#dirty, true, () => !this.#isCancelled);
    this.#check();
    for (const device of devices) await this.#ram.section(KIND.device, encode(deviceToText(device)));
    await this.#ram.flush();
    await this.#ram.raw(encodeHeader({ kind: KIND.end, address: 0, length: this.#ram.sections, checksum: 0 }));
    await this.#channel.finish();
    this.#downtimeMillis = this.#clock.nowMillis() - stoppedAt;
  }

  #check(): void {
    if (this.#isCancelled) throw new MigrationCancelled();
  }

  /** While the guest runs, no faster than allowed. */
  async #send(bytes: Uint8Array): Promise<void> {
    this.#check();
    const startedAt = this.#clock.nowMillis();
    await this.#channel.send(bytes);
    const { maxBandwidth } = this.#parameters;
    if (this.#stoppedAt !== undefined || maxBandwidth === 0) return;
    const wanted = (bytes.length / maxBandwidth) * 1000;
    this.#ahead = Math.max(-BURST_MILLIS, this.#ahead + wanted - (this.#clock.nowMillis() - startedAt));
    while (this.#ahead > SLEEP_MIN_MILLIS && !this.#isCancelled && this.#stoppedAt === undefined) {
      const before = this.#clock.nowMillis();
      await this.#clock.sleep(Math.min(this.#ahead, SLEEP_MAX_MILLIS));
      this.#ahead -= this.#clock.nowMillis() - before;
    }
  }

  /** How much earlier than allowed what was sent has gone, in milliseconds. */
  #ahead = 0;
}

/** Shorter sleeps are made up for later. */
const SLEEP_MIN_MILLIS = 2;
/** So that a new limit and an end are seen soon. */
const SLEEP_MAX_MILLIS = 50;
const BURST_MILLIS = 20;

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function countBits(bitmap: Uint8Array): number {
  let count = 0;
  for (const bits of bitmap) for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}
