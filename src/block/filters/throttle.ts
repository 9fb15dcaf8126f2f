/** Limits of bytes and requests in a second, as leaky buckets (QEMU, docs/throttle.txt). */
import { UserError } from '../../base/index.ts';
import type { BlockNode, Clock } from '../../contract/index.ts';
import { passThrough } from './pass.ts';

export interface ThrottleLimit {
  /** Bytes or requests in a second, on average. */
  readonly perSecond: number;
  /** What may come at once after a pause; default: a tenth of a second's worth. */
  readonly burst?: number;
}

/** Which requests a limit counts, and what of them. */
export type ThrottleKind = 'bps-total' | 'bps-read' | 'bps-write' | 'iops-total' | 'iops-read' | 'iops-write';

export interface ThrottleOptions {
  readonly clock: Clock;
  readonly limits: Readonly<Partial<Record<ThrottleKind, ThrottleLimit>>>;
}

/** Lets amounts through as fast as its limit allows, in order. */
export interface LeakyBucket {
  /** Settles when `amount` may go; it counts from then on. */
  pass(amount: number): Promise<void>;
}

const NANOS = 1e9;

/** @throws UserError for a limit that is none */
export function leakyBucket(clock: Clock, { perSecond, burst = perSecond / 10 }: ThrottleLimit): LeakyBucket {
  if (!(perSecond > 0) || !(burst >= 0)) throw new UserError(`a limit of ${perSecond} a second is not possible`);
  let level = 0;
  let atNanos = clock.nowNanos();
  let last: Promise<void> = Promise.resolve();
  const leak = () => {
    const now = clock.nowNanos();
    level = Math.max(0, level - ((now - atNanos) / NANOS) * perSecond);
    atNanos = now;
  };
  const take = async (amount: number) => {
    leak();
    // A request larger than the bucket goes when the bucket is empty enough, and is paid for afterwards.
    while (level > burst) {
      await sleep(clock, ((level - burst) / perSecond) * NANOS);
      leak();
    }
    level += amount;
  };
  return {
    pass(amount) {
      const passed = last.then(() => take(amount));
      last = passed;
      return passed;
    },
  };
}

function sleep(clock: Clock, nanos: number): Promise<void> {
  // At least a microsecond, so that what rounding leaves cannot make it spin.
  return new Promise((resolve) => clock.createTimer(resolve).arm(clock.nowNanos() + Math.max(1000, Math.ceil(nanos))));
}

export function throttleFilter(next: BlockNode, { clock, limits }: ThrottleOptions): BlockNode {
  const buckets = Object.entries(limits).map(([kind, limit]) => {
    const [unit, which] = kind.split('-');
    return { countsBytes: unit === 'bps', which, bucket: leakyBucket(clock, limit) };
  });
  const wait = async (direction: 'read' | 'write', bytes: number) => {
    for (const { countsBytes, which, bucket } of buckets) {
      if (which === 'total' || which === direction) await bucket.pass(countsBytes ? bytes : 1);
    }
  };
  return passThrough(next, {
    async read(offset, target) {
      await wait('read', target.length);
      await next.read(offset, target);
    },
    async write(offset, source) {
      await wait('write', source.length);
      await next.write(offset, source);
    },
    async writeZeroes(offset, length, how) {
      await wait('write', length);
      await next.writeZeroes!(offset, length, how);
    },
    async discard(offset, length) {
      await wait('write', length);
      await next.discard!(offset, length);
    },
  });
}
