/**
 * The calls of the C library that Node does not offer and block nodes want:
 * finding holes, punching them, byte-range locks. Linux only; elsewhere absent.
 */
import { loadFfi } from './ffi.ts';

export interface Libc {
  /** Where data (or a hole) next begins; `undefined` when nothing of the kind comes before the end. */
  seek(fd: number, offset: number, what: 'data' | 'hole' | 'end'): number | undefined;
  /** False when the file system cannot. */
  fallocate(fd: number, mode: 'allocate' | 'punch' | 'zero', offset: number, length: number): boolean;
  /** Bytes copied from one file to another inside the kernel; at most 0 where it cannot. */
  copyRange(source: number, sourceOffset: number, target: number, targetOffset: number, length: number): number;
  /** Takes a shared lock on one byte for this open file; false when someone has it exclusively. */
  lockShared(fd: number, byte: number): boolean;
  /** True when another open file has any lock on the byte. */
  isLocked(fd: number, byte: number): boolean;
  unlock(fd: number, byte: number): void;
}

const WHENCE = { end: 2, data: 3, hole: 4 } as const;
/** linux/falloc.h: KEEP_SIZE 1, PUNCH_HOLE 2, ZERO_RANGE 16. */
const FALLOCATE_MODE = { allocate: 0, punch: 3, zero: 17 } as const;
/** asm-generic/fcntl.h: open file description locks. */
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const ENXIO = 6;

let cached: Libc | undefined | 'unknown' = 'unknown';

/** The C library, or undefined where it cannot be called. */
export function libc(): Libc | undefined {
  if (cached === 'unknown') cached = process.platform === 'linux' ? load() : undefined;
  return cached;
}

function load(): Libc | undefined {
  const ffi = loadFfi();
  if (ffi === undefined) return undefined;
  const { functions } = ffi.dlopen(null, {
    lseek: { arguments: ['int32', 'int64', 'int32'], return: 'int64' },
    fallocate: { arguments: ['int32', 'int32', 'int64', 'int64'], return: 'int32' },
    copy_file_range: { arguments: ['int32', 'buffer', 'int32', 'buffer', 'uint64', 'uint32'], return: 'int64' },
    fcntl: { arguments: ['int32', 'int32', 'buffer'], return: 'int32' },
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const flock = (fd: number, command: number, type: number, byte: number) => {
    const lock = new DataView(new ArrayBuffer(32));
    lock.setInt16(0, type, true);
    lock.setBigInt64(8, BigInt(byte), true);
    lock.setBigInt64(16, 1n, true);
    const result = functions.fcntl(fd, command, new Uint8Array(lock.buffer));
    return { done: result === 0, type: lock.getInt16(0, true) };
  };
  return {
    seek(fd, offset, what) {
      const found = Number(functions.lseek(fd, BigInt(offset), WHENCE[what]));
      if (found >= 0) return found;
      const errno = ffi.getInt32(functions.__errno_location() as bigint);
      if (errno === ENXIO) return undefined;
      throw new Error(`lseek failed with error ${errno}`);
    },
    fallocate: (fd, mode, offset, length) =>
      functions.fallocate(fd, FALLOCATE_MODE[mode], BigInt(offset), BigInt(length)) === 0,
    copyRange(source, sourceOffset, target, targetOffset, length) {
      const at = [sourceOffset, targetOffset].map((offset) => new Uint8Array(BigInt64Array.of(BigInt(offset)).buffer));
      return Number(functions.copy_file_range(source, at[0], target, at[1], BigInt(length), 0));
    },
    lockShared: (fd, byte) => flock(fd, F_OFD_SETLK, F_RDLCK, byte).done,
    isLocked: (fd, byte) => flock(fd, F_OFD_GETLK, F_WRLCK, byte).type !== F_UNLCK,
    unlock: (fd, byte) => flock(fd, F_OFD_SETLK, F_UNLCK, byte),
  };
}
