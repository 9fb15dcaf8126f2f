/** The value of `--vsock`: `PATH[,cid=NUMBER]`; a comma in a name is written twice. */
import { resolve } from 'node:path';
import type { VsockOptions } from '../machine/index.ts';
import { splitCommas, suggestion, UsageError } from './options.ts';

export const VSOCK_VALUE = 'PATH[,cid=NUMBER]';

/** @throws UsageError that names what is wrong */
export function parseVsock(text: string): VsockOptions {
  const [path, ...settings] = splitCommas(text);
  if (path === '') throw new UsageError(`--vsock ${text}: the path comes first, as in --vsock ${VSOCK_VALUE}`);
  let guestCid: number | undefined;
  for (const setting of settings) {
    const [, name, , value] = /^([^=]*)(=(.*))?$/s.exec(setting) ?? [];
    if (name === 'cid' && value !== undefined && /^\d{1,10}$/.test(value)) guestCid = Number(value);
    else throw new UsageError(`--vsock: unknown setting "${setting}"${suggestion(name, ['cid'])}`);
  }
  return { path: resolve(path), guestCid };
}
