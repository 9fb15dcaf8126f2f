/**
 * Which large files are known to be whole, because this user's programs have written them or read them to their end. A
 * file is another one when its inode, size or times are; who changes a file cannot help changing those.
 */
import { type BigIntStats, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../host/node/machine.ts';

/** Notes that are kept; the oldest go first. */
const NOTES_MAX = 256;

export interface WholeFiles {
  has(file: BigIntStats): boolean;
  add(file: BigIntStats): void;
}

/** In the user's cache folder. Where there can be none, no file is known. */
export function wholeFiles(folder = join(cacheFolder(process.env), 'whole')): WholeFiles {
  const pathOf = ({ dev, ino }: BigIntStats) => join(folder, `${dev}-${ino}`);
  const noteOf = ({ size, mtimeNs, ctimeNs }: BigIntStats) => `${size} ${mtimeNs} ${ctimeNs}\n`;
  return {
    has(file) {
      try {
        return readFileSync(pathOf(file), 'latin1') === noteOf(file);
      } catch {
        return false;
      }
    },
    add(file) {
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        writeFileSync(pathOf(file), noteOf(file), { mode: 0o600 });
        forgetOldest(folder);
      } catch {
        // It will be read to its end again.
      }
    },
  };
}

function forgetOldest(folder: string): void {
  const names = readdirSync(folder);
  if (names.length <= NOTES_MAX) return;
  const notes = names.map((name) => ({ path: join(folder, name), millis: statSync(join(folder, name)).mtimeMs }));
  notes.sort((a, b) => a.millis - b.millis);
  for (const { path } of notes.slice(0, names.length - NOTES_MAX)) rmSync(path, { force: true });
}
