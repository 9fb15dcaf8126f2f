/** Cache modes by qemu-img's names (-t, -T). */
import { UserError } from '../../base/index.ts';
import type { CacheMode } from './registry.ts';

const MODES: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writeThrough: false },
  off: { direct: true, noFlush: false, writeThrough: false },
  directsync: { direct: true, noFlush: false, writeThrough: true },
  writeback: { direct: false, noFlush: false, writeThrough: false },
  unsafe: { direct: false, noFlush: true, writeThrough: false },
  writethrough: { direct: false, noFlush: false, writeThrough: true },
};

/** @throws UserError that names the modes; `what` is e.g. `cache option` */
export function cacheModeNamed(name: string, what = 'cache option'): CacheMode {
  if (!Object.hasOwn(MODES, name)) {
    throw new UserError(`Invalid ${what}: ${name}: it is one of ${Object.keys(MODES).join(', ')}`);
  }
  return MODES[name];
}
