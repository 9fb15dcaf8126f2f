/** Messages of 9P2000.L, which follow Linux's system calls. */
import { ERRNO, FileError } from '../../../base/index.ts';
import type { FileAccess, NewFileTime } from '../../../contract/index.ts';
import { beginAttribute, listAttributes, readAttribute } from './attributes.ts';
import { QID_BYTES, QID_TYPE, Writer } from './codec.ts';
import { isFolder } from './file-mode.ts';
import type { LINUX, Operations } from './messages.ts';
import { READ_HEADER_BYTES } from './operations-common.ts';
import type { Tree } from './tree.ts';

/** Flags of Tlopen and Tlcreate: those of open(2) on most of Linux's architectures. */
const OPEN = { accessMask: 3, writeOnly: 1, readWrite: 2, exclusive: 0o200, truncate: 0o1000, append: 0o2000 } as const;
/** Bits of Tsetattr. */
const SET = {
  mode: 0x1,
  uid: 0x2,
  gid: 0x4,
  size: 0x8,
  accessed: 0x10,
  modified: 0x20,
  accessedGiven: 0x80,
  modifiedGiven: 0x100,
} as const;
/** What Tgetattr can ask for and we know. */
const GETATTR_BASIC = 0x7ffn;
const AT_REMOVEDIR = 0x200;
const UNLOCKED = 2;
const LOCK_SUCCESS = 0;
const DT_UNKNOWN = 0;
const DT_FOLDER = 4;
/** qid, offset, type and the name's length, before the name. */
const ENTRY_BYTES = QID_BYTES + 8 + 1 + 2;

export function linuxOperations(tree: Tree, messageBytes: number): Operations<typeof LINUX> {
  const { handles, security } = tree;
  return {
    statfs({ fid }) {
      return { ...bigFields(handles.fid(fid).handle.node.fileSystemStatus()), fileSystem: 0n };
    },

    lopen({ fid: number, flags }) {
      const fid = handles.fid(number);
      tree.open(fid, accessOf(flags));
      return { qid: tree.qid(fid.handle), unitBytes: 0 };
    },

    lcreate({ fid: number, name, flags, mode, gid }) {
      const fid = handles.fid(number);
      tree.create(fid, name, { access: accessOf(flags), mode, gid, exclusive: (flags & OPEN.exclusive) !== 0 });
      return { qid: tree.qid(fid.handle), unitBytes: 0 };
    },

    symlink({ fid: number, name, target, gid }) {
      const { handle, uid } = handles.fid(number);
      return { qid: tree.makeSymlink(handle, name, target, { uid, gid }) };
    },

    mknod({ fid: number, name, mode, major, minor, gid }) {
      const { handle, uid } = handles.fid(number);
      return { qid: tree.makeSpecial(handle, name, mode & 0xffff, { uid, gid }, deviceNumber(major, minor)) };
    },

    rename({ fid, folderFid, name: newName }) {
      const { parent, name } = handles.fid(fid).handle;
      if (parent === undefined) throw new FileError(ERRNO.notPermitted);
      if (name === undefined) throw new FileError(ERRNO.stale);
      tree.rename(parent, name, handles.fid(folderFid).handle, newName);
      return {};
    },

    readlink: ({ fid }) => ({ target: tree.readLink(handles.fid(fid).handle) }),

    getattr({ fid }) {
      const { handle } = handles.fid(fid);
      const status = tree.status(handle);
      const { accessed, modified, changed } = status;
      return {
        valid: GETATTR_BASIC,
        qid: tree.qid(handle, status),
        mode: status.mode,
        uid: status.uid,
        gid: status.gid,
        links: BigInt(status.links),
        deviceNumber: status.deviceNumber,
        sizeBytes: BigInt(status.sizeBytes),
        blockBytes: BigInt(status.blockBytes),
        blocks: BigInt(status.blocks),
        accessedSeconds: unsigned(accessed.seconds),
        accessedNanos: BigInt(accessed.nanos),
        modifiedSeconds: unsigned(modified.seconds),
        modifiedNanos: BigInt(modified.nanos),
        changedSeconds: unsigned(changed.seconds),
        changedNanos: BigInt(changed.nanos),
        bornSeconds: 0n,
        bornNanos: 0n,
        generation: 0n,
        dataVersion: 0n,
      };
    },

    setattr({ fid: number, valid, mode, uid, gid, sizeBytes, ...times }) {
      const fid = handles.fid(number);
      tree.mayWrite();
      if (valid & SET.mode) tree.setMode(fid.handle, mode);
      if (valid & (SET.uid | SET.gid)) {
        tree.setOwner(fid.handle, { uid: valid & SET.uid ? uid : undefined, gid: valid & SET.gid ? gid : undefined });
      }
      if (valid & SET.size) tree.setSize(fid, Number(sizeBytes));
      if (valid & (SET.accessed | SET.modified)) {
        const { accessedSeconds, accessedNanos, modifiedSeconds, modifiedNanos } = times;
        fid.handle.node.setTimes(
          newTime(valid & SET.accessed, valid & SET.accessedGiven, accessedSeconds, accessedNanos),
          newTime(valid & SET.modified, valid & SET.modifiedGiven, modifiedSeconds, modifiedNanos),
        );
      }
      return {};
    },

    xattrwalk({ fid: number, newFid, name }) {
      const fid = handles.fid(number);
      const attribute = name === '' ? listAttributes(tree, fid) : readAttribute(tree, fid, name);
      handles.add(newFid, handles.hold(fid.handle), fid.uid).attribute = attribute;
      return { sizeBytes: BigInt(attribute.value.length) };
    },

    xattrcreate({ fid: number, name, sizeBytes, flags }) {
      const fid = handles.fid(number);
      if (fid.file !== undefined) throw new FileError(ERRNO.badDescriptor);
      fid.attribute = beginAttribute(tree, name, Number(sizeBytes), flags);
      return {};
    },

    readdir({ fid: number, offset, count }) {
      const { file, handle } = handles.fid(number);
      if (file === undefined) throw new FileError(ERRNO.badDescriptor);
      if (!isFolder(handle.node.status().mode)) throw new FileError(ERRNO.notDirectory);
      const room = Math.min(count, messageBytes - READ_HEADER_BYTES);
      const writer = new Writer(Math.min(room, 8192));
      for (let from = offset; ; ) {
        // The host's entries are about as long as ours.
        const entries = file.list(from, room - writer.length);
        for (const { name, inode, type, next } of entries) {
          if (writer.length + ENTRY_BYTES + name.length > room) {
            if (writer.length === 0) throw new FileError(ERRNO.invalid);
            return { data: writer.result() };
          }
          from = next;
          if (security.isOwnName(name)) continue;
          // Above the shared folder is nothing.
          const shown = name === '..' ? (handle.parent ?? handle).inode : inode;
          writer.write('qid', {
            type: type === DT_FOLDER ? QID_TYPE.folder : QID_TYPE.file,
            version: 0,
            path: tree.qidPath(shown, handle.fileSystem),
          });
          writer.u64(next);
          writer.u8(security.keepsMarks ? DT_UNKNOWN : type);
          writer.string(name);
        }
        if (entries.length === 0) return { data: writer.result() };
      }
    },

    async fsync({ fid, dataOnly }) {
      const { file } = handles.fid(fid);
      if (file === undefined) throw new FileError(ERRNO.badDescriptor);
      await file.sync(dataOnly !== 0);
      return {};
    },

    // Linux's client keeps its own locks; no other guest shares the folder through this device.
    lock({ fid }) {
      handles.fid(fid);
      return { status: LOCK_SUCCESS };
    },
    getlock({ fid, start, length, process, client }) {
      handles.fid(fid);
      return { kind: UNLOCKED, start, length, process, client };
    },

    link({ folderFid, fid, name }) {
      tree.link(handles.fid(folderFid).handle, name, handles.fid(fid).handle);
      return {};
    },

    mkdir({ fid: number, name, mode, gid }) {
      const { handle, uid } = handles.fid(number);
      return { qid: tree.makeFolder(handle, name, mode, { uid, gid }) };
    },

    renameat({ oldFolderFid, oldName, newFolderFid, newName }) {
      tree.rename(handles.fid(oldFolderFid).handle, oldName, handles.fid(newFolderFid).handle, newName);
      return {};
    },

    unlinkat({ folderFid, name, flags }) {
      tree.remove(handles.fid(folderFid).handle, name, flags & AT_REMOVEDIR ? 'folder' : 'file');
      return {};
    },
  };
}

function accessOf(flags: number): FileAccess {
  const way = flags & OPEN.accessMask;
  const write = way === OPEN.writeOnly || way === OPEN.readWrite;
  return {
    read: way !== OPEN.writeOnly,
    write,
    truncate: write && (flags & OPEN.truncate) !== 0,
    append: (flags & OPEN.append) !== 0,
  };
}

function newTime(isSet: number, isGiven: number, seconds: bigint, nanos: bigint): NewFileTime {
  if (!isSet) return 'unchanged';
  if (!isGiven) return 'now';
  if (nanos >= 1_000_000_000n) throw new FileError(ERRNO.invalid);
  return { seconds: Number(BigInt.asIntN(64, seconds)), nanos: Number(nanos) };
}

/** makedev(3) of glibc. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xffff_f000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn);
}

function unsigned(value: number): bigint {
  return BigInt.asUintN(64, BigInt(value));
}

function bigFields({
  type,
  blockBytes,
  nameBytesMax,
  ...counts
}: import('../../../contract/index.ts').FileSystemStatus) {
  return {
    type,
    blockBytes,
    nameBytesMax,
    blocks: BigInt(counts.blocks),
    freeBlocks: BigInt(counts.freeBlocks),
    availableBlocks: BigInt(counts.availableBlocks),
    files: BigInt(counts.files),
    freeFiles: BigInt(counts.freeFiles),
  };
}
