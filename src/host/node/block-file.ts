/** Files and host devices as block nodes. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { IoError, UserError } from '../../base/index.ts';
import type { BlockExtent, BlockImmediate, BlockNode } from '../../contract/index.ts';
import { libc } from './block-libc.ts';
import { lockImage } from './block-lock.ts';
import { directTransfer, type Transfer, type TransferIo, transferFor, writeThrough } from './block-transfer.ts';

export interface FileNodeOptions {
  readonly readOnly?: boolean;
  /** Makes the file, or empties it when it is there. */
  readonly create?: boolean;
  /**
   * `blocking` runs each request in the calling thread, `mixed` all but large ones: fastest, for programs and
   * worker threads of their own. Default `threads`.
   */
  readonly io?: TransferIo;
  /** `ignore` makes flushes do nothing: for an image that is thrown away unless it becomes complete. */
  readonly flushes?: 'honour' | 'ignore';
  /** Past the host's page cache, as far as requests are whole pages. Refused where the file system cannot. */
  readonly direct?: boolean;
  /** Each write is on stable storage before it is acknowledged. */
  readonly writeThrough?: boolean;
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
  const fds: number[] = [];
  const closeAll = () => {
    for (const fd of fds.splice(0)) closeSync(fd);
  };
  const fd = attempt(path, 'open', () => openSync(path, access | (create ? constants.O_CREAT : 0), 0o644));
  fds.push(fd);
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new UserError(`Could not open '${path}': it is a folder`);
    if (options.lock !== false) lockImage(fd, path, readOnly);
    if (create && stat.isFile()) ftruncateSync(fd, 0);
    const isDevice = stat.isBlockDevice() || stat.isCharacterDevice();
    const size = isDevice ? (libc()?.seek(fd, 0, 'end') ?? 0) : create ? 0 : stat.size;
    const file = { fd, path, isDevice, transfer: transferOf(fd, path, options, fds), close: closeAll };
    return fileNode(file, size, options);
  } catch (error) {
    closeAll();
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

/** How the file's bytes move; more descriptors that this takes are added to `fds`. */
function transferOf(fd: number, path: string, options: FileNodeOptions, fds: number[]): Transfer {
  const { readOnly = false, io = 'threads', direct = false } = options;
  let transfer = transferFor(fd, io);
  if (direct) {
    const refused = `Could not open '${path}': filesystem does not support O_DIRECT`;
    const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
    try {
      fds.push(openSync(path, access | (constants.O_DIRECT ?? 0)));
    } catch {
      throw new UserError(refused);
    }
    const found = constants.O_DIRECT === undefined ? undefined : directTransfer(transfer, fds.at(-1)!, io);
    if (found === undefined) throw new UserError(refused);
    transfer = found;
  }
  return options.writeThrough === true ? writeThrough(transfer) : transfer;
}

interface OpenFile {
  readonly fd: number;
  readonly path: string;
  readonly isDevice: boolean;
  readonly transfer: Transfer;
  close(): void;
}

const DONE = Promise.resolve();

function fileNode(file: OpenFile, initialSize: number, options: FileNodeOptions): BlockNode {
  const { fd, path, isDevice, transfer } = file;
  const { readOnly = false, flushes = 'honour' } = options;
  let size = initialSize;
  let isClosed = false;
  const calls = libc();
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
  const grow = (end: number) => {
    if (end > size) size = end;
  };
  /** A request that is done at once costs no promise of its own. */
  const request = (what: string, start: () => Promise<void> | undefined): Promise<void> => {
    try {
      return start()?.catch((error) => Promise.reject(explain(path, what, error))) ?? DONE;
    } catch (error) {
      return Promise.reject(explain(path, what, error));
    }
  };
  const node: BlockNode = {
    get sizeBytes() {
      return size;
    },
    readOnly,
    limits: { alignmentBytes: 1, preferredBytes: 4096 },
    read: (offset, target) =>
      request('read', () => {
        checkInside(offset, target.length);
        return transfer.read(offset, target);
      }),
    write: (offset, source) =>
      request('write', () => {
        checkWrite(offset, source.length);
        const pending = transfer.write(offset, source);
        if (pending !== undefined) return pending.then(() => grow(offset + source.length));
        grow(offset + source.length);
        return undefined;
      }),
    flush: () => (readOnly || flushes === 'ignore' ? DONE : request('flush', () => transfer.flush())),
    async extents(offset, length) {
      checkInside(offset, length);
      return calls === undefined || isDevice
        ? [{ offset, length, allocated: true, zero: false, data: true, childOffset: offset }]
        : [fileExtent(offset, length)];
    },
    immediate: immediateOf(),
    async close() {
      try {
        if (!readOnly) await node.flush();
      } finally {
        isClosed = true;
        file.close();
      }
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

  function immediateOf(): BlockImmediate | undefined {
    const { immediate } = transfer;
    if (immediate === undefined) return undefined;
    // Where the file would grow, the node's own `write` sees to it.
    const isInside = (offset: number, buffers: readonly Uint8Array[]) =>
      Number.isSafeInteger(offset) && offset >= 0 && buffers.reduce((end, { length }) => end + length, offset) <= size;
    return {
      read: (offset, targets) => !isClosed && isInside(offset, targets) && immediate.read(offset, targets),
      write: (offset, sources) =>
        !readOnly && !isClosed && isInside(offset, sources) && immediate.write(offset, sources),
    };
  }

  function fileExtent(offset: number, length: number): BlockExtent {
    const data = calls!.seek(fd, offset, 'data');
    const isHole = data === undefined || data > offset;
    const next = isHole ? (data ?? size) : (calls!.seek(fd, offset, 'hole') ?? size);
    const end = Math.min(next, offset + length);
    return { offset, length: end - offset, allocated: true, zero: isHole, data: !isHole, childOffset: offset };
  }
}

function attempt<T>(path: string, what: string, action: () => T): T {
  try {
    return action();
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
