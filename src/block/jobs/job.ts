/** What all jobs have: progress, a speed limit, pause, resume, cancel; none leaves the disk worse than it was. */
import { UserError } from '../../base/index.ts';
import type { Clock } from '../../contract/index.ts';
import { type LeakyBucket, leakyBucket } from '../filters/throttle.ts';

export type JobState = 'running' | 'paused' | 'ready' | 'completed' | 'cancelled' | 'failed';

export interface JobOptions {
  /** For the speed limit. */
  readonly clock?: Clock;
  /** Without it, as fast as it goes. */
  readonly bytesPerSecond?: number;
  /** Lets others run, before each piece of work: copying must not keep a guest waiting. */
  readonly breathe?: () => Promise<void>;
}

export interface Job {
  readonly state: JobState;
  /** `total` may grow while a guest writes. */
  readonly progress: { readonly doneBytes: number; readonly totalBytes: number };
  pause(): void;
  resume(): void;
  /** 0 takes the limit away. @throws UserError without a clock */
  setSpeed(bytesPerSecond: number): void;
  /** Ends it as soon as what is under way is over; `done` resolves to `cancelled`. */
  cancel(): Promise<void>;
  /** Resolves once the job is ready to complete, for those that go on until they are told; others are never ready. */
  readonly ready: Promise<void>;
  /** Tells a job that is ready to finish. @throws UserError when it is not */
  complete(): void;
  /** How it ended. Rejects when it failed. */
  readonly done: Promise<'completed' | 'cancelled'>;
}

/** What the work of a job uses. */
export interface JobControl {
  addTotal(bytes: number): void;
  /** Waits while paused and as the speed limit says, then counts `bytes` as done. Throws when the job was cancelled. */
  pass(bytes: number): Promise<void>;
  /** Says that the job could complete; resolves when something may be to do: it was told to complete, cancelled, or woken. */
  idle(): Promise<void>;
  /** Ends an `idle`. */
  wake(): void;
  readonly isCompleting: boolean;
  /** Rejects when the job is cancelled; for work that has no other end. */
  readonly cancelled: Promise<never>;
}

class Cancelled extends Error {}

/** Starts the work at once; it returns when the job is complete, and cleans up after itself whatever happens. */
export function startJob(work: (control: JobControl) => Promise<void>, options: JobOptions = {}): Job {
  const { clock } = options;
  let state: JobState = 'running';
  let [doneBytes, totalBytes] = [0, 0];
  let [isPaused, isCancelled, isCompleting, isReady] = [false, false, false, false];
  let bucket: LeakyBucket | undefined;
  let wakeUp: () => void = () => {};
  const { promise: cancelling, resolve: beginCancel } = Promise.withResolvers<void>();
  const { promise: ready, resolve: becomeReady } = Promise.withResolvers<void>();
  const sleep = () =>
    new Promise<void>((resolve) => {
      wakeUp = resolve;
    });
  const setSpeed = (bytesPerSecond: number) => {
    if (bytesPerSecond > 0 && clock === undefined) throw new UserError('a speed limit needs a clock');
    bucket = bytesPerSecond > 0 ? leakyBucket(clock!, { perSecond: bytesPerSecond }) : undefined;
  };
  const checkpoint = async () => {
    while (isPaused && !isCancelled) await sleep();
    if (isCancelled) throw new Cancelled();
  };
  const control: JobControl = {
    addTotal(bytes) {
      totalBytes += bytes;
    },
    async pass(bytes) {
      await checkpoint();
      await options.breathe?.();
      // A cancel does not wait for a slow limit.
      if (bucket !== undefined) await Promise.race([bucket.pass(bytes), cancelling]);
      await checkpoint();
      doneBytes += bytes;
    },
    async idle() {
      isReady = true;
      if (state === 'running') state = 'ready';
      becomeReady();
      if (!isCompleting && !isCancelled) await sleep();
      await checkpoint();
    },
    wake: () => wakeUp(),
    get cancelled() {
      return cancelling.then(() => {
        throw new Cancelled();
      });
    },
    get isCompleting() {
      return isCompleting;
    },
  };
  if (options.bytesPerSecond !== undefined) setSpeed(options.bytesPerSecond);
  const run = async (): Promise<'completed' | 'cancelled'> => {
    try {
      // What starts a job sees it before it does anything.
      await Promise.resolve();
      await work(control);
      state = 'completed';
      return state;
    } catch (error) {
      state = error instanceof Cancelled ? 'cancelled' : 'failed';
      if (error instanceof Cancelled) return 'cancelled';
      throw error;
    } finally {
      becomeReady();
    }
  };
  const done = run();
  done.catch(() => {}); // whoever waits for it gets to know
  const isOver = () => state === 'completed' || state === 'cancelled' || state === 'failed';
  return {
    get state() {
      return state;
    },
    get progress() {
      return { doneBytes, totalBytes };
    },
    pause() {
      if (isOver()) return;
      isPaused = true;
      state = 'paused';
    },
    resume() {
      if (!isPaused) return;
      isPaused = false;
      state = isReady ? 'ready' : 'running';
      wakeUp();
    },
    setSpeed,
    async cancel() {
      isCancelled = true;
      beginCancel();
      wakeUp();
      await done.catch(() => {});
    },
    ready,
    complete() {
      if (!isReady || isOver()) throw new UserError('The job is not ready to be completed');
      isCompleting = true;
      wakeUp();
    },
    done,
  };
}
