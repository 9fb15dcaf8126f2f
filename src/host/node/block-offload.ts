/** Copies between files that the kernel makes by itself: on file systems that share blocks, without moving a byte. */
import { closeSync, constants, openSync } from 'node:fs';
import { libc } from './block-libc.ts';

export interface FileCopier {
  /** False where the kernel cannot; some of the range may have been copied then. */
  copy(sourcePath: string, sourceOffset: number, targetOffset: number, length: number): boolean;
  close(): void;
}

/** Copies to an existing file; undefined where the host has no such call. */
export function fileCopier(targetPath: string): FileCopier | undefined {
  const calls = libc();
  if (calls === undefined) return undefined;
  const target = openSync(targetPath, constants.O_WRONLY);
  const sources = new Map<string, number>();
  const sourceOf = (path: string): number => {
    const known = sources.get(path);
    if (known !== undefined) return known;
    const fd = openSync(path, constants.O_RDONLY);
    sources.set(path, fd);
    return fd;
  };
  return {
    copy(sourcePath, sourceOffset, targetOffset, length) {
      const source = sourceOf(sourcePath);
      for (let done = 0; done < length; ) {
        const count = calls.copyRange(source, sourceOffset + done, target, targetOffset + done, length - done);
        if (count <= 0) return false;
        done += count;
      }
      return true;
    },
    close() {
      for (const fd of [target, ...sources.values()]) closeSync(fd);
    },
  };
}
