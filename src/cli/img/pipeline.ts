/** Many requests under way at once, in bounded memory. */
import { UserError } from '../../base/index.ts';
import { parseBytes } from './arguments.ts';

export interface BufferPool {
  readonly bufferBytes: number;
  /** Waits until one is free. */
  take(): Promise<Uint8Array>;
  giveBack(buffer: Uint8Array): void;
}

/** At most `count` buffers, used again and again: fresh memory costs more than the copying. */
export function bufferPool(count: number, bufferBytes: number): BufferPool {
  const idle: Uint8Array[] = [];
  const waiting: ((buffer: Uint8Array) => void)[] = [];
  let made = 0;
  return {
    bufferBytes,
    async take() {
      const buffer = idle.pop();
      if (buffer !== undefined) return buffer;
      if (made < count) {
        made += 1;
        return new Uint8Array(bufferBytes);
      }
      return new Promise((resolve) => waiting.push(resolve));
    },
    giveBack(buffer) {
      const next = waiting.shift();
      if (next === undefined) idle.push(buffer);
      else next(buffer);
    },
  };
}

export interface Turn {
  /** Settles when everyone with an earlier turn has passed it on, or is done. */
  readonly mine: Promise<void>;
  /** Begins the work of this turn. */
  start(work: () => Promise<void>): void;
  /** Lets the next one begin before this work is done. */
  pass(): void;
}

export interface Turns {
  next(): Turn;
  /** Waits until fewer than `count` are under way. */
  room(count: number): Promise<void>;
  /** Throws what has failed so far. */
  check(): void;
  /** Waits for all that was started. @throws the first failure */
  drain(): Promise<void>;
}

/** Hands out turns, each of which must be started; with `anyOrder` it is always everyone's turn. */
export function inOrder(anyOrder: boolean): Turns {
  const running = new Set<Promise<void>>();
  let last: Promise<void> = Promise.resolve();
  let failure: { readonly error: unknown } | undefined;
  const check = () => {
    if (failure !== undefined) throw failure.error;
  };
  return {
    next() {
      const mine = last;
      const passed = Promise.withResolvers<void>();
      if (!anyOrder) last = passed.promise;
      return {
        mine,
        pass: () => passed.resolve(mine),
        start(work) {
          const request: Promise<void> = work()
            .catch((error: unknown) => {
              failure ??= { error };
            })
            .finally(() => {
              passed.resolve(mine);
              running.delete(request);
            });
          running.add(request);
        },
      };
    },
    async room(count) {
      while (running.size >= count) await Promise.race(running);
    },
    check,
    async drain() {
      while (running.size > 0) await Promise.all(running);
      check();
    },
  };
}

/** Waits before `bytes` more are moved, so that they stay below a rate on the whole; without a rate it never does. */
export type Pace = (bytes: number) => Promise<void>;

/** @param text Bytes a second, as `-r` gives them */
export function paceOf(text: string | undefined, nowMillis = () => performance.now()): Pace {
  if (text === undefined) return async () => {};
  const perSecond = parseBytes(text, 'rate limit');
  if (perSecond === 0) throw new UserError('Invalid rate limit: it must be at least 1 byte a second');
  let free = nowMillis();
  return async (bytes) => {
    const wait = free - nowMillis();
    free = Math.max(free, nowMillis()) + (bytes / perSecond) * 1000;
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  };
}
