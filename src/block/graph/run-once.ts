/** Jobs that are one piece of work. */
import type { Job } from '../jobs/index.ts';

/** Work that cannot be steered, as a job. */
export function runOnce(work: () => Promise<void>): Job {
  let state: Job['state'] = 'running';
  const done = (async () => {
    await Promise.resolve();
    try {
      await work();
      state = 'completed';
      return 'completed' as const;
    } catch (error) {
      state = 'failed';
      throw error;
    }
  })();
  done.catch(() => {}); // who follows the job hears of it
  return {
    get state() {
      return state;
    },
    get progress() {
      return { doneBytes: state === 'completed' ? 1 : 0, totalBytes: 1 };
    },
    pause() {},
    resume() {},
    setSpeed() {},
    cancel: async () => {
      await done.catch(() => {});
    },
    ready: done.then(
      () => {},
      () => {},
    ),
    complete() {},
    done,
  };
}
