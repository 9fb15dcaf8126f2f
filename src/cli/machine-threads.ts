/** The threads that machines live in. A program that will make a machine begins its thread before anything else. */
import type { ThreadHost } from '../contract/index.ts';
import { threadsWithOneAhead } from '../host/node/thread.ts';

/** What a machine's thread runs; beside this file, in the sources and when built. */
export const MACHINE_THREAD = new URL(
  import.meta.url.endsWith('.ts') ? './machine-thread.ts' : './machine-thread.js',
  import.meta.url,
).href;

/** The machine's thread loads its modules while the program finds out which machine it is to be. */
export function threadsForMachine(): ThreadHost {
  return threadsWithOneAhead(MACHINE_THREAD);
}
