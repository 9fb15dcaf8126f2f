/** A machine's thread with the software CPU. */
import { createTcg } from '../../accel/index.ts';
import type { ThreadContext } from '../../contract/index.ts';
import { serveMachine } from '../serve.ts';
import { testBackends } from './backends.ts';

export function serve(thread: ThreadContext): void {
  serveMachine(thread, createTcg, testBackends);
}
