/** Moving bytes between memory and an open file: in this thread, in libuv's threads, or past the page cache. */
import { fdatasync, fdatasyncSync, read as readCallback, readSync, write as writeCallback, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { BlockImmediate } from '../../contract/index.ts';
import { immediateTransfer } from './block-immediate.ts';
import { writeQueue } from './block-write-queue.ts';
import { loadFfi } from './ffi.ts';

/** Each returns undefined when it is done already; failures are thrown or rejected. */
export interface Transfer {
  read(offset: number, target: Uint8Array): Promise<void> | undefined;
  write(offset: number, source: Uint8Array): Promise<void> | undefined;
  flush(): Promise<void> | undefined;
  /** What needs no thread. */
  readonly immediate?: BlockImmediate;
}

/**
 * How requests run: `mixed` sends large ones to threads and does small ones, which take no longer than sending, here.
 * `cached` does here what the page cache can do at once and sends to threads what would wait for the disk.
 */
export type TransferIo = 'threads' | 'blocking' | 'mixed' | 'cached';

/** From here on a request is worth a thread. */
const LARGE_BYTES = 128 * 1024;
/** As much as is read at once in one call. */
const IMMEDIATE_BYTES = 512 * 1024;

export function transferFor(fd: number, io: TransferIo): Transfer {
  if (io === 'threads') return threadTransfer(fd);
  if (io === 'cached') return cachedTransfer(fd, threadTransfer(fd));
  const here = blockingTransfer(fd);
  return io === 'blocking' ? here : mixedTransfer(fd, here, threadTransfer(fd));
}

/**
 * Reads of what is in the page cache take less time than sending them; a large write does not, and keeps the
 * kernel from others to the same file meanwhile: this thread must not be the one that waits.
 */
function mixedTransfer(fd: number, here: Transfer, there: Transfer): Transfer {
  const { immediate } = cachedTransfer(fd, there);
  const queue = writeQueue(fd, async (offset, source) => there.write(offset, source));
  return {
    read(offset, target) {
      if (target.length < LARGE_BYTES) return here.read(offset, target);
      for (let done = 0; done < target.length; done += IMMEDIATE_BYTES) {
        const part = target.subarray(done, done + IMMEDIATE_BYTES);
        if (immediate?.read(offset + done, [part]) !== true) return there.read(offset + done, target.subarray(done));
      }
      return undefined;
    },
    write: (offset, source) =>
      source.length < LARGE_BYTES && !queue.busy ? here.write(offset, source) : queue.write(offset, source),
    flush: () => there.flush(),
    immediate: blockingImmediate(here, () => queue.busy),
  };
}

/** Small requests, one buffer each, that wait for the disk if they must: for programs that do nothing else meanwhile. */
function blockingImmediate(here: Transfer, isBusy: () => boolean): BlockImmediate {
  const attempt = (buffers: readonly Uint8Array[], move: (buffer: Uint8Array) => void) => {
    if (buffers.length !== 1 || buffers[0].length >= LARGE_BYTES) return false;
    try {
      move(buffers[0]);
      return true;
    } catch {
      return false;
    }
  };
  return {
    read: (offset, targets) => attempt(targets, (target) => void here.read(offset, target)),
    write: (offset, sources) => !isBusy() && attempt(sources, (source) => void here.write(offset, source)),
  };
}

const SHORTER = 'the file became shorter';

function blockingTransfer(fd: number): Transfer {
  return {
    read(offset, target) {
      for (let done = 0; done < target.length; ) {
        const count = readSync(fd, target, done, target.length - done, offset + done);
        if (count === 0) throw new Error(SHORTER);
        done += count;
      }
      return undefined;
    },
    write(offset, source) {
      for (let done = 0; done < source.length; ) {
        done += writeSync(fd, source, done, source.length - done, offset + done);
      }
      return undefined;
    },
    flush() {
      fdatasyncSync(fd);
      return undefined;
    },
  };
}

/** What is left for threads when what the page cache can do at once is done. */
function cachedTransfer(fd: number, there: Transfer): Transfer {
  let writing = 0;
  const immediate = immediateTransfer(fd, () => writing > 0);
  if (immediate === undefined) return there;
  const writeThere = async (offset: number, source: Uint8Array) => {
    writing += 1;
    try {
      await there.write(offset, source);
    } finally {
      writing -= 1;
    }
  };
  return {
    read: (offset, target) => (immediate.read(offset, [target]) ? undefined : there.read(offset, target)),
    write: (offset, source) => (immediate.write(offset, [source]) ? undefined : writeThere(offset, source)),
    flush: () => there.flush(),
    immediate,
  };
}

const readAt = promisify(readCallback);
const writeAt = promisify(writeCallback);
const flushAll = promisify(fdatasync);

function threadTransfer(fd: number): Transfer {
  return {
    async read(offset, target) {
      for (let done = 0; done < target.length; ) {
        const { bytesRead } = await readAt(fd, target, done, target.length - done, offset + done);
        if (bytesRead === 0) throw new Error(SHORTER);
        done += bytesRead;
      }
    },
    async write(offset, source) {
      for (let done = 0; done < source.length; ) {
        done += (await writeAt(fd, source, done, source.length - done, offset + done)).bytesWritten;
      }
    },
    flush: () => flushAll(fd),
  };
}

/** Pages: what O_DIRECT wants offsets, lengths and memory to be multiples of. */
const PAGE_BYTES = 4096;
const BOUNCE_BYTES = 2 ** 20;
const BOUNCE_MAX = 8;

/**
 * Whole pages go past the page cache through `directFd`; the parts of pages at
 * a request's ends go through `plain`. Undefined where memory cannot be aligned.
 */
export function directTransfer(plain: Transfer, directFd: number, io: TransferIo): Transfer | undefined {
  const ffi = loadFfi();
  if (ffi === undefined) return undefined;
  const direct = transferFor(directFd, io === 'cached' ? 'threads' : io); // past the cache all of it waits
  const idle: Uint8Array[] = [];
  const borrow = () => idle.pop() ?? alignedBytes(BOUNCE_BYTES, (bytes) => ffi.getRawPointer(bytes));
  const giveBack = (bytes: Uint8Array) => {
    if (idle.length < BOUNCE_MAX) idle.push(bytes);
  };
  /** Calls `whole` for runs of pages and `part` for the rest, in order. */
  const eachPart = async (
    offset: number,
    bytes: Uint8Array,
    whole: (at: number, part: Uint8Array, bounce: Uint8Array) => Promise<void>,
    part: (at: number, bytes: Uint8Array) => Promise<void> | undefined,
  ) => {
    const bounce = borrow();
    try {
      for (let done = 0; done < bytes.length; ) {
        const at = offset + done;
        const rest = bytes.length - done;
        const inPage = at % PAGE_BYTES;
        const pages = inPage === 0 ? Math.min(rest - (rest % PAGE_BYTES), bounce.length) : 0;
        const length = pages > 0 ? pages : Math.min(rest, PAGE_BYTES - inPage);
        const piece = bytes.subarray(done, done + length);
        if (pages > 0) await whole(at, piece, bounce.subarray(0, length));
        else await part(at, piece);
        done += length;
      }
    } finally {
      giveBack(bounce);
    }
  };
  return {
    read(offset, target) {
      const whole = async (at: number, part: Uint8Array, bounce: Uint8Array) => {
        await direct.read(at, bounce);
        part.set(bounce);
      };
      return eachPart(offset, target, whole, (at, part) => plain.read(at, part));
    },
    write(offset, source) {
      const whole = async (at: number, part: Uint8Array, bounce: Uint8Array) => {
        bounce.set(part);
        await direct.write(at, bounce);
      };
      return eachPart(offset, source, whole, (at, part) => plain.write(at, part));
    },
    flush: () => plain.flush(),
  };
}

function alignedBytes(length: number, addressOf: (bytes: Uint8Array) => bigint): Uint8Array {
  const bytes = new Uint8Array(length + PAGE_BYTES);
  const from = (PAGE_BYTES - Number(addressOf(bytes) % BigInt(PAGE_BYTES))) % PAGE_BYTES;
  return bytes.subarray(from, from + length);
}

/** The same, with each write on stable storage before it is done. */
export function writeThrough(transfer: Transfer): Transfer {
  return {
    read: (offset, target) => transfer.read(offset, target),
    flush: () => transfer.flush(),
    async write(offset, source) {
      await transfer.write(offset, source);
      await transfer.flush();
    },
    immediate: transfer.immediate && { read: transfer.immediate.read, write: () => false },
  };
}
