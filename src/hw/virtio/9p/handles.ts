/** What a guest's fids stand for: nodes of the shared folder, each held once, and how they were reached. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { FileStatus, SharedFile, SharedNode } from '../../../contract/index.ts';

/** Nodes and open files that one guest holds, at most: each is a descriptor of the host's. */
export const HELD_MAX = 8192;
/** Fids of one guest, at most. */
export const FIDS_MAX = 16_384;

/** A node, with the folder in which it was found: `..` leads there, whatever happens on the host. */
export interface Handle {
  readonly node: SharedNode;
  readonly fileSystem: string;
  readonly inode: bigint;
  /** Undefined for the shared folder itself. */
  parent: Handle | undefined;
  /** Undefined once the node was removed or replaced. */
  name: string | undefined;
  /** Found here and still in use, by name. */
  readonly children: Map<string, Handle>;
  uses: number;
}

/** An extended attribute that is read or written through a fid like a file. */
export type AttributeAccess =
  | { readonly kind: 'read'; readonly value: Uint8Array }
  | {
      readonly kind: 'write';
      readonly name: string;
      readonly value: Uint8Array;
      readonly rule: 'any' | 'create' | 'replace';
      written: number;
    };

export interface Fid {
  handle: Handle;
  /** The guest's user who attached; undefined when it did not say. */
  readonly uid: number | undefined;
  file?: SharedFile;
  access?: { readonly read: boolean; readonly write: boolean };
  /** 9P2000.u: how far a folder was read, in bytes and in the host's terms. */
  listed?: { bytes: number; next: bigint };
  attribute?: AttributeAccess;
}

export class HandleTable {
  readonly root: Handle;
  readonly #fids = new Map<number, Fid>();
  #held = 1;

  constructor(root: SharedNode) {
    const { inode, fileSystem } = root.status();
    this.root = { node: root, inode, fileSystem, parent: undefined, name: undefined, children: new Map(), uses: 1 };
  }

  get fidCount(): number {
    return this.#fids.size;
  }

  /** Descriptors in use, for tests. */
  get held(): number {
    return this.#held;
  }

  fid(number: number): Fid {
    const fid = this.#fids.get(number);
    if (fid === undefined) throw new FileError(ERRNO.badDescriptor);
    return fid;
  }

  /** Gives a new fid its meaning; takes over one use of the handle, also when it throws. */
  add(number: number, handle: Handle, uid: number | undefined): Fid {
    if (this.#fids.has(number) || this.#fids.size >= FIDS_MAX) {
      this.release(handle);
      throw new FileError(this.#fids.has(number) ? ERRNO.badDescriptor : ERRNO.tooManyFiles);
    }
    const fid: Fid = { handle, uid };
    this.#fids.set(number, fid);
    return fid;
  }

  remove(number: number): void {
    const fid = this.fid(number);
    this.#fids.delete(number);
    if (fid.file !== undefined) this.closeFile(fid.file);
    this.release(fid.handle);
  }

  clear(): void {
    for (const number of [...this.#fids.keys()]) this.remove(number);
  }

  hold(handle: Handle): Handle {
    handle.uses++;
    return handle;
  }

  release(handle: Handle): void {
    for (let one: Handle | undefined = handle; one !== undefined; ) {
      if (--one.uses > 0) return;
      const { parent, name }: Handle = one;
      if (name !== undefined && parent?.children.get(name) === one) parent.children.delete(name);
      this.#drop(one.node);
      one = parent;
    }
  }

  /** Finds a name in a folder; the caller has one use of what is returned. */
  find(folder: Handle, name: string): Handle {
    return this.adopt(
      folder,
      name,
      this.opening(() => folder.node.lookup(name)),
    );
  }

  /** Makes a handle of a node that was just found or made in a folder, or takes the one that it has. */
  adopt(folder: Handle, name: string, node: SharedNode): Handle {
    const { inode, fileSystem } = this.#statusOf(node);
    const known = folder.children.get(name);
    if (known !== undefined && known.inode === inode && known.fileSystem === fileSystem) {
      this.#drop(node);
      return this.hold(known);
    }
    if (known !== undefined) known.name = undefined; // replaced on the host
    const handle: Handle = { node, inode, fileSystem, parent: this.hold(folder), name, children: new Map(), uses: 1 };
    folder.children.set(name, handle);
    return handle;
  }

  #statusOf(node: SharedNode): FileStatus {
    try {
      return node.status();
    } catch (error) {
      this.#drop(node);
      throw error;
    }
  }

  #drop(node: SharedNode): void {
    node.close();
    this.#held--;
  }

  /** Says that a name has gone from a folder. */
  forget(folder: Handle, name: string): void {
    const handle = folder.children.get(name);
    if (handle === undefined) return;
    handle.name = undefined;
    folder.children.delete(name);
  }

  moved(folder: Handle, name: string, newFolder: Handle, newName: string): void {
    const handle = folder.children.get(name);
    if (folder === newFolder && name === newName) return;
    this.forget(newFolder, newName);
    if (handle === undefined) return;
    folder.children.delete(name);
    newFolder.children.set(newName, handle);
    handle.name = newName;
    if (folder === newFolder) return;
    handle.parent = this.hold(newFolder);
    this.release(folder);
  }

  /** Counts what `open` opens. */
  opening<T>(open: () => T): T {
    if (this.#held >= HELD_MAX) throw new FileError(ERRNO.tooManyFiles);
    const opened = open();
    this.#held++;
    return opened;
  }

  /** Counts what came with something else that was opened: one beyond the limit does no harm. */
  counted(node: SharedNode): SharedNode {
    this.#held++;
    return node;
  }

  closeFile(file: SharedFile): void {
    file.close();
    this.#held--;
  }
}
