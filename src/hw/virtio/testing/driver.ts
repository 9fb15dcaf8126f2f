/**
 * A driver as a guest would have it, in a few lines: it finds the device,
 * negotiates, lays rings out in guest memory and exchanges buffers. Tests and
 * fuzzers share it; fuzzers also write to its rings behind its back.
 */
import type { Bus, GuestMemory } from '../../../contract/index.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, FEATURE, featureWords, STATUS } from '../constants.ts';

/** The registers of a transport, as a driver uses them. */
export interface DriverTransport {
  /** That of devices before virtio 1.0: there is no FEATURES_OK, and queues are as large as the device says. */
  readonly isLegacy?: boolean;
  readonly deviceId: number;
  readStatus(): number;
  writeStatus(value: number): void;
  /** Word 0 or 1 of the feature bits. */
  readFeatures(word: number): number;
  writeFeatures(word: number, value: number): void;
  queueMaxSize(index: number): number;
  setUpQueue(index: number, size: number, areas: RingAddresses): void;
  resetQueue(index: number): void;
  notify(index: number): void;
  readConfig(offset: number, size: 1 | 2 | 4): number;
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
}

export interface RingAddresses {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

/** A buffer that the driver made available. */
export interface Sent {
  readonly id: number;
  readonly writable: readonly { readonly address: number; readonly length: number }[];
}

/** A buffer that the device gave back. */
export interface Returned {
  readonly id: number;
  readonly written: number;
  /** What is in the writable part, all of it. */
  readonly data: Uint8Array;
}

export interface DriverOptions {
  /** Feature bits to accept, beside VERSION_1; those that the device does not offer are an error of the test. */
  readonly features?: readonly number[];
  readonly queueSize?: number;
  /** Put every chain in an indirect table. */
  readonly indirect?: boolean;
  /** Where in guest memory the driver may put things. */
  readonly memoryBase?: number;
}

export class MockDriver {
  readonly transport: DriverTransport;
  readonly memory: GuestMemory;
  readonly queues: DriverQueue[] = [];
  readonly packed: boolean;
  readonly options: DriverOptions;
  #free: number;

  constructor(transport: DriverTransport, memory: GuestMemory, options: DriverOptions = {}) {
    this.transport = transport;
    this.memory = memory;
    this.options = options;
    this.packed = (options.features ?? []).includes(FEATURE.ringPacked);
    this.#free = options.memoryBase ?? 0x1_0000;
  }

  /** 3.1.1 from reset to DRIVER_OK, with the first `queueCount` queues. */
  start(queueCount: number): this {
    const { transport } = this;
    transport.writeStatus(0);
    transport.writeStatus(STATUS.acknowledge);
    transport.writeStatus(STATUS.acknowledge | STATUS.driver);
    const { isLegacy } = transport;
    const wanted = featureWords([...(isLegacy ? [] : [FEATURE.version1]), ...(this.options.features ?? [])]);
    for (const [word, value] of [wanted.low, wanted.high].entries()) {
      const missing = value & ~transport.readFeatures(word);
      if (missing !== 0) throw new Error(`the device does not offer features ${missing.toString(2)} of word ${word}`);
      transport.writeFeatures(word, value);
    }
    const ready = STATUS.acknowledge | STATUS.driver | (isLegacy ? 0 : STATUS.featuresOk);
    transport.writeStatus(ready);
    if (!isLegacy && !(transport.readStatus() & STATUS.featuresOk)) throw new Error('the device refused the features');
    for (let index = 0; index < queueCount; index++) this.queues[index] = this.addQueue(index);
    transport.writeStatus(ready | STATUS.driverOk);
    return this;
  }

  addQueue(index: number): DriverQueue {
    const most = this.transport.queueMaxSize(index);
    const size = this.transport.isLegacy ? most : Math.min(this.options.queueSize ?? 16, most);
    const queue = new DriverQueue(this, index, size);
    this.transport.setUpQueue(index, size, queue.areas);
    return queue;
  }

  get needsReset(): boolean {
    return (this.transport.readStatus() & STATUS.needsReset) !== 0;
  }

  /** Guest memory that nothing else uses, zeroed. */
  allocate(length: number, alignment = 16): number {
    const address = Math.ceil(this.#free / alignment) * alignment;
    this.#free = (address + length + 15) & ~15;
    if (this.#free > this.memory.ranges[0].size) throw new Error('the mock driver has used up its memory');
    this.bytes(address, length).fill(0);
    return address;
  }

  bytes(address: number, length: number): Uint8Array {
    const bytes = this.memory.view(address, length);
    if (bytes === undefined) throw new Error(`no RAM at ${address}`);
    return bytes;
  }

  view(address: number, length: number): DataView {
    const bytes = this.bytes(address, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }
}

interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export class DriverQueue {
  readonly index: number;
  readonly size: number;
  readonly areas: RingAddresses;
  readonly descriptors: DataView;
  readonly driverArea: DataView;
  readonly deviceArea: DataView;
  readonly #driver: MockDriver;
  readonly #sent = new Map<number, Sent & { readonly slots: number }>();
  /** Split ring: the descriptors of each chain, by its head. */
  readonly #used = new Map<number, readonly number[]>();
  #freeIds: number[];
  #nextAvailable = 0;
  #nextUsed = 0;
  #availableWrap = true;
  #usedWrap = true;

  constructor(driver: MockDriver, index: number, size: number) {
    this.#driver = driver;
    this.index = index;
    this.size = size;
    const areas = driver.transport.isLegacy
      ? legacyAreas(driver, size)
      : {
          descriptors: driver.allocate(size * DESCRIPTOR_BYTES),
          driver: driver.allocate(6 + 2 * size),
          device: driver.allocate(6 + 8 * size),
        };
    this.areas = areas;
    this.descriptors = driver.view(areas.descriptors, size * DESCRIPTOR_BYTES);
    this.driverArea = driver.view(areas.driver, 6 + 2 * size);
    this.deviceArea = driver.view(areas.device, 6 + 8 * size);
    this.#freeIds = Array.from({ length: size }, (_, id) => id);
  }

  /** Makes a chain available without telling the device. */
  add(readable: readonly Uint8Array[], writableLengths: readonly number[] = []): Sent {
    const chain: Descriptor[] = readable.map((bytes) => {
      const address = this.#driver.allocate(bytes.length);
      this.#driver.bytes(address, bytes.length).set(bytes);
      return { address, length: bytes.length, writable: false };
    });
    const writable = writableLengths.map((length) => ({ address: this.#driver.allocate(length), length }));
    chain.push(...writable.map((buffer) => ({ ...buffer, writable: true })));
    const slots = this.#driver.options.indirect ? 1 : chain.length;
    const id = this.#driver.packed ? this.#addPacked(chain, slots) : this.#addSplit(chain, slots);
    const sent = { id, writable, slots };
    this.#sent.set(id, sent);
    return sent;
  }

  /** Makes a chain available and notifies. */
  send(readable: readonly Uint8Array[], writableLengths: readonly number[] = []): Sent {
    const sent = this.add(readable, writableLengths);
    this.notify();
    return sent;
  }

  notify(): void {
    this.#driver.transport.notify(this.index);
  }

  /** Everything that the device gave back since the last call. */
  collect(): Returned[] {
    const returned: Returned[] = [];
    for (let used = this.#nextUsedElement(); used !== undefined; used = this.#nextUsedElement()) {
      const sent = this.#sent.get(used.id);
      if (sent === undefined) throw new Error(`the device returned buffer ${used.id}, which it does not have`);
      this.#sent.delete(used.id);
      this.#release(sent);
      const parts = sent.writable.map(({ address, length }) => this.#driver.bytes(address, length));
      const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        data.set(part, at);
        at += part.length;
      }
      returned.push({ ...used, data });
    }
    return returned;
  }

  get outstanding(): number {
    return this.#sent.size;
  }

  #put(view: DataView, slot: number, { address, length }: Descriptor, third: number, fourth: number): void {
    const at = slot * DESCRIPTOR_BYTES;
    view.setUint32(at, address, true);
    view.setUint32(at + 4, 0, true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, third, true);
    view.setUint16(at + 14, fourth, true);
  }

  /** The table of an indirect chain, as one descriptor. */
  #indirect(chain: readonly Descriptor[]): Descriptor {
    const length = chain.length * DESCRIPTOR_BYTES;
    const address = this.#driver.allocate(length);
    const view = this.#driver.view(address, length);
    for (const [i, one] of chain.entries()) {
      const write = one.writable ? DESCRIPTOR.write : 0;
      if (this.#driver.packed) this.#put(view, i, one, 0, write);
      else this.#put(view, i, one, write | (i + 1 < chain.length ? DESCRIPTOR.next : 0), i + 1);
    }
    return { address, length, writable: false };
  }

  #addSplit(chain: readonly Descriptor[], slots: number): number {
    const ids = this.#freeIds.splice(0, slots);
    if (ids.length < slots) throw new Error('the mock driver has no free descriptors');
    if (this.#driver.options.indirect)
      this.#put(this.descriptors, ids[0], this.#indirect(chain), DESCRIPTOR.indirect, 0);
    else {
      for (const [i, one] of chain.entries()) {
        const next = i + 1 < chain.length ? DESCRIPTOR.next : 0;
        this.#put(this.descriptors, ids[i], one, next | (one.writable ? DESCRIPTOR.write : 0), ids[i + 1] ?? 0);
      }
    }
    this.#used.set(ids[0], ids);
    this.driverArea.setUint16(4 + 2 * (this.#nextAvailable % this.size), ids[0], true);
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    this.driverArea.setUint16(2, this.#nextAvailable, true);
    return ids[0];
  }

  #release({ id, slots }: { readonly id: number; readonly slots: number }): void {
    if (!this.#driver.packed) {
      this.#freeIds.push(...(this.#used.get(id) ?? []));
      this.#used.delete(id);
      return;
    }
    this.#freeIds.push(id);
    const next = this.#nextUsed + slots;
    this.#nextUsed = next % this.size;
    if (next >= this.size) this.#usedWrap = !this.#usedWrap;
  }

  #addPacked(chain: readonly Descriptor[], slots: number): number {
    const id = this.#freeIds.shift();
    if (id === undefined) throw new Error('the mock driver has no free descriptors');
    const descriptors = this.#driver.options.indirect ? [this.#indirect(chain)] : chain;
    const marks: [number, number][] = [];
    for (const [i, one] of descriptors.entries()) {
      const flags =
        (this.#availableWrap ? DESCRIPTOR.available : DESCRIPTOR.used) |
        (this.#driver.options.indirect ? DESCRIPTOR.indirect : one.writable ? DESCRIPTOR.write : 0) |
        (i + 1 < slots ? DESCRIPTOR.next : 0);
      this.#put(this.descriptors, this.#nextAvailable, one, id, i === 0 ? 0 : flags);
      if (i === 0) marks.push([this.#nextAvailable * DESCRIPTOR_BYTES + 14, flags]);
      this.#nextAvailable++;
      if (this.#nextAvailable === this.size) {
        this.#nextAvailable = 0;
        this.#availableWrap = !this.#availableWrap;
      }
    }
    for (const [at, flags] of marks) this.descriptors.setUint16(at, flags, true); // the first becomes available last
    return id;
  }

  #nextUsedElement(): { id: number; written: number } | undefined {
    if (this.#driver.packed) {
      const at = this.#nextUsed * DESCRIPTOR_BYTES;
      const flags = this.descriptors.getUint16(at + 14, true);
      const both = DESCRIPTOR.available | DESCRIPTOR.used;
      if ((flags & both) !== (this.#usedWrap ? both : 0)) return undefined;
      const written = this.descriptors.getUint32(at + 8, true);
      // An entry that the driver has not yet filled looks used in the second round: it must know the id.
      const id = this.descriptors.getUint16(at + 12, true);
      return this.#sent.has(id) ? { id, written } : undefined;
    }
    if (this.deviceArea.getUint16(2, true) === this.#nextUsed) return undefined;
    const at = 4 + 8 * (this.#nextUsed % this.size);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    return { id: this.deviceArea.getUint32(at, true), written: this.deviceArea.getUint32(at + 4, true) };
  }
}

/** One piece of memory from a page's start, the device's area at the start of a page too (2.7.2). */
function legacyAreas(driver: MockDriver, size: number): RingAddresses {
  const descriptors = driver.allocate(size * DESCRIPTOR_BYTES + 6 + 2 * size, 4096);
  return { descriptors, driver: descriptors + size * DESCRIPTOR_BYTES, device: driver.allocate(6 + 8 * size, 4096) };
}

/** A driver's access to a virtio PCI function on a bus, found through its capabilities (4.1.4). */
export function pciTransport(
  config: {
    read(offset: number, size: 1 | 2 | 4): number;
    write(offset: number, size: 1 | 2 | 4, value: number): void;
  },
  mmio: Bus,
  barBase: number,
): DriverTransport {
  config.write(0x20, 4, barBase);
  config.write(0x24, 4, 0);
  config.write(0x14, 4, barBase + 0x1_0000);
  config.write(0x04, 2, 0x0006);
  const found = new Map<number, number>();
  let multiplier = 0;
  for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) {
    if (config.read(at, 1) !== 0x09) continue;
    const type = config.read(at + 3, 1);
    if (!found.has(type)) found.set(type, barBase + config.read(at + 8, 4));
    if (type === 2) multiplier = config.read(at + 16, 4);
  }
  const structure = (type: number) => {
    const address = found.get(type);
    if (address === undefined) throw new Error(`no virtio capability of type ${type}`);
    return address;
  };
  const common = structure(1);
  const select = (index: number) => mmio.write(common + 0x16, 2, index);
  const write64 = (offset: number, value: number) => {
    mmio.write(common + offset, 4, value % 2 ** 32);
    mmio.write(common + offset + 4, 4, Math.floor(value / 2 ** 32));
  };
  return {
    deviceId: config.read(0x02, 2) - 0x1040,
    readStatus: () => mmio.read(common + 0x14, 1),
    writeStatus: (value) => mmio.write(common + 0x14, 1, value),
    readFeatures(word) {
      mmio.write(common, 4, word);
      return mmio.read(common + 4, 4);
    },
    writeFeatures(word, value) {
      mmio.write(common + 8, 4, word);
      mmio.write(common + 0xc, 4, value);
    },
    queueMaxSize(index) {
      select(index);
      return mmio.read(common + 0x18, 2);
    },
    setUpQueue(index, size, areas) {
      select(index);
      mmio.write(common + 0x18, 2, size);
      mmio.write(common + 0x1a, 2, index + 1);
      write64(0x20, areas.descriptors);
      write64(0x28, areas.driver);
      write64(0x30, areas.device);
      mmio.write(common + 0x1c, 2, 1);
    },
    resetQueue(index) {
      select(index);
      mmio.write(common + 0x3a, 2, 1);
    },
    notify(index) {
      select(index);
      mmio.write(structure(2) + mmio.read(common + 0x1e, 2) * multiplier, 2, index);
    },
    readConfig: (offset, size) => mmio.read(structure(4) + offset, size),
    writeConfig: (offset, size, value) => mmio.write(structure(4) + offset, size, value),
  };
}

/** A driver's access to a virtio-mmio window at `base`. */
export function mmioTransport(mmio: Bus, base: number): DriverTransport {
  const read = (offset: number) => mmio.read(base + offset, 4);
  const write = (offset: number, value: number) => mmio.write(base + offset, 4, value);
  const write64 = (offset: number, value: number) => {
    write(offset, value % 2 ** 32);
    write(offset + 4, Math.floor(value / 2 ** 32));
  };
  if (read(0) !== 0x7472_6976 || read(4) !== 2) throw new Error('there is no virtio-mmio device');
  return {
    deviceId: read(0x008),
    readStatus: () => read(0x070),
    writeStatus: (value) => write(0x070, value),
    readFeatures(word) {
      write(0x014, word);
      return read(0x010);
    },
    writeFeatures(word, value) {
      write(0x024, word);
      write(0x020, value);
    },
    queueMaxSize(index) {
      write(0x030, index);
      return read(0x034);
    },
    setUpQueue(index, size, areas) {
      write(0x030, index);
      write(0x038, size);
      write64(0x080, areas.descriptors);
      write64(0x090, areas.driver);
      write64(0x0a0, areas.device);
      write(0x044, 1);
    },
    resetQueue(index) {
      write(0x030, index);
      write(0x0c0, 1);
    },
    notify: (index) => write(0x050, index),
    readConfig: (offset, size) => mmio.read(base + 0x100 + offset, size),
    writeConfig: (offset, size, value) => mmio.write(base + 0x100 + offset, size, value),
  };
}
