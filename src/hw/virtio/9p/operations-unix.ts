/** Messages of 9P2000.u: those of Plan 9 with Unix's owners, links and special files. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { FileAccess, FileStatus } from '../../../contract/index.ts';
import { MalformedMessage, Reader, Writer } from './codec.ts';
import { isFolder, isSymlink, MODE } from './file-mode.ts';
import type { Fid, Handle } from './handles.ts';
import { NO_FID, type Operations, type UNIX } from './messages.ts';
import type { Tree } from './tree.ts';

/** Mode of Topen and Tcreate (open(9P)). */
const OPEN = { wayMask: 3, read: 0, write: 1, readWrite: 2, execute: 3, truncate: 0x10, append: 0x80 } as const;
/** Bits of permissions above Unix's own nine (stat(9P), 9p2000.u). */
const DM = {
  folder: 0x8000_0000,
  symlink: 0x0200_0000,
  link: 0x0100_0000,
  device: 0x0080_0000,
  fifo: 0x0020_0000,
  socket: 0x0010_0000,
  setUid: 0x0008_0000,
  setGid: 0x0004_0000,
  sticky: 0x0001_0000,
} as const;
/** In Twstat: this field stays as it is. */
const UNCHANGED = { u32: 0xffff_ffff, u64: 0xffff_ffff_ffff_ffffn } as const;

const STAT = {
  sizeBytes: 'u16',
  type: 'u16',
  device: 'u32',
  qid: 'qid',
  mode: 'u32',
  accessed: 'u32',
  modified: 'u32',
  length: 'u64',
  name: 'string',
  owner: 'string',
  group: 'string',
  lastWriter: 'string',
  extension: 'string',
  uid: 'u32',
  gid: 'u32',
  lastWriterId: 'u32',
} as const;

export function unixOperations(tree: Tree): Operations<typeof UNIX> {
  const { handles } = tree;
  return {
    open({ fid: number, mode }) {
      const fid = handles.fid(number);
      tree.open(fid, accessOf(mode));
      return { qid: tree.qid(fid.handle), unitBytes: 0 };
    },

    create({ fid: number, name, permissions, mode, extension }) {
      const fid = handles.fid(number);
      const owner = { uid: fid.uid, gid: undefined };
      const { handle } = fid;
      const bits = (permissions & MODE.permissions) | upperBits(permissions);
      if (permissions & (DM.folder | DM.symlink | DM.link | DM.device | DM.fifo | DM.socket)) {
        if (permissions & DM.folder) tree.makeFolder(handle, name, bits, owner);
        else if (permissions & DM.symlink) tree.makeSymlink(handle, name, extension, owner);
        else if (permissions & DM.link) tree.link(handle, name, handles.fid(fidNamed(extension)).handle);
        else {
          const special = specialOf(permissions, extension);
          tree.makeSpecial(handle, name, special.type | bits, owner, special.deviceNumber);
        }
        fid.handle = handles.find(handle, name);
        handles.release(handle);
        if (permissions & DM.folder) tree.open(fid, { read: true, write: false });
      } else {
        tree.create(fid, name, { access: accessOf(mode), mode: bits, exclusive: false });
      }
      return { qid: tree.qid(fid.handle), unitBytes: 0 };
    },

    stat({ fid }) {
      const { handle } = handles.fid(fid);
      return { data: encodeStat(tree, handle, handle.name ?? '/') };
    },

    wstat({ fid: number, data }) {
      tree.mayWrite();
      const fid = handles.fid(number);
      const wanted = new Reader(data).fields(STAT);
      const { handle } = fid;
      if (wanted.mode !== UNCHANGED.u32) {
        const isKind = ((wanted.mode & DM.folder) !== 0) === isFolder(tree.status(handle).mode);
        if (!isKind) throw new FileError(ERRNO.invalid);
        tree.setMode(handle, (wanted.mode & MODE.permissions) | upperBits(wanted.mode));
      }
      if (wanted.accessed !== UNCHANGED.u32 || wanted.modified !== UNCHANGED.u32) {
        const time = (seconds: number) => (seconds === UNCHANGED.u32 ? 'unchanged' : { seconds, nanos: 0 });
        handle.node.setTimes(time(wanted.accessed), time(wanted.modified));
      }
      if (wanted.uid !== NO_FID || wanted.gid !== NO_FID) {
        const id = (value: number) => (value === NO_FID ? undefined : value);
        tree.setOwner(handle, { uid: id(wanted.uid), gid: id(wanted.gid) });
      }
      if (wanted.length !== UNCHANGED.u64) tree.setSize(fid, Number(wanted.length));
      if (wanted.name !== '') {
        const { parent, name } = handle;
        if (parent === undefined || name === undefined) throw new FileError(ERRNO.notPermitted);
        if (name !== wanted.name) tree.rename(parent, name, parent, wanted.name);
      }
      return {};
    },
  };
}

/** What Tread of a folder gives: whole entries, in order (read(9P)). */
export function readFolderStatuses(tree: Tree) {
  return (fid: Fid, offset: bigint, count: number): Uint8Array => {
    const { file, handle } = fid;
    if (file === undefined) throw new FileError(ERRNO.badDescriptor);
    const at = offset === 0n ? { bytes: 0, next: 0n } : fid.listed;
    if (at === undefined || BigInt(at.bytes) !== offset) throw new FileError(ERRNO.invalid);
    const writer = new Writer(Math.min(count, 8192));
    let { next } = at;
    for (let isFull = false; !isFull; ) {
      const entries = file.list(next, count - writer.length);
      if (entries.length === 0) break;
      for (const entry of entries) {
        const stat = entryStat(tree, handle, entry.name);
        isFull = stat !== undefined && writer.length + stat.length > count;
        if (isFull) break;
        if (stat !== undefined) writer.bytes(stat);
        next = entry.next;
      }
    }
    fid.listed = { bytes: at.bytes + writer.length, next };
    return writer.result();
  };
}

/** Undefined for what is not shown, or has gone meanwhile. */
function entryStat(tree: Tree, folder: Handle, name: string): Uint8Array | undefined {
  if (name === '.' || name === '..' || tree.security.isOwnName(name)) return undefined;
  let handle: Handle;
  try {
    handle = tree.step(folder, name);
  } catch (error) {
    if (error instanceof FileError && error.errno === ERRNO.noEntry) return undefined;
    throw error;
  }
  try {
    return encodeStat(tree, handle, name);
  } finally {
    tree.handles.release(handle);
  }
}

function encodeStat(tree: Tree, handle: Handle, name: string): Uint8Array {
  const status = tree.status(handle);
  const values = {
    sizeBytes: 0,
    type: 0,
    device: 0,
    qid: tree.qid(handle, status),
    mode: dialectMode(status.mode),
    accessed: status.accessed.seconds >>> 0,
    modified: status.modified.seconds >>> 0,
    length: isFolder(status.mode) ? 0n : BigInt(status.sizeBytes),
    name,
    owner: '',
    group: '',
    lastWriter: '',
    extension: extensionOf(tree, handle, status),
    uid: status.uid,
    gid: status.gid,
    lastWriterId: UNCHANGED.u32,
  };
  const writer = new Writer();
  writer.fields(STAT, values);
  const bytes = writer.result();
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(0, bytes.length - 2, true);
  return bytes;
}

function extensionOf(tree: Tree, handle: Handle, { mode, deviceNumber }: FileStatus): string {
  if (isSymlink(mode)) return tree.readLink(handle);
  const type = mode & MODE.type;
  if (type !== MODE.block && type !== MODE.character) return '';
  const major = ((deviceNumber >> 8n) & 0xfffn) | ((deviceNumber >> 32n) & 0xffff_f000n);
  const minor = (deviceNumber & 0xffn) | ((deviceNumber >> 12n) & 0xffff_ff00n);
  return `${type === MODE.block ? 'b' : 'c'} ${major} ${minor}`;
}

const TYPES: readonly (readonly [type: number, bit: number])[] = [
  [MODE.folder, DM.folder],
  [MODE.symlink, DM.symlink],
  [MODE.block, DM.device],
  [MODE.character, DM.device],
  [MODE.fifo, DM.fifo],
  [MODE.socket, DM.socket],
];
const UPPER: readonly (readonly [mode: number, bit: number])[] = [
  [MODE.setUid, DM.setUid],
  [MODE.setGid, DM.setGid],
  [0o1000, DM.sticky],
];

function dialectMode(mode: number): number {
  let bits = mode & MODE.permissions;
  for (const [type, bit] of TYPES) if ((mode & MODE.type) === type) bits |= bit;
  for (const [one, bit] of UPPER) if (mode & one) bits |= bit;
  return bits >>> 0;
}

function upperBits(permissions: number): number {
  return UPPER.reduce((bits, [mode, bit]) => (permissions & bit ? bits | mode : bits), 0);
}

function specialOf(permissions: number, extension: string): { type: number; deviceNumber: bigint } {
  if (permissions & DM.fifo) return { type: MODE.fifo, deviceNumber: 0n };
  if (permissions & DM.socket) return { type: MODE.socket, deviceNumber: 0n };
  const [, kind, major, minor] = /^([bc]) (\d{1,4}) (\d{1,7})$/.exec(extension) ?? [];
  if (kind === undefined) throw new MalformedMessage(`makes a device "${extension}"`);
  const [high, low] = [BigInt(major), BigInt(minor)];
  const deviceNumber = ((high & 0xfffn) << 8n) | ((low & 0xf_ff00n) << 12n) | (low & 0xffn);
  return { type: kind === 'b' ? MODE.block : MODE.character, deviceNumber };
}

/** 9p2000.u makes a hard link to the fid whose number is in the extension. */
function fidNamed(extension: string): number {
  if (!/^\d{1,10}$/.test(extension)) throw new MalformedMessage(`links to "${extension}"`);
  return Number(extension);
}

function accessOf(mode: number): FileAccess {
  const way = mode & OPEN.wayMask;
  const write = way === OPEN.write || way === OPEN.readWrite;
  return {
    read: way !== OPEN.write,
    write,
    truncate: (mode & OPEN.truncate) !== 0,
    append: (mode & OPEN.append) !== 0,
  };
}
