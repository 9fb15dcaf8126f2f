/** What the threads of thread.test.ts run. */
import { readFile } from 'node:fs/promises';
import type { ThreadContext } from '../../../contract/index.ts';

export type Order =
  | { readonly kind: 'echo'; readonly value: unknown }
  | { readonly kind: 'sleep'; readonly nanos: number; readonly times: number }
  /** Sleeps until the host has read a file, at most `nanos`; answers with the time it took. */
  | { readonly kind: 'sleep-listening'; readonly nanos: number }
  | { readonly kind: 'throw' };

export function serve(thread: ThreadContext): void {
  const sleep = async (nanos: number, times: number) => {
    const start = thread.monotonicNanos();
    for (let count = 0; count < times; count++) {
      const end = thread.monotonicNanos() + nanos;
      for (let left = nanos; left > 0; left = end - thread.monotonicNanos()) await thread.sleep(left);
    }
    thread.post(thread.monotonicNanos() - start);
  };
  thread.connect((message) => {
    const order = message as Order;
    if (order.kind === 'echo') thread.post(order.value);
    else if (order.kind === 'sleep') void sleep(order.nanos, order.times);
    else if (order.kind === 'sleep-listening') {
      const start = thread.monotonicNanos();
      void readFile(new URL(import.meta.url)).then(() => thread.wake());
      void thread.sleep(order.nanos, true).then(() => thread.post(thread.monotonicNanos() - start));
    } else throw new Error('as ordered');
  });
  thread.post('ready');
}
