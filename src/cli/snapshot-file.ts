/** Snapshots in files. */
import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { UserError } from '../base/index.ts';
import { openPages } from '../host/node/machine.ts';
import type { SnapshotSource } from '../machine/index.ts';
import { wholeFiles } from './whole-files.ts';

/** The note of what stood on the console's last line. */
export const LAST_LINE = 'console';

/** Writes pieces to a file that appears when it is whole, in place of an older one. */
export async function writeSnapshot(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      for await (const piece of pieces) await writeAll(file, piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    wholeFiles().add(await stat(path, { bigint: true }));
  } catch (error) {
    await rm(temporary, { force: true });
    throw isSystemError(error) ? new UserError(`cannot write the snapshot ${path}: ${error.message}`) : error;
  }
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}

/** Shorter pieces are read: each that is mapped is a mapping of the process, of which there may not be too many. */
const MAPPED_MIN_BYTES = 64 * 1024;
const MAPPINGS_MAX = 4096;

/** What is wrong with the file is said with its name. */
export async function readSnapshot<Result>(
  path: string,
  read: (source: SnapshotSource) => Promise<Result>,
): Promise<Result> {
  try {
    const fd = openSync(path, 'r');
    try {
      const known = wholeFiles();
      const file = fstatSync(fd, { bigint: true });
      const isWhole = known.has(file);
      const result = await read(isWhole ? mappedSource(fd) : { readInto: (target) => readSync(fd, target) });
      if (!isWhole) known.add(file);
      return result;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isSystemError(error)) throw new UserError(`cannot read the snapshot ${path}: ${error.message}`);
    throw error instanceof UserError ? new UserError(`${path}: ${error.message}`) : error;
  }
}

/** Large pieces come into memory when they are first touched. */
function mappedSource(fd: number): SnapshotSource {
  const pages = openPages();
  let [place, mappings] = [0, 0];
  return {
    readInto(target) {
      const count = readSync(fd, target, 0, target.length, place);
      place += count;
      return count;
    },
    mapInto({ buffer, byteOffset, length }) {
      if (length < MAPPED_MIN_BYTES || mappings >= MAPPINGS_MAX || !(buffer instanceof SharedArrayBuffer)) return false;
      if (!pages?.mapFile(buffer, byteOffset, length, fd, place)) return false;
      mappings++;
      place += length;
      return true;
    },
  };
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}
