/** Where Vireo keeps what it can make again. */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Vireo's folder under the user's cache folder (XDG Base Directory Specification). */
export function cacheFolder(environment: NodeJS.ProcessEnv): string {
  const base = environment.XDG_CACHE_HOME;
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache'), 'vireo');
}
