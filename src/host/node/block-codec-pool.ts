/** Packing and unpacking clusters in threads of their own, when there are many; see block-codec.ts. */
import { getCompileCacheDir } from 'node:module';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { CodecKind } from './block-codec.ts';
import { type CodecJob, codecSlots, SLOT_BYTES, SLOTS } from './block-codec-slots.ts';

const THREADS_MAX = 4;
/** So many clusters come before threads are started: those of a small image are done sooner than a thread is. */
const WARM_UP_CALLS = 16;
const HEAP_MEBIBYTES = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32, stackSizeMb: 1 };

/** A thread knows nothing of compiled code that is kept, unless it is told before its first module. */
const BEGINNING = `
const { cache, entry } = require('node:worker_threads').workerData;
if (cache !== undefined) require('node:module').enableCompileCache(cache);
import(entry);
`;

export interface CodecPool {
  /** Undefined when the pool does not take it: no threads (yet), or too large. The inner one: it did not become smaller. */
  compress(kind: CodecKind, source: Uint8Array): Promise<Uint8Array | undefined> | undefined;
  /** Undefined when the pool does not take it; false when the stream is broken or of another length. */
  decompress(kind: CodecKind, source: Uint8Array, target: Uint8Array): Promise<boolean> | undefined;
  /** Takes back what \`compress\` returned, to be used again. */
  giveBack(packed: Uint8Array): void;
}

interface Job {
  readonly resolve: (result: number) => void;
  readonly reject: (error: Error) => void;
}

export function codecPool(warmUpCalls = WARM_UP_CALLS): CodecPool {
  const slots = codecSlots();
  const idle = Array.from({ length: SLOTS }, (_, slot) => slot);
  const waiting: ((slot: number) => void)[] = [];
  const jobs = new Map<number, Job>();
  const results: Uint8Array[] = [];
  /** Buffers of results that came from here. */
  const made = new WeakMap<ArrayBufferLike, Uint8Array>();
  const workers: Worker[] = [];
  let calls = 0;
  let state: 'cold' | 'starting' | 'ready' | 'failed' = 'cold';

  const fail = (error: Error) => {
    state = 'failed';
    for (const { reject } of jobs.values()) reject(error);
    jobs.clear();
    for (const worker of workers.splice(0)) void worker.terminate();
  };
  const collect = () =>
    slots.collect((slot, result) => {
      const job = jobs.get(slot);
      jobs.delete(slot);
      // The process may end while threads have nothing to do.
      if (jobs.size === 0) for (const worker of workers) worker.unref();
      job?.resolve(result);
    });
  const start = () => {
    state = 'starting';
    const entry = `./block-codec-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`;
    const workerData = {
      memory: slots.memory,
      entry: new URL(entry, import.meta.url).href,
      cache: getCompileCacheDir(),
    };
    for (let i = 0; i < Math.min(availableParallelism(), THREADS_MAX); i += 1) {
      const worker = new Worker(BEGINNING, { eval: true, workerData, resourceLimits: HEAP_MEBIBYTES });
      worker.on('error', fail);
      worker.on('message', (message) => {
        if (message === 'done') collect();
        else if (message === 'none') fail(new Error('no codec'));
        else if (state === 'starting') state = 'ready';
      });
      worker.unref(); // after the listeners, which hold it
      workers.push(worker);
    }
  };
  const copyOf = (packed: Uint8Array): Uint8Array => {
    const buffer = results.pop() ?? new Uint8Array(SLOT_BYTES);
    made.set(buffer.buffer, buffer);
    buffer.set(packed);
    return buffer.subarray(0, packed.length);
  };
  const takes = (sourceBytes: number, targetBytes: number): boolean => {
    calls += 1;
    if (state === 'cold' && calls > warmUpCalls) start();
    return state === 'ready' && sourceBytes <= SLOT_BYTES && targetBytes <= SLOT_BYTES;
  };
  /** Runs a job in a slot; `use` gets its result before the slot is used again. */
  const run = async <T>(
    job: CodecJob,
    source: Uint8Array,
    targetBytes: number,
    use: (slot: number, n: number) => T,
  ) => {
    const slot = idle.pop() ?? (await new Promise<number>((resolve) => waiting.push(resolve)));
    try {
      if (state !== 'ready') throw new Error('the threads ended');
      slots.source(slot).set(source);
      if (jobs.size === 0) for (const worker of workers) worker.ref();
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      jobs.set(slot, { resolve, reject });
      slots.submit(slot, job, source.length, targetBytes);
      return use(slot, await promise);
    } finally {
      const next = waiting.shift();
      if (next === undefined) idle.push(slot);
      else next(slot);
    }
  };
  return {
    compress(kind, source) {
      // One byte less than the source: what does not fit is not worth storing.
      const limit = source.length - 1;
      if (!takes(source.length, limit)) return undefined;
      return run(`pack ${kind}`, source, limit, (slot, length) =>
        length === 0 ? undefined : copyOf(slots.target(slot).subarray(0, length)),
      );
    },
    giveBack(packed) {
      const buffer = made.get(packed.buffer);
      if (buffer !== undefined && results.length < SLOTS) results.push(buffer);
    },
    decompress(kind, source, target) {
      if (!takes(source.length, target.length)) return undefined;
      return run(`unpack ${kind}`, source, target.length, (slot, result) => {
        if (result === 1) target.set(slots.target(slot).subarray(0, target.length));
        return result === 1;
      });
    },
  };
}
