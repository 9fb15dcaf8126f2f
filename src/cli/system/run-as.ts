/** -runas: the process gives up root's rights. */
import { readFileSync } from 'node:fs';
import { UserError } from '../../base/index.ts';

/** Every group of a user; @types/node does not know it. */
interface InitGroups {
  initgroups(user: string, group: number): void;
}

/** @param text a user's name, or UID:GID. Throws UserError when there is no such user, or the process may not. */
export function runAs(text: string): void {
  const { uid, gid, name } = accountOf(text);
  try {
    if (name === undefined) process.setgroups!([]);
    else (process as unknown as InitGroups).initgroups(name, gid);
    process.setgid!(gid);
    process.setuid!(uid);
  } catch (error) {
    throw new UserError(`-runas ${text}: ${(error as Error).message}`);
  }
}

function accountOf(text: string): { uid: number; gid: number; name?: string } {
  const numbers = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  if (numbers !== null) return { uid: Number(numbers[1]), gid: Number(numbers[2]) };
  const rows = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [name, , uid, gid] = rows.map((row) => row.split(':')).find(([user]) => user === text) ?? [];
  if (name === undefined) throw new UserError(`-runas ${text}: there is no such user; a name or UID:GID works`);
  return { uid: Number(uid), gid: Number(gid), name };
}
