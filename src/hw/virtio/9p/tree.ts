/** What every dialect does to the shared folder, with the rules of its security model. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { FileAccess, FileStatus, SharedNode } from '../../../contract/index.ts';
import { QID_TYPE, type Qid } from './codec.ts';
import { isFolder, isPlain, isSymlink, MODE } from './file-mode.ts';
import { type Fid, type Handle, HandleTable } from './handles.ts';
import type { Owner, SecurityModel } from './security.ts';

const LINK_BYTES_MAX = 4095;
/** File systems below the folder that get inode numbers of their own; more share the last. */
const FILE_SYSTEMS_MAX = 0xffff;
const TARGET_ACCESS = { read: false, write: true };

export interface TreeOptions {
  readonly root: SharedNode;
  readonly security: SecurityModel;
  readonly readOnly: boolean;
}

export class Tree {
  readonly handles: HandleTable;
  readonly security: SecurityModel;
  readonly #readOnly: boolean;
  readonly #fileSystems = new Map<string, bigint>();

  constructor({ root, security, readOnly }: TreeOptions) {
    this.handles = new HandleTable(root);
    this.security = security;
    this.#readOnly = readOnly;
  }

  /** Call before anything that changes the folder. */
  mayWrite(): void {
    if (this.#readOnly) throw new FileError(ERRNO.readOnly);
  }

  status(handle: Handle): FileStatus {
    return this.security.status(handle);
  }

  qid(handle: Handle, { mode, modified, sizeBytes } = this.status(handle)): Qid {
    return {
      type: isFolder(mode) ? QID_TYPE.folder : isSymlink(mode) ? QID_TYPE.symlink : QID_TYPE.file,
      version: (modified.seconds ^ modified.nanos ^ (sizeBytes << 8)) >>> 0,
      path: this.qidPath(handle.inode, handle.fileSystem),
    };
  }

  /** Inode numbers, told apart where several file systems lie in the folder. */
  qidPath(inode: bigint, fileSystem: string): bigint {
    let index = this.#fileSystems.get(fileSystem);
    if (index === undefined) {
      index = BigInt(Math.min(this.#fileSystems.size, FILE_SYSTEMS_MAX));
      this.#fileSystems.set(fileSystem, index);
    }
    return BigInt.asUintN(64, inode ^ (index << 48n));
  }

  /** One step of a walk; the caller has one use of what is returned. */
  step(from: Handle, name: string): Handle {
    if (name === '..') return this.handles.hold(from.parent ?? from);
    this.#checkName(name);
    return this.handles.find(from, name);
  }

  open(fid: Fid, access: FileAccess): void {
    if (fid.file !== undefined || fid.attribute !== undefined) throw new FileError(ERRNO.badDescriptor);
    const { mode } = this.status(fid.handle);
    if (access.write || access.truncate) {
      this.mayWrite();
      if (isFolder(mode)) throw new FileError(ERRNO.isDirectory);
    }
    if (!isFolder(mode) && !isPlain(mode))
      throw new FileError(isSymlink(mode) ? ERRNO.symlinkLoop : ERRNO.notPermitted);
    fid.file = this.handles.opening(() => fid.handle.node.open(access));
    fid.access = access;
  }

  /** Makes a plain file, or opens one that is there unless `exclusive`; the fid then stands for it. */
  create(
    fid: Fid,
    name: string,
    { access, mode, gid, exclusive }: { access: FileAccess; mode: number; gid?: number; exclusive: boolean },
  ): void {
    this.mayWrite();
    this.#checkName(name);
    if (fid.file !== undefined || fid.attribute !== undefined) throw new FileError(ERRNO.badDescriptor);
    const folder = fid.handle;
    const made: Fid = { handle: folder, uid: fid.uid };
    try {
      this.#createNew(made, name, MODE.file | (mode & MODE.changeable), gid, access);
    } catch (error) {
      if (exclusive || !(error instanceof FileError && error.errno === ERRNO.exists)) throw error;
      made.handle = this.handles.find(folder, name);
      try {
        this.open(made, access);
      } catch (failure) {
        this.handles.release(made.handle);
        throw failure;
      }
    }
    Object.assign(fid, { handle: made.handle, file: made.file, access });
    this.handles.release(folder);
  }

  /** Fills `fid` with what was made; leaves nothing open when that fails. */
  #createNew(fid: Fid, name: string, mode: number, gid: number | undefined, access: FileAccess): void {
    const folder = fid.handle;
    const permissions = this.security.hostPermissions(mode);
    const { node, file } = this.handles.opening(() => folder.node.create(name, permissions, access));
    let handle: Handle | undefined;
    try {
      handle = this.handles.adopt(folder, name, this.handles.counted(node));
      this.security.made(handle, mode, { uid: fid.uid, gid });
    } catch (error) {
      this.handles.closeFile(file);
      if (handle !== undefined) this.handles.release(handle);
      throw error;
    }
    Object.assign(fid, { handle, file, access });
  }

  makeFolder(folder: Handle, name: string, mode: number, owner: Owner): Qid {
    const full = MODE.folder | (mode & MODE.changeable);
    return this.#make(folder, name, full, owner, (permissions) => folder.node.makeFolder(name, permissions));
  }

  makeSymlink(folder: Handle, name: string, target: string, owner: Owner): Qid {
    if (target === '' || target.includes('\0')) throw new FileError(ERRNO.noEntry);
    if (target.length > LINK_BYTES_MAX) throw new FileError(ERRNO.nameTooLong);
    const mode = MODE.symlink | MODE.permissions;
    return this.#make(folder, name, mode, owner, (permissions) => {
      if (!this.security.keepsMarks) return folder.node.makeSymlink(name, target);
      const { node, file } = folder.node.create(name, permissions, TARGET_ACCESS);
      node.close();
      try {
        file.write(
          0,
          Uint8Array.from(target, (character) => character.charCodeAt(0)),
        );
      } finally {
        file.close();
      }
    });
  }

  makeSpecial(folder: Handle, name: string, mode: number, owner: Owner, deviceNumber: bigint): Qid {
    const type = mode & MODE.type;
    const make = (permissions: number) => {
      if (this.security.keepsMarks || type === MODE.file || type === 0) {
        const { node, file } = folder.node.create(name, permissions, TARGET_ACCESS);
        file.close();
        node.close();
      } else if (type === MODE.fifo || type === MODE.socket) {
        folder.node.makeSpecial(name, type === MODE.fifo ? 'fifo' : 'socket', permissions);
      } else {
        throw new FileError(ERRNO.notPermitted); // a device of the host's is not the guest's to make
      }
    };
    if (type === MODE.folder || type === MODE.symlink) throw new FileError(ERRNO.invalid);
    return this.#make(folder, name, type === 0 ? mode | MODE.file : mode, owner, make, deviceNumber);
  }

  link(folder: Handle, name: string, handle: Handle): void {
    this.mayWrite();
    this.#checkName(name);
    folder.node.link(name, handle.node);
    this.security.linked(handle, folder, name);
  }

  rename(folder: Handle, name: string, newFolder: Handle, newName: string): void {
    this.mayWrite();
    this.#checkName(name);
    this.#checkName(newName);
    folder.node.rename(name, newFolder.node, newName);
    this.security.moved(folder, name, newFolder, newName);
    this.handles.moved(folder, name, newFolder, newName);
  }

  remove(folder: Handle, name: string, kind: 'folder' | 'file'): void {
    this.mayWrite();
    this.#checkName(name);
    if (kind === 'folder') this.security.removingFolder(folder, name);
    folder.node.remove(name, kind);
    this.security.removed(folder, name);
    this.handles.forget(folder, name);
  }

  readLink(handle: Handle): string {
    const { mode } = this.status(handle);
    if (!isSymlink(mode)) throw new FileError(ERRNO.invalid);
    if (isSymlink(handle.node.status().mode)) return handle.node.readLink();
    const file = this.handles.opening(() => handle.node.open({ read: true, write: false }));
    try {
      const bytes = new Uint8Array(LINK_BYTES_MAX);
      return String.fromCharCode(...bytes.subarray(0, file.read(0, bytes)));
    } finally {
      this.handles.closeFile(file);
    }
  }

  setMode(handle: Handle, mode: number): void {
    this.mayWrite();
    this.security.setMode(handle, mode);
  }

  setOwner(handle: Handle, owner: Owner): void {
    this.mayWrite();
    this.security.setOwner(handle, owner);
  }

  setSize({ handle, file, access }: Fid, sizeBytes: number): void {
    this.mayWrite();
    if (!Number.isSafeInteger(sizeBytes)) throw new FileError(ERRNO.invalid);
    if (file !== undefined && access?.write) file.setSize(sizeBytes);
    else handle.node.setSize(sizeBytes);
  }

  #make(
    folder: Handle,
    name: string,
    mode: number,
    owner: Owner,
    make: (permissions: number) => void,
    deviceNumber?: bigint,
  ): Qid {
    this.mayWrite();
    this.#checkName(name);
    make(this.security.hostPermissions(mode));
    const handle = this.handles.find(folder, name);
    try {
      this.security.made(handle, mode, owner, deviceNumber);
      return this.qid(handle);
    } finally {
      this.handles.release(handle);
    }
  }

  #checkName(name: string): void {
    if (this.security.isOwnName(name)) throw new FileError(ERRNO.noEntry);
    if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) throw new FileError(ERRNO.invalid);
  }
}
