/** Real time as a clock, for networks that stand alone: timers fire in the host's loop. */
import type { Clock } from '../../contract/index.ts';

const TIMEOUT_MAX_MILLIS = 2 ** 31 - 1;

/** Its timers do not keep the process alive. */
export function systemClock(): Clock {
  const nowNanos = () => performance.now() * 1e6;
  return {
    nowNanos,
    createTimer(onExpire) {
      let deadlineNanos: number | undefined;
      let handle: NodeJS.Timeout | undefined;
      const wait = () => {
        const millis = Math.ceil((deadlineNanos! - nowNanos()) / 1e6);
        handle = setTimeout(fire, Math.min(Math.max(0, millis), TIMEOUT_MAX_MILLIS)).unref();
      };
      const fire = () => {
        if (deadlineNanos === undefined) return;
        if (deadlineNanos > nowNanos()) {
          wait();
          return;
        }
        deadlineNanos = undefined;
        onExpire();
      };
      return {
        get deadlineNanos() {
          return deadlineNanos;
        },
        arm(deadline) {
          deadlineNanos = deadline;
          clearTimeout(handle);
          wait();
        },
        cancel() {
          deadlineNanos = undefined;
          clearTimeout(handle);
        },
      };
    },
  };
}
