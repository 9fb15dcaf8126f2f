/** What every machine needs of this computer. */

export { nodeDiscard } from './discard.ts';
export { cacheFolder } from './guest/cache-folder.ts';
export { READY_TEXT } from './guest/init-script.ts';
export { nodeSockets } from './net-sockets.ts';
export { openPages, type Pages } from './pages.ts';
export { nodeThreads } from './thread.ts';
