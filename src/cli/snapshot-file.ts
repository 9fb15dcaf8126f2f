/** Snapshots in files. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { UserError } from '../base/index.ts';
import type { SnapshotSource } from '../machine/index.ts';

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
  } catch (error) {
    await rm(temporary, { force: true });
    throw isSystemError(error) ? new UserError(`cannot write the snapshot ${path}: ${error.message}`) : error;
  }
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}

/** What is wrong with the file is said with its name. */
export async function readSnapshot<Result>(
  path: string,
  read: (source: SnapshotSource) => Promise<Result>,
): Promise<Result> {
  try {
    const fd = openSync(path, 'r');
    try {
      return await read({ readInto: (target) => readSync(fd, target) });
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isSystemError(error)) throw new UserError(`cannot read the snapshot ${path}: ${error.message}`);
    throw error instanceof UserError ? new UserError(`${path}: ${error.message}`) : error;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}
