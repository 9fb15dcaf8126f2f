/**
 * The shared-folder joint: a folder of the host's as a device sees it that shows it to a guest.
 *
 * Everything is reached from the folder by one name at a time, and what was reached is held by
 * a handle, so that no path is ever resolved twice. Names and link targets are byte strings:
 * each character is one byte of the name, 1 to 255. Every call throws `FileError`.
 */

/** A point in time: seconds since 1970 and the nanoseconds beyond them. */
export interface FileTime {
  readonly seconds: number;
  readonly nanos: number;
}

export interface FileStatus {
  /** Type and permissions, as st_mode of stat(2) has them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly sizeBytes: number;
  /** Of the file's file system, for one transfer. */
  readonly blockBytes: number;
  /** Of 512 bytes each. */
  readonly blocks: number;
  /** What a device node stands for; makedev(3). */
  readonly deviceNumber: bigint;
  readonly inode: bigint;
  /** Names the file system: two files with the same `inode` and `fileSystem` are one. */
  readonly fileSystem: string;
  readonly accessed: FileTime;
  readonly modified: FileTime;
  readonly changed: FileTime;
}

/** statfs(2). */
export interface FileSystemStatus {
  readonly type: number;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly availableBlocks: number;
  readonly files: number;
  readonly freeFiles: number;
  readonly nameBytesMax: number;
}

export interface FolderEntry {
  readonly name: string;
  readonly inode: bigint;
  /** DT_ value of readdir(3). */
  readonly type: number;
  /** Where the listing goes on after this entry. */
  readonly next: bigint;
}

/** How a file is opened; a plain file or a folder only. */
export interface FileAccess {
  readonly read: boolean;
  readonly write: boolean;
  readonly truncate?: boolean;
  readonly append?: boolean;
}

/** A time to set; `now` is the host's clock. */
export type NewFileTime = FileTime | 'now' | 'unchanged';

/** Something in the folder: held, not opened. Symbolic links are never followed. */
export interface SharedNode {
  status(): FileStatus;
  fileSystemStatus(): FileSystemStatus;
  /** @param name one name, neither `.` nor `..` */
  lookup(name: string): SharedNode;
  open(access: FileAccess): SharedFile;
  readLink(): string;
  setMode(permissions: number): void;
  setOwner(uid: number | undefined, gid: number | undefined): void;
  setSize(sizeBytes: number): void;
  setTimes(accessed: NewFileTime, modified: NewFileTime): void;

  /** Makes a plain file that was not there. */
  create(
    name: string,
    permissions: number,
    access: FileAccess,
  ): { readonly node: SharedNode; readonly file: SharedFile };
  makeFolder(name: string, permissions: number): void;
  makeSymlink(name: string, target: string): void;
  makeSpecial(name: string, kind: 'fifo' | 'socket', permissions: number): void;
  link(name: string, node: SharedNode): void;
  rename(name: string, toFolder: SharedNode, newName: string): void;
  remove(name: string, kind: 'folder' | 'file'): void;

  /** Extended attributes. @param bytesMax of the value or of all names; ERANGE when it is not enough */
  attribute(name: string, bytesMax: number): Uint8Array;
  attributeNames(bytesMax: number): string[];
  setAttribute(name: string, value: Uint8Array, rule: 'any' | 'create' | 'replace'): void;
  removeAttribute(name: string): void;
  close(): void;
}

/** An open file or folder. */
export interface SharedFile {
  /** Returns how many bytes there were. */
  read(offset: number, target: Uint8Array): number;
  write(offset: number, source: Uint8Array): number;
  setSize(sizeBytes: number): void;
  /** Entries of a folder from `from` on (0n: the first), `.` and `..` too, about `bytesMax` bytes of them; none at the end. */
  list(from: bigint, bytesMax: number): FolderEntry[];
  sync(dataOnly: boolean): Promise<void>;
  close(): void;
}
