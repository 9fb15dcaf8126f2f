/** Files that a person names on the command line. */
import { open } from 'node:fs/promises';
import { UserError } from '../base/index.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'permission denied',
  ENOTDIR: 'a part of the path is not a folder',
};
const CHUNK_BYTES = 1024 * 1024;

/**
 * The content of a file, or of a pipe.
 * @param what Names it in complaints, e.g. `kernel`.
 * @throws UserError when it cannot be read or has more than `limitBytes`
 */
export async function readUserFile(what: string, path: string, limitBytes: number): Promise<Uint8Array> {
  try {
    await using file = await open(path);
    const parts: Uint8Array[] = [];
    for (let size = 0; ; ) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) return new Uint8Array(Buffer.concat(parts));
      size += bytesRead;
      if (size > limitBytes) throw new UserError(`the ${what} ${path} is larger than the guest's memory`);
      parts.push(buffer.subarray(0, bytesRead));
    }
  } catch (error) {
    if (error instanceof UserError || !(error instanceof Error)) throw error;
    const reason = REASONS[(error as NodeJS.ErrnoException).code ?? ''] ?? error.message;
    throw new UserError(`cannot read the ${what} ${path}: ${reason}`);
  }
}
