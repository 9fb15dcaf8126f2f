/** A machine's thread with the fake CPU. */
import type { ThreadContext } from '../../contract/index.ts';
import { serveMachine } from '../serve.ts';
import { testBackends } from './backends.ts';
import { createFakeAccelerator } from './fake-cpu.ts';

export function serve(thread: ThreadContext): void {
  serveMachine(thread, createFakeAccelerator, testBackends);
}
