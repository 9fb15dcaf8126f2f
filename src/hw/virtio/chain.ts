/** One request's buffers: the descriptors of a chain, checked and found in guest memory (VIRTIO 1.2, 2.6). */
import type { GuestMemory } from '../../contract/index.ts';

/** Descriptors of one chain, at most; longer indirect tables are refused. */
const SEGMENTS_MAX = 1024;
/** Bytes of one chain in all, at most (2.7.5.3.1). */
const BYTES_MAX = 2 ** 32 - 1;

/** A piece of guest memory that the driver lent to the device. */
export interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/**
 * What the driver sent (`readable`) and where the answer goes (`writable`).
 * The guest can change the bytes at any time: copy what is checked before use.
 */
export class Chain {
  /** Names the chain in the used ring: the head's index (split) or the buffer id (packed). */
  readonly id: number;
  /** Ring slots that it takes, which the device skips when it gives the chain back (packed). */
  readonly slots: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
  readonly readableBytes: number;
  readonly writableBytes: number;
  /** Set by the queue when the device gives the chain back. */
  completed = false;
  /** How much of its writable part was filled, once it is completed. */
  written = 0;
  readonly #memory: GuestMemory;

  constructor(builder: ChainBuilder, id: number, slots: number) {
    this.id = id;
    this.slots = slots;
    this.readable = builder.readable;
    this.writable = builder.writable;
    this.readableBytes = builder.readableBytes;
    this.writableBytes = builder.writableBytes;
    this.#memory = builder.memory;
  }

  /** Copies from the readable bytes at `offset` on; returns how many bytes of `target` were filled. */
  read(offset: number, target: Uint8Array): number {
    let skip = offset;
    let done = 0;
    for (const { bytes } of this.readable) {
      if (done === target.length) break;
      if (skip >= bytes.length) {
        skip -= bytes.length;
        continue;
      }
      const part = bytes.subarray(skip, Math.min(bytes.length, skip + target.length - done));
      target.set(part, done);
      done += part.length;
      skip = 0;
    }
    return done;
  }

  /** `length` readable bytes from `offset` on, where they lie; fewer when there are no more. */
  readableViews(offset: number, length: number): Uint8Array[] {
    return viewsOf(this.readable, offset, length).map(({ bytes }) => bytes);
  }

  /** The same of the writable bytes; say what was filled by `filled`. */
  writableViews(offset: number, length: number): Uint8Array[] {
    return viewsOf(this.writable, offset, length).map(({ bytes }) => bytes);
  }

  /** Says that writable bytes were changed through their views. */
  filled(offset: number, length: number): void {
    for (const { address, bytes } of viewsOf(this.writable, offset, length)) {
      this.#memory.written(address, bytes.length);
    }
  }

  /** Copies into the writable bytes at `offset` on; returns how many bytes of `source` found room. */
  write(offset: number, source: Uint8Array): number {
    let skip = offset;
    let done = 0;
    for (const { address, bytes } of this.writable) {
      if (done === source.length) break;
      if (skip >= bytes.length) {
        skip -= bytes.length;
        continue;
      }
      const count = Math.min(bytes.length - skip, source.length - done);
      bytes.set(count === source.length ? source : source.subarray(done, done + count), skip);
      this.#memory.written(address + skip, count);
      done += count;
      skip = 0;
    }
    return done;
  }
}

function viewsOf(segments: readonly Segment[], offset: number, length: number): Segment[] {
  const views: Segment[] = [];
  let skip = offset;
  let rest = length;
  for (const segment of segments) {
    if (rest === 0) break;
    const { address, bytes } = segment;
    const count = Math.min(bytes.length - skip, rest);
    if (count <= 0) {
      skip -= bytes.length;
      continue;
    }
    const isWhole = count === bytes.length;
    views.push(isWhole ? segment : { address: address + skip, bytes: bytes.subarray(skip, skip + count) });
    rest -= count;
    skip = 0;
  }
  return views;
}

/** Collects the descriptors of a chain in order; a complaint is what the driver did wrong. */
export class ChainBuilder {
  readonly memory: GuestMemory;
  readonly readable: Segment[] = [];
  readonly writable: Segment[] = [];
  readableBytes = 0;
  writableBytes = 0;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** Adds one buffer; returns a complaint when the driver may not do that. */
  add(address: number, length: number, deviceWritable: boolean): string | undefined {
    if (length === 0) return 'a descriptor of length 0';
    if (this.readable.length + this.writable.length === SEGMENTS_MAX) return `over ${SEGMENTS_MAX} descriptors`;
    if (this.readableBytes + this.writableBytes + length > BYTES_MAX) return 'a chain of 4 GiB or more';
    const bytes = this.memory.view(address, length);
    if (bytes === undefined) return `a buffer outside RAM: ${length} bytes at 0x${address.toString(16)}`;
    if (deviceWritable) {
      this.writable.push({ address, bytes });
      this.writableBytes += length;
    } else {
      if (this.writable.length > 0) return 'a device-readable descriptor after a device-writable one';
      this.readable.push({ address, bytes });
      this.readableBytes += length;
    }
    return undefined;
  }
}
