/** Threads that are not worth their start while others have something to do first. */
import type { HostThread } from '../contract/index.ts';

/** A thread that begins with its second message: the first only says what it is for. */
export function threadInNeed(start: () => HostThread): HostThread {
  let thread: HostThread | undefined;
  let first: Parameters<HostThread['post']> | undefined;
  let receiver: ((message: unknown) => void) | undefined;
  let onEnd: ((reason: string) => void) | undefined;
  return {
    post(...message) {
      if (first === undefined) {
        first = message;
        return;
      }
      if (thread === undefined) {
        thread = start();
        if (receiver) thread.connect(receiver);
        if (onEnd) thread.onEnd(onEnd);
        thread.post(...first);
      }
      thread.post(...message);
    },
    connect(given) {
      receiver = given;
      thread?.connect(given);
    },
    onEnd(given) {
      onEnd = given;
      thread?.onEnd(given);
    },
    async terminate() {
      await thread?.terminate();
    },
  };
}
