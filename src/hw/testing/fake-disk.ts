/** A disk in memory that writes down what is asked of it, and can be made to wait or fail. */
import { IoError } from '../../base/index.ts';
import type { BlockImmediate, BlockNode } from '../../contract/index.ts';

export interface FakeDiskOptions {
  readonly readOnly?: boolean;
  /** Without discard and write-zeroes. */
  readonly plain?: boolean;
  /** Reads and writes are done within the call, unless `holding` or `failing`. */
  readonly immediate?: boolean;
}

export class FakeDisk {
  bytes: Uint8Array;
  readonly log: string[] = [];
  /** While true, requests wait for `release`. */
  holding = false;
  failing = false;
  readonly node: BlockNode;
  #held: (() => void)[] = [];

  constructor(sizeBytes: number, { readOnly = false, plain = false, immediate = false }: FakeDiskOptions = {}) {
    this.bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => (i >> 9) ^ i);
    const step = async (what: string, action: () => void) => {
      this.log.push(what);
      if (this.holding) await new Promise<void>((resolve) => this.#held.push(resolve));
      if (this.failing) throw new IoError('io', `fake disk: ${what} failed`);
      action();
    };
    const disk = this;
    const erase = (offset: number, length: number) => this.bytes.fill(0, offset, offset + length);
    this.node = {
      get sizeBytes() {
        return disk.bytes.length;
      },
      readOnly,
      limits: { alignmentBytes: 1, preferredBytes: 65_536 },
      read: (offset, target) =>
        step(`read ${offset}+${target.length}`, () => target.set(this.bytes.subarray(offset, offset + target.length))),
      write: (offset, source) => step(`write ${offset}+${source.length}`, () => this.bytes.set(source, offset)),
      flush: () => step('flush', () => {}),
      extents: async (offset, length) => [{ offset, length, allocated: true, zero: false, data: true }],
      close: async () => {},
      ...(immediate ? { immediate: this.#immediate() } : {}),
      ...(plain
        ? {}
        : {
            discard: (offset: number, length: number) =>
              step(`discard ${offset}+${length}`, () => erase(offset, length)),
            writeZeroes: (offset: number, length: number, { mayUnmap = false } = {}) =>
              step(`zero ${offset}+${length}${mayUnmap ? ' unmap' : ''}`, () => erase(offset, length)),
          }),
    };
  }

  #immediate(): BlockImmediate {
    const each = (
      what: string,
      offset: number,
      parts: readonly Uint8Array[],
      move: (at: number, part: Uint8Array) => void,
    ) => {
      if (this.holding || this.failing) return false;
      this.log.push(`${what} ${offset} at once`);
      let at = offset;
      for (const part of parts) {
        move(at, part);
        at += part.length;
      }
      return true;
    };
    return {
      read: (offset, targets) =>
        each('read', offset, targets, (at, part) => part.set(this.bytes.subarray(at, at + part.length))),
      write: (offset, sources) => each('write', offset, sources, (at, part) => this.bytes.set(part, at)),
    };
  }

  /** Lets the waiting requests go on, those of these places in the order of arrival, or all. */
  release(...places: number[]): void {
    const held = this.#held;
    this.#held = held.filter((_, place) => places.length > 0 && !places.includes(place));
    for (const [place, resolve] of held.entries()) if (places.length === 0 || places.includes(place)) resolve();
  }
}
