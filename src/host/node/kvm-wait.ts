/** One blocking wait for event counters and this thread's event loop (libuv's backend descriptor, as its embedding guide has it). */
import { type KvmLibc, kvmLibc } from './kvm-libc.ts';

const EPOLL_CLOEXEC = 0x8_0000;
const EPOLL_CTL = { add: 1, remove: 2 } as const;
const EPOLLIN = 1;
const EVENT_BYTES = 12; // packed on x86-64
const EVENTS_MAX = 8;

export function nodeEventWait(libc: KvmLibc = kvmLibc()) {
  const fd = libc.epollCreate(EPOLL_CLOEXEC);
  const control = (operation: number, target: number) => {
    const event = new DataView(new ArrayBuffer(EVENT_BYTES));
    event.setUint32(0, EPOLLIN, true);
    event.setInt32(4, target, true);
    libc.epollControl(fd, operation, target, new Uint8Array(event.buffer));
  };
  const events = new Uint8Array(EVENT_BYTES * EVENTS_MAX);
  const eventView = new DataView(events.buffer);
  const timeout = new BigInt64Array(2);
  const timeoutBytes = new Uint8Array(timeout.buffer);
  control(EPOLL_CTL.add, libc.eventLoopFd);
  return {
    add: (counter: number) => control(EPOLL_CTL.add, counter),
    remove: (counter: number) => control(EPOLL_CTL.remove, counter),
    wait(nanos: number, onEvent: (fd: number) => void): boolean {
      // Counters are looked at even when the event loop has something to do: it might always have.
      const millis = loopTimeout(libc);
      const loopNanos = millis < 0 ? Number.POSITIVE_INFINITY : millis * 1e6;
      const limited = Math.max(0, Math.min(nanos, loopNanos, 1e12));
      timeout[0] = BigInt(Math.floor(limited / 1e9));
      timeout[1] = BigInt(Math.floor(limited % 1e9));
      let loopReady = millis === 0;
      let count: number;
      do {
        count = libc.epollWait(fd, events, EVENTS_MAX, timeoutBytes, 0n);
        if (count <= 0 && loopNanos <= nanos) loopReady = true;
        for (let i = 0; i < count; i++) {
          const ready = eventView.getInt32(i * EVENT_BYTES + 4, true);
          if (ready === libc.eventLoopFd) loopReady = true;
          else onEvent(ready);
        }
        timeout.fill(0n);
      } while (count === EVENTS_MAX); // there may be more
      return loopReady;
    },
    close: () => void libc.close(fd),
  };
}

/**
 * As `eventLoopTimeout`. In what an immediate calls, libuv still counts that immediate as something to do; making and
 * clearing another one lets Node count again.
 */
function loopTimeout(libc: KvmLibc): number {
  const millis = libc.eventLoopTimeout();
  if (millis !== 0) return millis;
  clearImmediate(setImmediate(() => {}));
  return libc.eventLoopTimeout();
}
