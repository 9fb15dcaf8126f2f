/** A folder served read-only; nothing outside it can be opened, whatever the path and the links in it say. */

import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { HostFile, HostFolder } from '../../contract/index.ts';

const PATH_MAX = 1024;

export function nodeFolder(root: string): HostFolder {
  return {
    async open(path) {
      if (path.length > PATH_MAX || path.includes('\0')) return undefined;
      let handle: FileHandle | undefined;
      try {
        const realRoot = await realpath(root);
        const realFile = await realpath(join(realRoot, join('/', path)));
        if (!realFile.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return undefined;
        handle = await open(realFile, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        // A folder on the way may have become a link since: what was opened is asked where it is.
        const opened = process.platform === 'linux' ? await realpath(`/proc/self/fd/${handle.fd}`) : realFile;
        const status = await handle.stat();
        if (opened === realFile && status.isFile()) return fileOf(handle, status.size);
      } catch {
        // Missing, unreadable, or not to be followed: not served.
      }
      await handle?.close();
      return undefined;
    },
  };
}

function fileOf(handle: FileHandle, sizeBytes: number): HostFile {
  return {
    sizeBytes,
    read: async (offset, target) => (await handle.read(target, 0, target.length, offset)).bytesRead,
    close: () => handle.close(),
  };
}
