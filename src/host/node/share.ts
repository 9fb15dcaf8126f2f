/**
 * A folder of the host's file system as a shared folder (openat(2)). Each node holds a
 * descriptor with O_PATH; names are looked up below it one at a time and without
 * following links, so neither a path nor a race can lead out of the folder. What is
 * opened is the node that is held, by way of /proc/self/fd, never a name again.
 */
import { constants, fdatasync, fsync, readSync, writeSync } from 'node:fs';
import { getSystemErrorMessage } from 'node:util';
import { ERRNO, FileError, UserError } from '../../base/index.ts';
import type { FileAccess, NewFileTime, SharedFile, SharedNode } from '../../contract/index.ts';
import { type FileCalls, fileCalls } from './share-libc.ts';
import {
  decodeEntries,
  decodeStatfs,
  decodeStatx,
  encodeTimes,
  STATFS_BYTES,
  STATX_BASIC,
  STATX_BYTES,
} from './share-status.ts';

const {
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
} = constants;
const { S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } = constants;
/** asm-generic/fcntl.h and linux/fcntl.h. */
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const AT_FDCWD = -100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_EMPTY_PATH = 0x1000;
const XATTR_RULE = { any: 0, create: 1, replace: 2 } as const;
const SEEK_SET = 0;
const UNCHANGED_ID = 0xffff_ffff;

const EMPTY = Uint8Array.of(0);
const LINK_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;
const LIST_BYTES = { min: 1024, max: 64 * 1024 };

/** @throws UserError when there is no such folder, or this host's files cannot be reached by descriptor */
export function openSharedFolder(path: string): SharedNode {
  const calls = fileCalls();
  if (calls === undefined) throw new UserError(`cannot share ${path}: that needs Linux and a Node with node:ffi`);
  try {
    const pathBytes = Buffer.from(`${path}\0`);
    return new HostNode(calls, calls.openat(AT_FDCWD, pathBytes, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new UserError(`cannot share ${path}: ${getSystemErrorMessage(-error.errno)}`);
  }
}

/** A string of bytes for C. */
function terminated(text: string): Uint8Array {
  return Buffer.from(`${text}\0`, 'latin1');
}

/** One name, which cannot lead anywhere but into its folder. */
function nameBytes(name: string): Uint8Array {
  if (name.length > NAME_BYTES_MAX) throw new FileError(ERRNO.nameTooLong);
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) throw new FileError(ERRNO.invalid);
  return terminated(name);
}

class HostNode implements SharedNode {
  readonly #calls: FileCalls;
  readonly #fd: number;
  /** Where the kernel shows what the descriptor holds. */
  readonly #self: Uint8Array;

  constructor(calls: FileCalls, fd: number) {
    this.#calls = calls;
    this.#fd = fd;
    this.#self = terminated(`/proc/self/fd/${fd}`);
  }

  status() {
    const bytes = new Uint8Array(STATX_BYTES);
    this.#calls.statx(this.#fd, EMPTY, AT_EMPTY_PATH, STATX_BASIC, bytes);
    return decodeStatx(bytes);
  }

  fileSystemStatus() {
    const bytes = new Uint8Array(STATFS_BYTES);
    this.#calls.fstatfs(this.#fd, bytes);
    return decodeStatfs(bytes);
  }

  lookup(name: string): HostNode {
    return new HostNode(this.#calls, this.#calls.openat(this.#fd, nameBytes(name), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
  }

  open(access: FileAccess): SharedFile {
    this.#kind(S_IFREG, S_IFDIR); // the host's devices, FIFOs and sockets are not the guest's
    const flags = flagsOf(access) | (access.truncate ? O_TRUNC : 0);
    return new HostFile(this.#calls, this.#calls.openat(AT_FDCWD, this.#self, flags, 0));
  }

  readLink(): string {
    const target = new Uint8Array(LINK_BYTES_MAX);
    const length = this.#calls.readlinkat(this.#fd, EMPTY, target, BigInt(target.length));
    return Buffer.from(target.buffer, 0, length).toString('latin1');
  }

  setMode(permissions: number): void {
    this.#kind(S_IFREG, S_IFDIR, S_IFIFO, S_IFSOCK);
    this.#calls.chmod(this.#self, permissions);
  }

  setOwner(uid = UNCHANGED_ID, gid = UNCHANGED_ID): void {
    this.#calls.fchownat(this.#fd, EMPTY, uid, gid, AT_EMPTY_PATH);
  }

  setSize(sizeBytes: number): void {
    this.#kind(S_IFREG);
    this.#calls.truncate(this.#self, BigInt(sizeBytes));
  }

  setTimes(accessed: NewFileTime, modified: NewFileTime): void {
    this.#calls.utimensat(AT_FDCWD, this.#self, encodeTimes([accessed, modified]), 0);
  }

  create(name: string, permissions: number, access: FileAccess) {
    const flags = flagsOf(access) | O_CREAT | O_EXCL | O_NOFOLLOW;
    const file = new HostFile(this.#calls, this.#calls.openat(this.#fd, nameBytes(name), flags, permissions));
    try {
      return { node: new HostNode(this.#calls, file.hold()), file };
    } catch (error) {
      file.close();
      throw error;
    }
  }

  makeFolder(name: string, permissions: number): void {
    this.#calls.mkdirat(this.#fd, nameBytes(name), permissions);
  }

  makeSymlink(name: string, target: string): void {
    this.#calls.symlinkat(terminated(target), this.#fd, nameBytes(name));
  }

  makeSpecial(name: string, kind: 'fifo' | 'socket', permissions: number): void {
    const type = kind === 'fifo' ? S_IFIFO : S_IFSOCK;
    this.#calls.mknodat(this.#fd, nameBytes(name), type | permissions, 0n);
  }

  link(name: string, node: SharedNode): void {
    // Where it holds a symbolic link, only the link itself is meant: the kernel's own links end there.
    this.#calls.linkat(AT_FDCWD, hostNode(node).#self, this.#fd, nameBytes(name), AT_SYMLINK_FOLLOW);
  }

  rename(name: string, toFolder: SharedNode, newName: string): void {
    this.#calls.renameat(this.#fd, nameBytes(name), hostNode(toFolder).#fd, nameBytes(newName));
  }

  remove(name: string, kind: 'folder' | 'file'): void {
    this.#calls.unlinkat(this.#fd, nameBytes(name), kind === 'folder' ? AT_REMOVEDIR : 0);
  }

  attribute(name: string, bytesMax: number): Uint8Array {
    this.#kind(S_IFREG, S_IFDIR);
    const value = new Uint8Array(Math.max(1, bytesMax)); // with room for none, the size is told
    return value.slice(0, this.#calls.getxattr(this.#self, terminated(name), value, BigInt(value.length)));
  }

  attributeNames(bytesMax: number): string[] {
    this.#kind(S_IFREG, S_IFDIR);
    const names = new Uint8Array(Math.max(1, bytesMax));
    const length = this.#calls.listxattr(this.#self, names, BigInt(names.length));
    return Buffer.from(names.buffer, 0, length).toString('latin1').split('\0').slice(0, -1);
  }

  setAttribute(name: string, value: Uint8Array, rule: keyof typeof XATTR_RULE): void {
    this.#kind(S_IFREG, S_IFDIR);
    const bytes = value.length === 0 ? EMPTY : value;
    this.#calls.setxattr(this.#self, terminated(name), bytes, BigInt(value.length), XATTR_RULE[rule]);
  }

  removeAttribute(name: string): void {
    this.#kind(S_IFREG, S_IFDIR);
    this.#calls.removexattr(this.#self, terminated(name));
  }

  close(): void {
    this.#calls.close(this.#fd);
  }

  /** What goes by way of /proc/self/fd is for these kinds of file only. */
  #kind(...allowed: readonly number[]): void {
    const type = this.status().mode & S_IFMT;
    if (allowed.includes(type)) return;
    throw new FileError(
      type === S_IFLNK ? ERRNO.symlinkLoop : type === S_IFDIR ? ERRNO.isDirectory : ERRNO.notPermitted,
    );
  }
}

function hostNode(node: SharedNode): HostNode {
  if (node instanceof HostNode) return node;
  throw new TypeError('a node of another host');
}

function flagsOf({ read, write, append }: FileAccess): number {
  const way = write ? (read ? O_RDWR : O_WRONLY) : O_RDONLY;
  return way | (append ? O_APPEND : 0) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
}

class HostFile implements SharedFile {
  readonly #calls: FileCalls;
  readonly #fd: number;
  #syncing = 0;
  #isClosed = false;
  /** Where the listing stands. */
  #position = 0n;

  constructor(calls: FileCalls, fd: number) {
    this.#calls = calls;
    this.#fd = fd;
  }

  /** A descriptor that only holds the file. */
  hold(): number {
    return this.#calls.openat(AT_FDCWD, terminated(`/proc/self/fd/${this.#fd}`), O_PATH | O_CLOEXEC, 0);
  }

  read(offset: number, target: Uint8Array): number {
    return failing(() => readSync(this.#fd, target, 0, target.length, offset));
  }

  write(offset: number, source: Uint8Array): number {
    return failing(() => writeSync(this.#fd, source, 0, source.length, offset));
  }

  setSize(sizeBytes: number): void {
    if (!Number.isSafeInteger(sizeBytes)) throw new FileError(ERRNO.invalid);
    this.#calls.ftruncate(this.#fd, BigInt(sizeBytes));
  }

  list(from: bigint, bytesMax: number) {
    // A place beyond the largest signed number is a negative one for the kernel, which refuses it.
    if (from !== this.#position) this.#calls.lseek(this.#fd, BigInt.asIntN(64, from), SEEK_SET);
    const bytes = new Uint8Array(Math.min(Math.max(bytesMax, LIST_BYTES.min), LIST_BYTES.max));
    const length = this.#calls.getdents64(this.#fd, bytes, BigInt(bytes.length));
    const entries = decodeEntries(bytes.subarray(0, length));
    this.#position = entries.at(-1)?.next ?? from;
    return entries;
  }

  sync(dataOnly: boolean): Promise<void> {
    this.#syncing++;
    return new Promise((resolve, reject) => {
      (dataOnly ? fdatasync : fsync)(this.#fd, (error) => {
        this.#syncing--;
        if (this.#isClosed && this.#syncing === 0) this.#calls.close(this.#fd);
        if (error) reject(fileError(error));
        else resolve();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    if (this.#syncing === 0) this.#calls.close(this.#fd);
  }
}

function failing<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw fileError(error as NodeJS.ErrnoException);
  }
}

/** Node's numbers are Linux's, negated. */
function fileError(error: NodeJS.ErrnoException): Error {
  return error.errno === undefined ? error : new FileError(-error.errno);
}
