/** First module of every thread that `nodeThreads` starts: runs the module it is told to. */
import { enableCompileCache } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { ThreadContext } from '../../contract/index.ts';
import type { ThreadData } from './thread.ts';
import { threadContext } from './thread.ts';

const { moduleUrl, doorbell, compileCache } = workerData as ThreadData;
if (compileCache !== undefined) enableCompileCache(compileCache);
const module: { serve(context: ThreadContext): void } = await import(moduleUrl);
if (parentPort === null) throw new Error('thread-entry runs only as a thread');
module.serve(threadContext(parentPort, doorbell));
