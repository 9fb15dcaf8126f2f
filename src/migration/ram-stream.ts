/** RAM that changes while it is copied, as sections of a stream. */
import { encodeHeader, HEADER_BYTES, KIND, PAGE_BYTES } from './format.ts';
import { type Ram, type Scanner, scannedMemory, scannerOf } from './scan.ts';

/** As much goes out in one write, about. */
const CHUNK_BYTES = 1024 * 1024;
/** Pages in one section, at most. */
const RUN_PAGES = 64;
/** Smaller chunks are copied out, because a stream may keep them for a while. */
const BORROWED_BYTES = 256 * 1024;

export interface RamCounts {
  /** Pages of zeros, and others, that were sent. */
  zeroPages: number;
  normalPages: number;
  /** All bytes, headers too. */
  sentBytes: number;
}

/** Puts sections together into chunks; the copies of pages are what checksums are made of. */
export class RamStream {
  readonly counts: RamCounts = { zeroPages: 0, normalPages: 0, sentBytes: 0 };
  /** Sections so far, for the stream's end. */
  sections = 0;
  readonly #memory: Ram;
  readonly #scanner: Scanner;
  readonly #bytes: Uint8Array;
  readonly #send: (bytes: Uint8Array) => Promise<void>;
  readonly #chunk: Uint8Array;
  /** Of the chunk. */
  readonly #checksum: Scanner['checksum'];
  #used = 0;

  /** @param send the bytes may be used again once it has settled */
  constructor(memory: Ram, send: (bytes: Uint8Array) => Promise<void>) {
    this.#memory = memory;
    this.#scanner = scannerOf(memory);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#send = send;
    const chunk = scannedMemory(CHUNK_BYTES + HEADER_BYTES + RUN_PAGES * PAGE_BYTES);
    this.#chunk = chunk.bytes;
    this.#checksum = chunk.checksum;
  }

  /**
   * Sends the pages of a bitmap and clears it as it goes on.
   * @param bitmap as DirtyLog.take sets it
   * @param zeros whether pages of zeros are told of: not while the other side has nothing yet
   * @param proceed called before each chunk; false: nothing more is to be sent
   */
  async sendPages(bitmap: Uint8Array, zeros: boolean, proceed: () => boolean): Promise<void> {
    let first = 0;
    for (const range of this.#memory.ranges) {
      const pages = range.size / PAGE_BYTES;
      for (let page = 0; page < pages; ) {
        const bit = first + page;
        if ((bit & 7) === 0 && bitmap[bit >> 3] === 0) {
          page += 8;
          continue;
        }
        if ((bitmap[bit >> 3] & (1 << (bit & 7))) === 0) {
          page++;
          continue;
        }
        if (this.#used >= CHUNK_BYTES) {
          await this.flush();
          if (!proceed()) return;
        }
        page += this.#take(bitmap, first, page, Math.min(pages, page + RUN_PAGES), range, zeros);
      }
      first += pages;
    }
  }

  /** Adds pages from `page` on that are alike: all zero or none; returns how many. */
  #take(
    bitmap: Uint8Array,
    first: number,
    page: number,
    end: number,
    { base, offset }: { readonly base: number; readonly offset: number },
    zeros: boolean,
  ): number {
    const { isZeroPage } = this.#scanner;
    const isSet = (at: number) => (bitmap[(first + at) >> 3] & (1 << ((first + at) & 7))) !== 0;
    const isZero = isZeroPage(offset + page * PAGE_BYTES);
    let last = page;
    do {
      bitmap[(first + last) >> 3] &= ~(1 << ((first + last) & 7));
      last++;
    } while (last < end && isSet(last) && isZeroPage(offset + last * PAGE_BYTES) === isZero);
    const length = (last - page) * PAGE_BYTES;
    const address = base + page * PAGE_BYTES;
    if (isZero) {
      this.counts.zeroPages += last - page;
      if (zeros) this.#header(KIND.zero, address, length, 0);
      return last - page;
    }
    this.counts.normalPages += last - page;
    const at = this.#used + HEADER_BYTES;
    this.#chunk.set(this.#bytes.subarray(offset + page * PAGE_BYTES, offset + last * PAGE_BYTES), at);
    this.#header(KIND.page, address, length, this.#checksum(this.#chunk.subarray(at, at + length)));
    this.#used += length;
    return last - page;
  }

  #header(kind: (typeof KIND)[keyof typeof KIND], address: number, length: number, checksum: number): void {
    this.#chunk.set(encodeHeader({ kind, address, length, checksum }), this.#used);
    this.#used += HEADER_BYTES;
    this.sections++;
  }

  /** Sends one section of another kind. */
  async section(kind: (typeof KIND)[keyof typeof KIND], payload: Uint8Array): Promise<void> {
    await this.flush();
    const header = encodeHeader({ kind, address: 0, length: payload.length, checksum: this.#checksum(payload) });
    this.sections++;
    await this.raw(header);
    await this.raw(payload);
  }

  async raw(bytes: Uint8Array): Promise<void> {
    this.counts.sentBytes += bytes.length;
    await this.#send(bytes);
  }

  async flush(): Promise<void> {
    if (this.#used === 0) return;
    const bytes = this.#chunk.subarray(0, this.#used);
    this.#used = 0;
    await this.raw(bytes.length < BORROWED_BYTES ? bytes.slice() : bytes);
  }
}
