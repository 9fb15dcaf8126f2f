/** Which of a storage device's requests are carried out now. */
import type { Virtqueue } from './queue.ts';

/** Requests that are carried out at once; more wait, as many as there are ring entries. Each holds 1 MiB at most. */
const ACTIVE_MAX = 64;

type Job = () => Promise<void>;

/**
 * After a reset no job begins before those of the time before it have ended,
 * so that an old write cannot land on a new one.
 */
export class Schedule {
  #active = 0;
  #activeBefore = 0;
  #era = 0;
  #waiting: Job[] = [];
  #idleWaiters: (() => void)[] = [];

  /** @param job rejects only by a mistake of ours */
  add(job: Job): void {
    this.#waiting.push(job);
    this.#next();
  }

  /** False while a job of the time before a reset may still change the disk: then nothing else may. */
  get isClear(): boolean {
    return this.#activeBefore === 0;
  }

  reset(): void {
    this.#waiting = [];
    this.#activeBefore += this.#active;
    this.#active = 0;
    this.#era++;
    this.#next();
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle(): Promise<void> {
    if (this.#active + this.#activeBefore + this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #next(): void {
    while (this.#activeBefore === 0 && this.#active < ACTIVE_MAX && this.#waiting.length > 0) {
      const job = this.#waiting.shift()!;
      const era = this.#era;
      this.#active++;
      void job().then(() => this.#ended(era));
    }
    if (this.#active + this.#activeBefore + this.#waiting.length > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #ended(era: number): void {
    if (era === this.#era) this.#active--;
    else this.#activeBefore--;
    this.#next();
  }
}

/**
 * What a queue does when it is notified: `serve`, or with `gather` what it makes of it; while the queue waits for its
 * moment the driver need not notify again.
 */
export function whenNotified(
  serve: (queue: Virtqueue) => void,
  gather: ((work: () => void) => void) | undefined,
): (queue: Virtqueue) => void {
  if (gather === undefined) return serve;
  let isWaiting = false;
  return (queue) => {
    if (isWaiting) return;
    isWaiting = true;
    queue.ignoreNotifications();
    gather(() => {
      isWaiting = false;
      serve(queue);
    });
  };
}
