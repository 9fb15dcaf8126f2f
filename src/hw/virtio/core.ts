/**
 * The part of a virtio device that every transport shows in its own registers:
 * status, feature negotiation, queues, configuration (VIRTIO 1.2, chapter 2 and 3.1).
 */

import type { StateOf } from '../../base/index.ts';
import { added, array, bool, InternalError, stateTable, u8, u16, u32 } from '../../base/index.ts';
import type { Device, DeviceRecord, GuestMemory } from '../../contract/index.ts';
import { FEATURE, featureWords, hasFeature, STATUS } from './constants.ts';
import type { DevicePort, VirtioDevice } from './device.ts';
import { packedRing } from './packed-ring.ts';
import { type QueuePort, Virtqueue } from './queue.ts';
import type { QueueState } from './ring.ts';
import { NO_VECTOR, QUEUE_STATE } from './ring.ts';
import { splitRing } from './split-ring.ts';

/** What every device here can do. */
const COMMON_FEATURES = [
  FEATURE.indirectDescriptors,
  FEATURE.eventIndex,
  FEATURE.version1,
  FEATURE.ringPacked,
  FEATURE.notificationData,
  FEATURE.ringReset,
];
/** Of those, what drivers of the legacy interface may use, and that requests may lie in buffers of any sizes (6.3). */
const LEGACY_FEATURES = [FEATURE.indirectDescriptors, FEATURE.eventIndex, FEATURE.anyLayout];

/** How the core reaches the guest; each transport has its own way. */
export interface TransportPort {
  /** A queue's or (undefined) the configuration's interrupt. */
  interrupt(queue: Virtqueue | undefined): void;
  /** May the device read and write guest memory? */
  mayAccessMemory(): boolean;
  /** The device was reset by its driver. */
  reset(): void;
}

export interface VirtioCoreOptions {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  /** Told, one line each, what a driver did wrong. */
  readonly onGuestError?: (message: string) => void;
}

function stateOf(queueCount: number) {
  return stateTable({
    status: u8(),
    deviceFeatureSelect: u32(),
    driverFeatureSelect: u32(),
    driverFeaturesLow: u32(),
    driverFeaturesHigh: u32(),
    queueSelect: u16(),
    configVector: u16(NO_VECTOR),
    configGeneration: u8(),
    /** The driver uses the legacy interface, and the device although it has not said DRIVER_OK (3.1.1). */
    usedEarly: added(bool()),
    queues: array(queueCount, QUEUE_STATE),
  });
}
type CoreState = StateOf<ReturnType<typeof stateOf>>;

export class VirtioCore implements Device {
  readonly name: string;
  readonly device: VirtioDevice;
  readonly queues: readonly Virtqueue[];
  readonly offered: { readonly low: number; readonly high: number };
  readonly #legacyOffered: number;
  readonly #memory: GuestMemory;
  readonly #onGuestError: (message: string) => void;
  readonly #table: ReturnType<typeof stateOf>;
  #state: CoreState;
  #transport: TransportPort | undefined;

  constructor({ device, memory, onGuestError = () => {} }: VirtioCoreOptions) {
    this.name = `${device.name}.virtio`;
    this.device = device;
    const order = device.answersOutOfOrder ? [] : [FEATURE.inOrder];
    this.offered = featureWords([...COMMON_FEATURES, ...order, ...device.features]);
    this.#legacyOffered = featureWords([...LEGACY_FEATURES, ...device.features]).low;
    this.#memory = memory;
    this.#onGuestError = onGuestError;
    this.#table = stateOf(device.queues.length);
    this.#state = this.#initial();
    const port: QueuePort & DevicePort = {
      running: () => this.running && (this.#transport?.mayAccessMemory() ?? false),
      interrupt: (queue) => this.#transport?.interrupt(queue),
      fail: (reason) => this.fail(reason),
      queue: (index) => this.queues[index],
      configChanged: () => this.#configChanged(),
    };
    this.queues = this.#state.queues.map((state, index) => new Virtqueue(index, state, port));
    device.attach(port);
  }

  connect(transport: TransportPort): void {
    this.#transport = transport;
  }

  /** Between DRIVER_OK and a reset or a fault. */
  get running(): boolean {
    const { status, usedEarly } = this.#state;
    return (status & STATUS.needsReset) === 0 && ((status & STATUS.driverOk) !== 0 || usedEarly);
  }

  get state(): CoreState {
    return this.#state;
  }

  /** The queue that the driver has selected. */
  get selected(): Virtqueue | undefined {
    return this.queues[this.#state.queueSelect];
  }

  /** 2.1: bits are only ever set; 0 resets. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      this.device.reset();
      this.#transport?.reset();
      return;
    }
    const s = this.#state;
    const added = value & ~s.status & ~STATUS.needsReset;
    s.status |= added;
    if (added & STATUS.featuresOk && !this.#featuresFit()) s.status &= ~STATUS.featuresOk;
    if (!(added & STATUS.driverOk)) return;
    if (s.status & STATUS.featuresOk) this.device.start((bit) => this.negotiated(bit));
    else this.fail('DRIVER_OK without FEATURES_OK');
  }

  negotiated(bit: number): boolean {
    return hasFeature({ low: this.#state.driverFeaturesLow, high: this.#state.driverFeaturesHigh }, bit);
  }

  /** The 32 feature bits that the driver has selected to read. */
  deviceFeatures(): number {
    const { deviceFeatureSelect } = this.#state;
    return [this.offered.low, this.offered.high][deviceFeatureSelect] ?? 0;
  }

  driverFeatures(): number {
    const s = this.#state;
    return [s.driverFeaturesLow, s.driverFeaturesHigh][s.driverFeatureSelect] ?? 0;
  }

  writeDriverFeatures(value: number): void {
    const s = this.#state;
    if (s.status & STATUS.featuresOk) return; // 3.1.1: not after step 5
    if (s.driverFeatureSelect === 0) s.driverFeaturesLow = value;
    else if (s.driverFeatureSelect === 1) s.driverFeaturesHigh = value;
  }

  /** Puts a queue into use as its registers describe it. */
  enableQueue(queue: Virtqueue): void {
    if (queue.state.enabled || !(this.#state.status & STATUS.featuresOk)) return;
    this.connectQueue(queue);
  }

  /** The same whatever was negotiated. */
  connectQueue(queue: Virtqueue): void {
    const { maxSize } = this.device.queues[queue.index];
    const ring =
      queue.state.size > maxSize ? `${queue.state.size} entries, over ${maxSize}` : this.#ringOf(queue.state);
    if (typeof ring === 'string') {
      queue.fail(ring);
      return;
    }
    queue.state.enabled = true;
    queue.connect(ring, this.negotiated(FEATURE.inOrder));
  }

  /** Takes a queue out of use; its registers get their first values (2.6.1). */
  resetQueue(queue: Virtqueue): void {
    const { maxSize } = this.device.queues[queue.index];
    queue.load({ ...QUEUE_STATE.initial(), size: maxSize });
    this.#state.queues[queue.index] = queue.state;
  }

  /** The driver says that a queue has new buffers. */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue?.state.enabled && this.running) this.device.queues[index].onNotify(queue);
  }

  /** What the legacy interface offers: 32 bits. */
  legacyFeatures(): number {
    return this.#legacyOffered;
  }

  /** There is no FEATURES_OK: what was not offered is left out, and the rest holds from the first use on. */
  writeLegacyFeatures(value: number): void {
    const s = this.#state;
    if (this.running) return;
    s.driverFeaturesLow = (value & this.#legacyOffered) >>> 0;
    s.driverFeaturesHigh = 0;
  }

  writeLegacyStatus(value: number): void {
    const s = this.#state;
    const isStart = (value & STATUS.driverOk) !== 0 && !(s.status & STATUS.driverOk);
    if (value === 0 || !isStart) {
      this.writeStatus(value & ~STATUS.featuresOk);
      return;
    }
    if (!s.usedEarly) this.#startLegacy();
    s.status |= value & ~(STATUS.needsReset | STATUS.featuresOk);
  }

  /** 3.1.1: some drivers use a device before they say DRIVER_OK. */
  legacyNotify(index: number): void {
    const s = this.#state;
    if (!(s.status & (STATUS.driverOk | STATUS.needsReset)) && !s.usedEarly && this.queues[index]?.state.enabled) {
      this.#startLegacy();
      s.usedEarly = true;
    }
    this.notify(index);
  }

  /** Queues may have been set up before the features were written. */
  #startLegacy(): void {
    this.#connectRings();
    this.device.start((bit) => this.negotiated(bit));
  }

  /** 2.1.2: the device stops, and says so. */
  fail(reason: string): void {
    const s = this.#state;
    if (s.status & STATUS.needsReset) return;
    this.#onGuestError(`${this.device.name}: ${reason}; the driver must reset the device`);
    const wasRunning = this.running;
    s.status |= STATUS.needsReset;
    if (wasRunning) this.#transport?.interrupt(undefined);
  }

  /** A byte of the configuration structure; 0 past its end. */
  readConfig(offset: number, size: number): number {
    const config = this.device.config();
    let value = 0;
    for (let i = 0; i < size; i++) value |= (config[offset + i] ?? 0) << (i * 8);
    return value >>> 0;
  }

  writeConfig(offset: number, size: number, value: number, isLegacy = false): void {
    if (!this.device.writeConfig || offset + size > this.device.config().length) return;
    this.device.writeConfig(
      offset,
      Uint8Array.from({ length: size }, (_, i) => value >>> (i * 8)),
      isLegacy,
    );
  }

  reset(): void {
    this.#load(this.#initial());
  }

  /**
   * Only when nothing is in flight: whoever takes a snapshot waits for that first. What a device holds that has
   * stopped for its driver's fault is never answered.
   */
  snapshot(): DeviceRecord {
    if (this.running && this.queues.some((queue) => queue.inFlight > 0)) {
      throw new InternalError(`${this.name}: a snapshot while requests are in flight`);
    }
    return this.#table.save(this.#state);
  }

  restore(record: DeviceRecord): void {
    this.#load(this.#table.load(record));
    this.#connectRings();
    if (this.running) this.device.start((bit) => this.negotiated(bit));
  }

  #connectRings(): void {
    for (const queue of this.queues) {
      if (!queue.state.enabled) continue;
      const ring = this.#ringOf(queue.state);
      if (typeof ring === 'string') queue.fail(ring);
      else queue.connect(ring, this.negotiated(FEATURE.inOrder));
    }
  }

  #load(state: CoreState): void {
    this.#state = state;
    for (const [index, queue] of this.queues.entries()) queue.load(state.queues[index]);
  }

  #initial(): CoreState {
    const state = this.#table.initial();
    for (const [index, { maxSize }] of this.device.queues.entries()) state.queues[index].size = maxSize;
    return state;
  }

  #ringOf(state: QueueState) {
    const features = {
      indirect: this.negotiated(FEATURE.indirectDescriptors),
      eventIndex: this.negotiated(FEATURE.eventIndex),
    };
    const make = this.negotiated(FEATURE.ringPacked) ? packedRing : splitRing;
    return make(this.#memory, state, features);
  }

  /** Nothing that was not offered, and this version of virtio: what is older has another layout. */
  #featuresFit(): boolean {
    const { driverFeaturesLow, driverFeaturesHigh } = this.#state;
    const strange = (driverFeaturesLow & ~this.offered.low) | (driverFeaturesHigh & ~this.offered.high);
    return strange === 0 && this.negotiated(FEATURE.version1);
  }

  #configChanged(): void {
    this.#state.configGeneration = (this.#state.configGeneration + 1) & 0xff;
    if (this.running) this.#transport?.interrupt(undefined);
  }
}
