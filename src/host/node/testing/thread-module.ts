/** What the threads of thread.test.ts run. */
import type { ThreadContext } from '../../../contract/index.ts';

export type Order =
  | { readonly kind: 'echo'; readonly value: unknown }
  | { readonly kind: 'sleep'; readonly nanos: number; readonly times: number }
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
    else throw new Error('as ordered');
  });
  thread.post('ready');
}
