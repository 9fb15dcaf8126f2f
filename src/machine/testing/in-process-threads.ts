/** Threads that are none: both ends run in one event loop, for tests of what is above the host. */
import { setImmediate } from 'node:timers/promises';
import type { HostThread, ThreadContext, ThreadHost, ThreadPort } from '../../contract/index.ts';

export const inProcessThreads: ThreadHost = {
  startThread(moduleUrl) {
    const [outer, inner] = portPair();
    let onEnd = (_reason: string) => {};
    void import(moduleUrl).then(
      (module) => module.serve(threadContext(inner)),
      (error) => onEnd(String(error)),
    );
    const thread: HostThread = {
      ...outer,
      onEnd(receiver) {
        onEnd = receiver;
      },
      async terminate() {
        inner.post = () => {};
      },
    };
    return thread;
  },
};

/** Two connected ports; messages are cloned and arrive in a later turn. */
function portPair(): [ThreadPort, ThreadPort] {
  const receivers: (((message: unknown) => void) | undefined)[] = [];
  const queues: unknown[][] = [[], []];
  const deliver = (side: number) => {
    const receiver = receivers[side];
    if (receiver !== undefined) for (const message of queues[side].splice(0)) receiver(message);
  };
  const port = (side: number): ThreadPort => ({
    post(message) {
      queues[1 - side].push(structuredClone(message));
      void setImmediate().then(() => deliver(1 - side));
    },
    connect(receiver) {
      receivers[side] = receiver;
      deliver(side);
    },
  });
  return [port(0), port(1)];
}

function threadContext(port: ThreadPort): ThreadContext {
  let wakeSleeper = () => {};
  const wake = () => wakeSleeper();
  return {
    post: (message) => port.post(message),
    connect: (receiver) =>
      port.connect((message) => {
        receiver(message);
        wake();
      }),
    monotonicNanos: () => performance.now() * 1e6,
    wallMillis: () => Date.now(),
    async nextTurn() {
      await setImmediate();
    },
    async sleep(nanos) {
      await new Promise<void>((resolve) => {
        const timeout = setTimeout(resolve, Math.min(nanos / 1e6, 1e6));
        wakeSleeper = () => {
          clearTimeout(timeout);
          resolve();
        };
      });
    },
    wake,
  };
}
