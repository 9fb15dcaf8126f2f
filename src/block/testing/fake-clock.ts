/** A clock that jumps to whatever is waited for. */
import type { Clock } from '../../contract/index.ts';

export interface FakeClock extends Clock {
  /** How far it was turned, all in all. */
  readonly elapsedNanos: number;
}

export function fakeClock(): FakeClock {
  let now = 0;
  return {
    get elapsedNanos() {
      return now;
    },
    nowNanos: () => now,
    createTimer: (onExpire) => ({
      deadlineNanos: undefined,
      arm(deadline) {
        setImmediate(() => {
          now = Math.max(now, deadline);
          onExpire();
        });
      },
      cancel() {},
    }),
  };
}
