/**
 * Requests that are done within the call: between an open file and the caller's buffers, without a copy, by preadv2(2)
 * and pwritev(2). Linux only.
 *
 * Reads of what the page cache does not have fail at once. Writes, and reads where the file system cannot tell, may
 * wait in the kernel; whoever was kept waiting is careful for a while.
 */
import type { BlockImmediate } from '../../contract/index.ts';
import { type Ffi, loadFfi } from './ffi.ts';

/** preadv2(2): fails rather than waits for the disk. */
const RWF_NOWAIT = 8;
/** <limits.h>: buffers of one call, at most. */
const IOV_MAX = 1024;
/** struct iovec, in words of 32 bits: where, and how long. */
const IOVEC_WORDS = 4;
/** A request's length, at most, so that a count of bytes fits a C int and the caller is not kept long. */
const BYTES_MAX = 2 ** 20;
/** <errno.h>: the file system does not know RWF_NOWAIT. */
const EOPNOTSUPP = 95;
/**
 * The kernel takes writes into the page cache at the speed of memory, until it wants the writer to wait for the disk.
 * After two requests in a row that took this long as many others are refused. (One may only mean that another program
 * had the processor.)
 */
const SLOW_NANOS = 2_000_000;
const SLOW_IN_A_ROW = 2;
const REFUSED_AFTER_SLOW = 64;

export interface ImmediateOptions {
  /** Default this process's clock. */
  readonly monotonicNanos?: () => number;
}

/** @param isBusy true while a thread writes to the file: another write would wait for it in the kernel */
export function immediateTransfer(
  fd: number,
  isBusy: () => boolean,
  { monotonicNanos = () => performance.now() * 1e6 }: ImmediateOptions = {},
): BlockImmediate | undefined {
  const ffi = process.platform === 'linux' ? loadFfi() : undefined;
  if (ffi === undefined) return undefined;
  const vector = ['int32', 'buffer', 'int32', 'int64'];
  const { functions } = ffi.dlopen(null, {
    preadv: { arguments: vector, return: 'int32' },
    preadv2: { arguments: [...vector, 'int32'], return: 'int32' },
    pwritev: { arguments: vector, return: 'int32' },
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const { put, bytes } = ioVector(ffi);
  let knowsNoWait = true;
  /** Requests to refuse. */
  let refusals = 0;
  /** Requests in a row that took long. */
  let slow = 0;
  /** Makes a call that may wait, unless some did lately. */
  const dare = (call: () => bigint | number): bigint | number => {
    if (refusals > 0) {
      refusals--;
      return -1;
    }
    const start = monotonicNanos();
    const result = call();
    slow = monotonicNanos() - start > SLOW_NANOS ? slow + 1 : 0;
    if (slow >= SLOW_IN_A_ROW) {
      refusals = REFUSED_AFTER_SLOW;
      slow = 0;
    }
    return result;
  };
  return {
    read(offset, targets) {
      const length = put(targets);
      if (length === 0) return false;
      const at = BigInt(offset);
      if (knowsNoWait) {
        if (functions.preadv2(fd, bytes, targets.length, at, RWF_NOWAIT) === length) return true;
        knowsNoWait = ffi.getInt32(functions.__errno_location() as bigint) !== EOPNOTSUPP;
        if (knowsNoWait) return false;
      }
      return dare(() => functions.preadv(fd, bytes, targets.length, at)) === length;
    },
    write(offset, sources) {
      const length = isBusy() ? 0 : put(sources);
      return length > 0 && dare(() => functions.pwritev(fd, bytes, sources.length, BigInt(offset))) === length;
    },
  };
}

/** An array of struct iovec that is filled anew for each call. */
function ioVector(ffi: Ffi) {
  const words = new Uint32Array(IOV_MAX * IOVEC_WORDS);
  /** Guest memory, usually: asking where it lies costs more than remembering. */
  let known: SharedArrayBuffer | undefined;
  let knownAddress = 0;
  const addressOf = (bytes: Uint8Array) => {
    const { buffer, byteOffset } = bytes;
    if (!(buffer instanceof SharedArrayBuffer)) return Number(ffi.getRawPointer(bytes));
    if (buffer !== known) {
      known = buffer;
      knownAddress = Number(ffi.getRawPointer(new Uint8Array(buffer)));
    }
    return knownAddress + byteOffset;
  };
  return {
    bytes: new Uint8Array(words.buffer),
    /** How many bytes they have in all; 0 when they are too many for one call. */
    put(buffers: readonly Uint8Array[]): number {
      if (buffers.length > IOV_MAX) return 0;
      let length = 0;
      for (const [index, bytes] of buffers.entries()) {
        const address = addressOf(bytes);
        const at = index * IOVEC_WORDS;
        words[at] = address;
        words[at + 1] = address / 2 ** 32;
        words[at + 2] = bytes.length;
        length += bytes.length;
      }
      return length > BYTES_MAX ? 0 : length;
    },
  };
}
