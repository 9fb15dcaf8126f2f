/**
 * Whose files are whose: what a guest's modes, owners and special files become on the host.
 * The models and their marks are those of QEMU's virtio-9p (docs: "security_model").
 */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { FileStatus } from '../../../contract/index.ts';
import { isFolder, MODE } from './file-mode.ts';
import type { Handle } from './handles.ts';

export { SECURITY_MODELS, type SecurityModelName } from '../../names.ts';

/** What the guest believes of a file; what is absent is as it is on the host. */
export interface Marks {
  readonly uid?: number;
  readonly gid?: number;
  /** With the file's type. */
  readonly mode?: number;
  readonly deviceNumber?: bigint;
}

export interface Owner {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface SecurityModel {
  /** Symbolic links and special files are plain files with marks. */
  readonly keepsMarks: boolean;
  status(handle: Handle): FileStatus;
  /** With which permissions something is made on the host. */
  hostPermissions(mode: number): number;
  /** Something was made, with `hostPermissions`. */
  made(handle: Handle, mode: number, owner: Owner, deviceNumber?: bigint): void;
  setMode(handle: Handle, mode: number): void;
  setOwner(handle: Handle, owner: Owner): void;
  /** Names and extended attributes that are the model's own. */
  isOwnName(name: string): boolean;
  isOwnAttribute(name: string): boolean;
  /** Before a folder is removed; after anything was, after it was moved, after another name was given to a file. */
  removingFolder(folder: Handle, name: string): void;
  removed(folder: Handle, name: string): void;
  moved(folder: Handle, name: string, newFolder: Handle, newName: string): void;
  linked(handle: Handle, folder: Handle, name: string): void;
}

/** Carries on without what the host does not allow or know. */
export function tolerating(errnos: readonly number[], action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof FileError && errnos.includes(error.errno))) throw error;
  }
}

/** Files belong to whoever runs the machine; owners that the guest asks for are set where the host allows it. */
export function plainModel(): SecurityModel {
  const setOwner = ({ node }: Handle, { uid, gid }: Owner) =>
    tolerating([ERRNO.notPermitted], () => node.setOwner(uid, gid));
  return {
    keepsMarks: false,
    status: ({ node }) => node.status(),
    hostPermissions: (mode) => mode & MODE.permissions,
    made(handle, mode, owner) {
      setOwner(handle, owner);
      const type = handle.node.status().mode & MODE.type;
      // The host's umask may have taken some away.
      if (type !== MODE.symlink) handle.node.setMode(mode & MODE.permissions);
    },
    // A program that runs with its owner's rights would do so on the host too.
    setMode: ({ node }, mode) => node.setMode(mode & MODE.changeable & ~(MODE.setUid | MODE.setGid)),
    setOwner,
    isOwnName: () => false,
    isOwnAttribute: () => false,
    removingFolder() {},
    removed() {},
    moved() {},
    linked() {},
  };
}

/** How a model that keeps marks stores them. */
export interface MarkStore {
  load(handle: Handle): Marks;
  save(handle: Handle, marks: Marks): void;
}

/** Owners, modes and special files are marks; on the host all is private to whoever runs the machine. */
export function markingModel(
  store: MarkStore,
  own: Pick<SecurityModel, 'isOwnName' | 'isOwnAttribute' | 'removingFolder' | 'removed' | 'moved' | 'linked'>,
): SecurityModel {
  const status = (handle: Handle): FileStatus => {
    const found = handle.node.status();
    const type = found.mode & MODE.type;
    if (type !== MODE.file && type !== MODE.folder) return found; // the host's own link or special file
    const { uid = found.uid, gid = found.gid, mode = found.mode, deviceNumber = 0n } = store.load(handle);
    // A mark may make a plain file anything but a folder; a folder is one.
    const fits = isFolder(mode) === isFolder(found.mode) && (mode & MODE.type) !== 0;
    return { ...found, uid, gid, mode: fits ? mode & 0xffff : found.mode, deviceNumber };
  };
  return {
    keepsMarks: true,
    status,
    hostPermissions: (mode) => (isFolder(mode) ? 0o700 : 0o600),
    made: (handle, mode, { uid, gid }, deviceNumber) => store.save(handle, { uid, gid, mode, deviceNumber }),
    setMode(handle, mode) {
      const type = status(handle).mode & MODE.type;
      store.save(handle, { mode: type | (mode & MODE.changeable) });
    },
    setOwner: (handle, { uid, gid }) => store.save(handle, { uid, gid }),
    ...own,
  };
}
