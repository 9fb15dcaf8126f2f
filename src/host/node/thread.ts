/** The host joint on Node: a thread is a `node:worker_threads` Worker with a doorbell in shared memory. */
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import type { HostThread, ThreadContext, ThreadHost } from '../../contract/index.ts';
import { loadFfi } from './ffi.ts';

/** What the starter hands to a new thread. */
export interface ThreadData {
  readonly moduleUrl: string;
  /** Where Node keeps compiled modules, if it does; a thread has to be told. */
  readonly compileCache: string | undefined;
  /** One Int32, counted up and notified at every post, so that a thread in a short blocking sleep wakes. */
  readonly doorbell: SharedArrayBuffer;
}

/** What a thread allocates dies young: a small young generation is as fast, and keeps the process small. */
const YOUNG_GENERATION_MEBIBYTES = 12;

/** Sleeps of at most this length block the thread, because timers of the event loop are whole milliseconds. */
const PRECISE_SLEEP_NANOS = 2_000_000;
/** For less it is not worth to give the CPU away: to come back takes as long. */
const SPIN_NANOS = 15_000;
/** The longest delay that setTimeout takes. */
const TIMEOUT_MAX_MILLIS = 0x7fff_ffff;

export const nodeThreads: ThreadHost = {
  startThread(moduleUrl) {
    return startWorker(moduleUrl).thread;
  },
};

/**
 * Threads of which the first with that module begins now, before anybody asks for it. Until somebody does, it keeps no
 * process from its end.
 */
export function threadsWithOneAhead(moduleUrl: string): ThreadHost {
  let ahead: ReturnType<typeof startWorker> | undefined = startWorker(moduleUrl);
  ahead.worker.unref();
  return {
    startThread(asked) {
      if (ahead === undefined || asked !== moduleUrl) return nodeThreads.startThread(asked);
      const { worker, thread } = ahead;
      ahead = undefined;
      worker.ref();
      return thread;
    },
  };
}

function startWorker(moduleUrl: string): { worker: Worker; thread: HostThread } {
  const doorbell = new SharedArrayBuffer(4);
  const versioned = getCompileCacheDir();
  const compileCache = versioned === undefined ? undefined : dirname(versioned);
  const workerData: ThreadData = { moduleUrl, doorbell, compileCache };
  const entry = new URL(import.meta.url.endsWith('.ts') ? './thread-entry.ts' : './thread-entry.js', import.meta.url);
  const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MEBIBYTES };
  const worker = new Worker(entry, { workerData, resourceLimits });
  return { worker, thread: hostThread(worker, new Int32Array(doorbell)) };
}

function hostThread(worker: Worker, doorbell: Int32Array): HostThread {
  let ended: string | undefined;
  let onEnd: ((reason: string) => void) | undefined;
  const end = (reason: string) => {
    if (ended !== undefined) return;
    ended = reason;
    onEnd?.(reason);
  };
  worker.on('error', (error) => end(error instanceof Error ? (error.stack ?? error.message) : String(error)));
  worker.on('exit', (code) => end(`the thread ended with code ${code}`));
  const queued: unknown[] = [];
  const queue = (message: unknown) => queued.push(message);
  worker.on('message', queue);
  return {
    post(message, transfer = []) {
      worker.postMessage(message, [...transfer]);
      Atomics.add(doorbell, 0, 1);
      Atomics.notify(doorbell, 0);
    },
    connect(receiver) {
      worker.off('message', queue);
      worker.on('message', receiver);
      for (const message of queued.splice(0)) receiver(message);
    },
    onEnd(receiver) {
      onEnd = receiver;
      if (ended !== undefined) receiver(ended);
    },
    async terminate() {
      ended ??= 'the thread was terminated';
      await worker.terminate();
    },
  };
}

/** Waits for `nanos`, or until the doorbell is no longer what was heard. */
function pause(doorbell: Int32Array, heard: number, nanos: number): 'timed-out' | 'ok' | 'not-equal' {
  if (nanos > SPIN_NANOS) return Atomics.wait(doorbell, 0, heard, nanos / 1e6);
  const end = performance.now() + nanos / 1e6;
  while (Atomics.load(doorbell, 0) === heard) if (performance.now() >= end) return 'timed-out';
  return 'not-equal';
}

/** Linux's prctl PR_SET_TIMERSLACK: by how much the kernel may let this thread's sleeps be late, else 50 µs. */
const PR_SET_TIMERSLACK = 29;

function sharpTimers(): () => void {
  let isDone = process.platform !== 'linux';
  return () => {
    if (isDone) return;
    isDone = true;
    const libc = loadFfi()?.dlopen(null, {
      prctl: { arguments: ['int32', 'uint64', 'uint64', 'uint64', 'uint64'], return: 'int32' },
    });
    libc?.functions.prctl(PR_SET_TIMERSLACK, 1n, 0n, 0n, 0n);
  };
}

/** The thread's side of `hostThread`. */
export function threadContext(port: MessagePort, doorbellBuffer: SharedArrayBuffer): ThreadContext {
  const doorbell = new Int32Array(doorbellBuffer);
  let wakeSleeper: (() => void) | undefined;
  let heard = Atomics.load(doorbell, 0);
  const wake = () => wakeSleeper?.();
  const sharpenTimers = sharpTimers();

  return {
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
    connect(receiver) {
      port.on('message', (message) => {
        receiver(message);
        wake();
      });
    },
    monotonicNanos: () => performance.now() * 1e6,
    wallMillis: () => Date.now(),
    async nextTurn() {
      heard = Atomics.load(doorbell, 0);
      await setImmediate();
    },
    async sleep(nanos, listening = false) {
      if (nanos <= 0) return;
      if (nanos <= PRECISE_SLEEP_NANOS && !listening) {
        sharpenTimers();
        // Without a message there is nothing that needs a turn of the event loop.
        if (pause(doorbell, heard, nanos) !== 'timed-out') await this.nextTurn();
        return;
      }
      // A timeout may come a millisecond late: wake early, and let the caller sleep the rest precisely.
      const early = Math.floor((nanos - PRECISE_SLEEP_NANOS / 2) / 1e6);
      const millis = Math.max(1, Math.min(early, TIMEOUT_MAX_MILLIS));
      await new Promise<void>((resolve) => {
        const timeout = setTimeout(resolve, millis);
        wakeSleeper = () => {
          clearTimeout(timeout);
          resolve();
        };
      });
      wakeSleeper = undefined;
    },
    wake,
  };
}
