/** A cable between two links, for example from a switch's port to a user-mode network. */
import type { NetLink, UnfinishedFrame } from '../../contract/index.ts';
import type { Timers } from '../timers.ts';
import { copyOf } from '../wire/bytes.ts';

const QUEUE_MAX = 1024;

interface Waiting {
  readonly frame: Uint8Array;
  readonly unfinished: UnfinishedFrame | undefined;
}

/** What comes from one goes to the other, a moment later: a receiver must not send from within. */
export function joinLinks(a: NetLink, b: NetLink, timers: Timers): void {
  connectOneWay(a, b, timers);
  connectOneWay(b, a, timers);
}

function connectOneWay(from: NetLink, to: NetLink, timers: Timers): void {
  let queue: Waiting[] = [];
  let isRefused = false;
  const timer = timers.create(() => {
    const waiting = queue;
    queue = [];
    for (const { frame, unfinished } of waiting) to.send(frame, unfinished);
    if (isRefused) {
      isRefused = false;
      from.resume();
    }
  });
  from.connect({
    takes: to.takes,
    receive(frame, unfinished) {
      isRefused = queue.length >= QUEUE_MAX;
      if (isRefused) return false;
      queue.push({ frame: copyOf(frame), unfinished });
      if (!timer.isRunning) timer.start(0);
      return true;
    },
  });
}
