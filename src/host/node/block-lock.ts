/**
 * Image locks as QEMU takes them (docs/system/qemu-block-drivers, "Disk image
 * file locking"): shared byte-range locks say what a user does (from byte 100)
 * and what it does not allow others (from byte 200); a conflict shows when the
 * opposite byte is locked by someone else.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { libc } from './block-libc.ts';

const USED_BASE = 100;
const REFUSED_BASE = 200;
const PERMISSIONS = { 'consistent read': 0, write: 1, resize: 3 } as const;
type Permission = keyof typeof PERMISSIONS;

/** Locks an open image; closing the file gives the lock back. @throws UserError that names who has it */
export function lockImage(fd: number, path: string, readOnly: boolean): void {
  const calls = libc();
  if (calls === undefined) return;
  const used: Permission[] = readOnly ? ['consistent read'] : ['consistent read', 'write', 'resize'];
  const refused: Permission[] = ['write', 'resize'];
  const taken: number[] = [];
  const fail = (permission: Permission) => {
    for (const byte of taken) calls.unlock(fd, byte);
    throw new UserError(`Failed to get "${permission}" lock on ${path}: ${holderOf(path)}`);
  };
  const take = (byte: number, permission: Permission) => {
    if (!calls.lockShared(fd, byte)) fail(permission);
    taken.push(byte);
  };
  for (const permission of used) take(USED_BASE + PERMISSIONS[permission], permission);
  for (const permission of refused) take(REFUSED_BASE + PERMISSIONS[permission], permission);
  for (const permission of used) {
    if (calls.isLocked(fd, REFUSED_BASE + PERMISSIONS[permission])) fail(permission);
  }
  for (const permission of refused) {
    if (calls.isLocked(fd, USED_BASE + PERMISSIONS[permission])) fail(permission);
  }
}

/** Processes that have the file open, besides this one. */
function holderOf(path: string): string {
  const file = statSync(path);
  const holders = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && has(pid));
  const named = holders.map((pid) => `process ${pid} (${nameOf(pid)})`);
  return named.length === 0 ? 'another process has the image open' : `${named.join(', ')} has the image open`;

  function has(pid: string): boolean {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => {
        const other = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false });
        return other?.ino === file.ino && other.dev === file.dev;
      });
    } catch {
      return false;
    }
  }
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'ended meanwhile';
  }
}
