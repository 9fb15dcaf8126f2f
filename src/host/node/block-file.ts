/** Files and host devices as block nodes. */
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  read as readCallback,
  readSync,
  write as writeCallback,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { IoError, UserError } from '../../base/index.ts';
import type { BlockExtent, BlockNode } from '../../contract/index.ts';
import { libc } from './block-libc.ts';
import { lockImage } from './block-lock.ts';

export interface FileNodeOptions {
  readonly readOnly?: boolean;
  /** Makes the file, or empties it when it is there. */
  readonly create?: boolean;
  /** `blocking` runs each request in the calling thread: fastest, for programs and worker threads of their own. */
  readonly io?: 'threads' | 'blocking';
  /** `ignore` makes flushes do nothing: for an image that is thrown away unless it becomes complete. */
  readonly flushes?: 'honour' | 'ignore';
  /** False: do not take the image's lock (qemu-img's -U). */
  readonly lock?: boolean;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  EROFS: 'Read-only file system',
  ENOSPC: 'No space left on device',
  EFBIG: 'File too large',
  EIO: 'Input/output error',
};

/** @throws UserError when the file cannot be opened, or another process holds its lock */
export function openFileNode(path: string, options: FileNodeOptions = {}): BlockNode {
  const { readOnly = false, create = false } = options;
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  const fd = attempt(path, 'open', () => openSync(path, access | (create ? constants.O_CREAT : 0), 0o644));
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new UserError(`Could not open '${path}': it is a folder`);
    if (options.lock !== false) lockImage(fd, path, readOnly);
    if (create && stat.isFile()) ftruncateSync(fd, 0);
    const isDevice = stat.isBlockDevice() || stat.isCharacterDevice();
    const size = isDevice ? (libc()?.seek(fd, 0, 'end') ?? 0) : create ? 0 : stat.size;
    return fileNode(fd, path, size, isDevice, options);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Bytes that the file takes on its file system. */
export function allocatedBytes(path: string): number {
  const fd = attempt(path, 'open', () => openSync(path, constants.O_RDONLY));
  try {
    return fstatSync(fd).blocks * 512;
  } finally {
    closeSync(fd);
  }
}

function fileNode(
  fd: number,
  path: string,
  initialSize: number,
  isDevice: boolean,
  options: FileNodeOptions,
): BlockNode {
  const { readOnly = false, io = 'threads', flushes = 'honour' } = options;
  let size = initialSize;
  const calls = libc();
  const transfer = io === 'blocking' ? blockingTransfer(fd) : threadTransfer(fd);
  const checkWrite = (offset: number, length: number) => {
    if (readOnly) throw new IoError('read-only', `${path}: it is open for reading only`);
    if (!Number.isSafeInteger(offset) || offset < 0 || (isDevice && offset + length > size)) outOfRange(offset, length);
  };
  const outOfRange = (offset: number, length: number) => {
    throw new IoError('out-of-range', `${path}: ${length} bytes at ${offset} do not lie inside its ${size} bytes`);
  };
  const checkInside = (offset: number, length: number) => {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > size) outOfRange(offset, length);
  };
  const node: BlockNode = {
    get sizeBytes() {
      return size;
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: 4096 },
    async read(offset, target) {
      checkInside(offset, target.length);
      await attemptAsync(path, 'read', () => transfer.read(offset, target));
    },
    async write(offset, source) {
      checkWrite(offset, source.length);
      await attemptAsync(path, 'write', () => transfer.write(offset, source));
      size = Math.max(size, offset + source.length);
    },
    async flush() {
      if (!readOnly && flushes === 'honour') await attemptAsync(path, 'flush', () => transfer.flush());
    },
    async extents(offset, length) {
      checkInside(offset, length);
      return calls === undefined || isDevice
        ? [{ offset, length, allocated: true, zero: false, data: true, childOffset: offset }]
        : [fileExtent(offset, length)];
    },
    async close() {
      if (!readOnly) await node.flush();
      closeSync(fd);
    },
  };
  if (!isDevice) {
    node.resize = async (wanted) => {
      checkWrite(0, 0);
      attempt(path, 'resize', () => ftruncateSync(fd, wanted));
      size = wanted;
    };
  }
  if (calls !== undefined) {
    node.discard = async (offset, length) => {
      checkWrite(offset, length);
      checkInside(offset, length);
      calls.fallocate(fd, 'punch', offset, length);
    };
    node.writeZeroes = async (offset, length, { mayUnmap = false } = {}) => {
      checkWrite(offset, length);
      checkInside(offset, length);
      if (length === 0 || (mayUnmap && calls.fallocate(fd, 'punch', offset, length))) return;
      if (calls.fallocate(fd, 'zero', offset, length)) return;
      const zeros = new Uint8Array(Math.min(length, 1024 * 1024));
      for (let done = 0; done < length; done += zeros.length) {
        await node.write(offset + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
      }
    };
  }
  return node;

  function fileExtent(offset: number, length: number): BlockExtent {
    const data = calls!.seek(fd, offset, 'data');
    const isHole = data === undefined || data > offset;
    const next = isHole ? (data ?? size) : (calls!.seek(fd, offset, 'hole') ?? size);
    const end = Math.min(next, offset + length);
    return { offset, length: end - offset, allocated: true, zero: isHole, data: !isHole, childOffset: offset };
  }
}

interface Transfer {
  read(offset: number, target: Uint8Array): Promise<void> | void;
  write(offset: number, source: Uint8Array): Promise<void> | void;
  flush(): Promise<void> | void;
}

function blockingTransfer(fd: number): Transfer {
  return {
    read(offset, target) {
      for (let done = 0; done < target.length; ) {
        const count = readSync(fd, target, done, target.length - done, offset + done);
        if (count === 0) throw new Error('the file became shorter');
        done += count;
      }
    },
    write(offset, source) {
      for (let done = 0; done < source.length; ) {
        done += writeSync(fd, source, done, source.length - done, offset + done);
      }
    },
    flush: () => fsyncSync(fd),
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
        if (bytesRead === 0) throw new Error('the file became shorter');
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

function attempt<T>(path: string, what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw explain(path, what, error);
  }
}

async function attemptAsync<T>(path: string, what: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw explain(path, what, error);
  }
}

function explain(path: string, what: string, error: unknown): Error {
  if (!(error instanceof Error) || error instanceof UserError) return error as Error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const reason = REASONS[code] ?? error.message;
  if (what === 'open') return new UserError(`Could not open '${path}': ${reason}`);
  return new IoError(code === 'ENOSPC' || code === 'EFBIG' ? 'no-space' : 'io', `${path}: cannot ${what}: ${reason}`);
}
