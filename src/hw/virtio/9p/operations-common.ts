/** Messages that every dialect has: attaching, walking, reading and writing, giving up. */
import { ERRNO, FileError } from '../../../base/index.ts';
import { endAttribute, writeAttribute } from './attributes.ts';
import type { Qid } from './codec.ts';
import { isFolder } from './file-mode.ts';
import type { Fid } from './handles.ts';
import { type COMMON, HEADER_BYTES, NO_FID, type Operations } from './messages.ts';
import type { Tree } from './tree.ts';

/** Before the data of Rread and Rreaddir. */
export const READ_HEADER_BYTES = HEADER_BYTES + 4;

type Common = Omit<typeof COMMON, 'version' | 'flush'>;

/**
 * @param messageBytes the size of messages that was agreed
 * @param readFolder what Tread of a folder gives, where the dialect has that
 */
export function commonOperations(
  tree: Tree,
  messageBytes: number,
  readFolder?: (fid: Fid, offset: bigint, count: number) => Uint8Array,
): Operations<Common> {
  const { handles } = tree;
  const buffer = new Uint8Array(messageBytes);
  return {
    attach({ fid, authFid, tree: name, uid }) {
      if (authFid !== NO_FID) throw new FileError(ERRNO.badDescriptor);
      if (name !== '' && name !== '/') throw new FileError(ERRNO.noEntry);
      const root = handles.hold(handles.root);
      handles.add(fid, root, uid === NO_FID ? undefined : uid);
      return { qid: tree.qid(root) };
    },

    walk({ fid: number, newFid, names }) {
      const fid = handles.fid(number);
      if (number === newFid && fid.file !== undefined) throw new FileError(ERRNO.badDescriptor);
      let at = handles.hold(fid.handle);
      const qids: Qid[] = [];
      for (const name of names) {
        try {
          const next = tree.step(at, name);
          handles.release(at);
          at = next;
          qids.push(tree.qid(at));
        } catch (error) {
          handles.release(at);
          // Part of the way is an answer, but no new fid.
          if (qids.length === 0 || !(error instanceof FileError)) throw error;
          return { qids };
        }
      }
      if (number === newFid) {
        handles.release(fid.handle);
        fid.handle = at;
      } else {
        handles.add(newFid, at, fid.uid);
      }
      return { qids };
    },

    read({ fid: number, offset, count }) {
      const fid = handles.fid(number);
      const room = Math.min(count, messageBytes - READ_HEADER_BYTES);
      const { attribute, file, access } = fid;
      if (attribute?.kind === 'read') {
        const from = Number(offset);
        return { data: attribute.value.subarray(from, from + room) };
      }
      if (file === undefined || !access?.read) throw new FileError(ERRNO.badDescriptor);
      if (readFolder !== undefined && isFolder(tree.status(fid.handle).mode)) {
        return { data: readFolder(fid, offset, room) };
      }
      return { data: buffer.subarray(0, file.read(position(offset), buffer.subarray(0, room))) };
    },

    write({ fid: number, offset, data }) {
      const { attribute, file, access } = handles.fid(number);
      if (attribute !== undefined) {
        writeAttribute(attribute, position(offset), data);
        return { count: data.length };
      }
      if (file === undefined || !access?.write) throw new FileError(ERRNO.badDescriptor);
      return { count: file.write(position(offset), data) };
    },

    clunk({ fid: number }) {
      const fid = handles.fid(number);
      try {
        endAttribute(fid);
      } finally {
        handles.remove(number);
      }
      return {};
    },

    remove({ fid: number }) {
      const { handle } = handles.fid(number);
      try {
        const { parent, name } = handle;
        if (parent === undefined) throw new FileError(ERRNO.notPermitted);
        if (name === undefined) throw new FileError(ERRNO.stale);
        tree.remove(parent, name, isFolder(tree.status(handle).mode) ? 'folder' : 'file');
      } finally {
        handles.remove(number);
      }
      return {};
    },
  };
}

/** An offset in a file that a host can have. */
function position(offset: bigint): number {
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError(ERRNO.invalid);
  return Number(offset);
}
