/** Filters for looking and for testing: a log of requests, delays, faults. */
import { IoError, type IoErrorCode, UserError } from '../../base/index.ts';
import type { BlockNode, Clock } from '../../contract/index.ts';
import { passThrough } from './pass.ts';

export type RequestKind = 'read' | 'write' | 'flush' | 'discard' | 'writeZeroes';

/** Calls `before` ahead of each request and `after` when it has settled. */
function watching(
  next: BlockNode,
  before: (kind: RequestKind, offset: number, length: number) => Promise<void> | void,
  after: (kind: RequestKind, offset: number, length: number, failure: unknown) => void = () => {},
): BlockNode {
  const run = async (kind: RequestKind, offset: number, length: number, body: () => Promise<void>) => {
    let failure: unknown;
    try {
      await before(kind, offset, length);
      await body();
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      after(kind, offset, length, failure);
    }
  };
  return passThrough(next, {
    read: (offset, target) => run('read', offset, target.length, () => next.read(offset, target)),
    write: (offset, source) => run('write', offset, source.length, () => next.write(offset, source)),
    flush: () => run('flush', 0, 0, () => next.flush()),
    discard: (offset, length) => run('discard', offset, length, () => next.discard!(offset, length)),
    writeZeroes: (offset, length, how) =>
      run('writeZeroes', offset, length, () => next.writeZeroes!(offset, length, how)),
  });
}

export interface LogOptions {
  /** Takes a line for each request that has settled: number, kind, offset, length, and why it failed if it did. */
  readonly onLine: (line: string) => void;
}

export function logFilter(next: BlockNode, { onLine }: LogOptions): BlockNode {
  let count = 0;
  return watching(
    next,
    () => {},
    (kind, offset, length, failure) => {
      count += 1;
      const reason = failure === undefined ? '' : ` failed: ${failure instanceof Error ? failure.message : failure}`;
      onLine(`${count} ${kind} ${offset} ${length}${reason}`);
    },
  );
}

export interface DelayOptions {
  readonly clock: Clock;
  readonly nanos: Readonly<Partial<Record<RequestKind, number>>>;
}

/** Each request of a kind waits so long before it begins. */
export function delayFilter(next: BlockNode, { clock, nanos }: DelayOptions): BlockNode {
  return watching(next, (kind) => {
    const pause = nanos[kind];
    if (pause === undefined) return;
    return new Promise((resolve) => clock.createTimer(resolve).arm(clock.nowNanos() + pause));
  });
}

export interface Fault {
  readonly on: RequestKind;
  readonly error: IoErrorCode;
  /** Only requests that touch this range; without it, any. */
  readonly range?: { readonly offset: number; readonly length: number };
  /** Lets so many matching requests through first. */
  readonly after?: number;
  /** Fails so many and then no more; without it, all. */
  readonly times?: number;
}

/** Requests that fail as a disk's do (QEMU's blkdebug). @throws UserError for counts that are none */
export function faultFilter(next: BlockNode, faults: readonly Fault[]): BlockNode {
  const rules = faults.map((fault) => {
    const { after = 0, times = Number.POSITIVE_INFINITY } = fault;
    if (!(after >= 0) || !(times >= 0)) throw new UserError('the counts of a fault may not be negative');
    return { fault, skip: after, left: times };
  });
  return watching(next, (kind, offset, length) => {
    for (const rule of rules) {
      const { on, range, error } = rule.fault;
      const isInside = range === undefined || (offset < range.offset + range.length && offset + length > range.offset);
      if (on !== kind || !isInside) continue;
      if (rule.skip > 0) rule.skip -= 1;
      else if (rule.left > 0) {
        rule.left -= 1;
        throw new IoError(error, `a fault was injected into ${kind} of ${length} bytes at ${offset}`);
      }
    }
  });
}
