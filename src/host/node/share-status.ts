/** Structures that file calls of Linux fill: statx(2), statfs(2), getdents64(2), timespec(3type). */
import type { FileStatus, FileSystemStatus, FileTime, FolderEntry, NewFileTime } from '../../contract/index.ts';

export const STATX_BYTES = 256;
/** Everything that stat(2) has. */
export const STATX_BASIC = 0x7ff;
export const STATFS_BYTES = 120;

export function decodeStatx(bytes: Uint8Array): FileStatus {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const number64 = (offset: number) => u32(offset) + u32(offset + 4) * 2 ** 32;
  const time = (offset: number): FileTime => ({
    seconds: Number(view.getBigInt64(offset, true)),
    nanos: u32(offset + 8),
  });
  return {
    mode: view.getUint16(28, true),
    uid: u32(20),
    gid: u32(24),
    links: u32(16),
    sizeBytes: number64(40),
    blockBytes: u32(4),
    blocks: number64(48),
    deviceNumber: makeDeviceNumber(u32(128), u32(132)),
    inode: view.getBigUint64(32, true),
    fileSystem: `${u32(136)}:${u32(140)}`,
    accessed: time(64),
    changed: time(96),
    modified: time(112),
  };
}

/** makedev(3) of glibc. */
function makeDeviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xffff_f000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn);
}

/** struct statfs of 64-bit Linux: words of 8 bytes. */
export function decodeStatfs(bytes: Uint8Array): FileSystemStatus {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (index: number) => Number(view.getBigUint64(index * 8, true));
  return {
    type: word(0) % 2 ** 32,
    blockBytes: word(1),
    blocks: word(2),
    freeBlocks: word(3),
    availableBlocks: word(4),
    files: word(5),
    freeFiles: word(6),
    nameBytesMax: word(8),
  };
}

/** struct linux_dirent64, one after the other. */
export function decodeEntries(bytes: Uint8Array): FolderEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: FolderEntry[] = [];
  for (let at = 0; at < bytes.length; at += view.getUint16(at + 16, true)) {
    const nameEnd = bytes.indexOf(0, at + 19);
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + at + 19, nameEnd - at - 19).toString('latin1');
    const [inode, next] = [view.getBigUint64(at, true), view.getBigUint64(at + 8, true)];
    entries.push({ name, inode, next, type: bytes[at + 18] });
  }
  return entries;
}

/** tv_nsec values of utimensat(2). */
const UTIME = { now: 0x3fff_ffffn, omit: 0x3fff_fffen } as const;

export function encodeTimes(times: readonly NewFileTime[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * times.length));
  for (const [index, time] of times.entries()) {
    const isTime = typeof time === 'object';
    const nanos = isTime ? BigInt(time.nanos) : time === 'now' ? UTIME.now : UTIME.omit;
    view.setBigInt64(index * 16, isTime ? BigInt(time.seconds) : 0n, true);
    view.setBigInt64(index * 16 + 8, nanos, true);
  }
  return new Uint8Array(view.buffer);
}
