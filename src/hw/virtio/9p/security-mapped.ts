/** The two models that keep marks: in extended attributes, and in files beside the files. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { SharedNode } from '../../../contract/index.ts';
import type { Handle } from './handles.ts';
import {
  type MarkStore,
  type Marks,
  markingModel,
  plainModel,
  type SecurityModel,
  type SecurityModelName,
  tolerating,
} from './security.ts';

export function securityModel(name: SecurityModelName): SecurityModel {
  switch (name) {
    case 'none':
      return plainModel();
    case 'mapped-xattr':
      return markingModel(attributeStore, {
        isOwnName: () => false,
        isOwnAttribute: (attribute) => attribute.startsWith('user.virtfs.'),
        removingFolder() {},
        removed() {},
        moved() {},
        linked() {},
      });
    case 'mapped-file':
      return markingModel(fileStore, {
        isOwnName: (one) => one === FOLDER_NAME || one === ROOT_NAME,
        isOwnAttribute: () => false,
        ...fileUpkeep,
      });
  }
}

/** Attribute names; values are little-endian, 4 bytes, for the device number 8. */
const ATTRIBUTE = {
  uid: 'user.virtfs.uid',
  gid: 'user.virtfs.gid',
  mode: 'user.virtfs.mode',
  deviceNumber: 'user.virtfs.rdev',
} as const;

const attributeStore: MarkStore = {
  load({ node }) {
    const word = (name: string) => {
      const bytes = readAttribute(node, name, 4);
      return bytes && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    };
    const mode = word(ATTRIBUTE.mode);
    if (mode === undefined) return { uid: word(ATTRIBUTE.uid), gid: word(ATTRIBUTE.gid) };
    const device = readAttribute(node, ATTRIBUTE.deviceNumber, 8);
    return {
      uid: word(ATTRIBUTE.uid),
      gid: word(ATTRIBUTE.gid),
      mode,
      deviceNumber: device && new DataView(device.buffer, device.byteOffset).getBigUint64(0, true),
    };
  },
  save({ node }, { uid, gid, mode, deviceNumber }) {
    const words = [
      [ATTRIBUTE.uid, uid],
      [ATTRIBUTE.gid, gid],
      [ATTRIBUTE.mode, mode],
    ] as const;
    for (const [name, value] of words) {
      if (value !== undefined) node.setAttribute(name, new Uint8Array(Uint32Array.of(value).buffer), 'any');
    }
    if (deviceNumber === undefined) return;
    node.setAttribute(ATTRIBUTE.deviceNumber, new Uint8Array(BigUint64Array.of(deviceNumber).buffer), 'any');
  },
};

/** Undefined when it is not there, or of another length. */
function readAttribute(node: SharedNode, name: string, length: number): Uint8Array | undefined {
  try {
    const bytes = node.attribute(name, length);
    return bytes.length === length ? bytes : undefined;
  } catch (error) {
    if (error instanceof FileError) return undefined;
    throw error;
  }
}

/** A file of lines such as `virtfs.uid=0` for each name, in a folder beside them; the shared folder's own is in itself. */
const FOLDER_NAME = '.virtfs_metadata';
const ROOT_NAME = '.virtfs_metadata_root';
const TEXT_BYTES_MAX = 512;
const KEYS = { uid: 'virtfs.uid', gid: 'virtfs.gid', mode: 'virtfs.mode', deviceNumber: 'virtfs.rdev' } as const;
const READING = { read: true, write: false };
const WRITING = { read: false, write: true };

const fileStore: MarkStore = {
  load(handle) {
    const text = readMarks(handle);
    const value = (key: string) => {
      const digits = new RegExp(`^${key}=(\\d{1,20})$`, 'm').exec(text)?.[1];
      return digits === undefined ? undefined : BigInt(digits);
    };
    const word = (key: string) => {
      const found = value(key);
      return found === undefined ? undefined : Number(found & 0xffff_ffffn);
    };
    const device = value(KEYS.deviceNumber);
    return {
      uid: word(KEYS.uid),
      gid: word(KEYS.gid),
      mode: word(KEYS.mode),
      deviceNumber: device === undefined ? undefined : BigInt.asUintN(64, device),
    };
  },
  save(handle, marks) {
    const known: Marks = fileStore.load(handle);
    const lines = Object.entries(KEYS).flatMap(([field, key]) => {
      const value = marks[field as keyof Marks] ?? known[field as keyof Marks];
      return value === undefined ? [] : [`${key}=${value}\n`];
    });
    const bytes = Uint8Array.from(lines.join(''), (character) => character.charCodeAt(0));
    withMarksFile(handle, true, (folder, name) => {
      const old = find(folder, name);
      try {
        const file = old === undefined ? folder.create(name, 0o600, WRITING) : undefined;
        file?.node.close();
        const opened = file?.file ?? old!.open({ ...WRITING, truncate: true });
        opened.write(0, bytes);
        opened.close();
      } finally {
        old?.close();
      }
    });
  },
};

function readMarks(handle: Handle): string {
  let text = '';
  withMarksFile(handle, false, (folder, name) => {
    const node = find(folder, name);
    if (node === undefined) return;
    try {
      const file = node.open(READING);
      const bytes = new Uint8Array(TEXT_BYTES_MAX);
      text = String.fromCharCode(...bytes.subarray(0, file.read(0, bytes)));
      file.close();
    } finally {
      node.close();
    }
  });
  return text;
}

/** Gives `use` the folder and the name of the file in which a handle's marks are. */
function withMarksFile(handle: Handle, make: boolean, use: (folder: SharedNode, name: string) => void): void {
  const { parent, name } = handle;
  if (parent === undefined) use(handle.node, ROOT_NAME);
  else if (name !== undefined) withMarksFolder(parent.node, make, (folder) => use(folder, name));
}

function withMarksFolder(parent: SharedNode, make: boolean, use: (folder: SharedNode) => void): void {
  if (make) tolerating([ERRNO.exists], () => parent.makeFolder(FOLDER_NAME, 0o700));
  const folder = find(parent, FOLDER_NAME);
  if (folder === undefined) return;
  try {
    use(folder);
  } finally {
    folder.close();
  }
}

function find(folder: SharedNode, name: string): SharedNode | undefined {
  try {
    return folder.lookup(name);
  } catch (error) {
    if (error instanceof FileError && error.errno === ERRNO.noEntry) return undefined;
    throw error;
  }
}

function removeMarks(marks: SharedNode, name: string): void {
  tolerating([ERRNO.noEntry], () => marks.remove(name, 'file'));
}

/** Keeps the marks with the names. */
const fileUpkeep: Pick<SecurityModel, 'removingFolder' | 'removed' | 'moved' | 'linked'> = {
  removingFolder({ node }, name) {
    const folder = find(node, name);
    if (folder === undefined) return;
    // Not empty: then neither is the folder that holds it.
    tolerating([ERRNO.noEntry, ERRNO.notEmpty, ERRNO.notDirectory], () => folder.remove(FOLDER_NAME, 'folder'));
    folder.close();
  },
  removed: ({ node }, name) => withMarksFolder(node, false, (marks) => removeMarks(marks, name)),
  moved({ node }, name, newFolder, newName) {
    withMarksFolder(newFolder.node, true, (to) => {
      removeMarks(to, newName);
      withMarksFolder(node, false, (from) => tolerating([ERRNO.noEntry], () => from.rename(name, to, newName)));
    });
  },
  linked(handle, folder, name) {
    withMarksFile(handle, false, (from, oldName) => {
      const marks = find(from, oldName);
      if (marks === undefined) return;
      withMarksFolder(folder.node, true, (to) => tolerating([ERRNO.exists], () => to.link(name, marks)));
      marks.close();
    });
  },
};
