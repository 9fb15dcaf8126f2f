/** A machine's thread with KVM. */
import { createKvm } from '../../accel/index.ts';
import type { ThreadContext } from '../../contract/index.ts';
import { nodeKvmHost } from '../../host/node/index.ts';
import { serveMachine } from '../serve.ts';
import { testBackends } from './backends.ts';

export function serve(thread: ThreadContext): void {
  const monotonicNanos = () => thread.monotonicNanos();
  serveMachine(thread, async (options) => createKvm(nodeKvmHost(), { monotonicNanos, ...options }), testBackends);
}
