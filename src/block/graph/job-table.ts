/** Jobs as QMP sees them: named, with a status that is told of, until they are dismissed. */
import type { Job } from '../jobs/index.ts';
import { GraphError } from './error.ts';

export type JobStatus =
  | 'created'
  | 'running'
  | 'paused'
  | 'ready'
  | 'standby'
  | 'waiting'
  | 'pending'
  | 'aborting'
  | 'concluded'
  | 'null';
export type JobType =
  | 'commit'
  | 'stream'
  | 'mirror'
  | 'backup'
  | 'create'
  | 'snapshot-save'
  | 'snapshot-load'
  | 'snapshot-delete';

export interface JobSpec {
  readonly id: string;
  readonly type: JobType;
  /** False for jobs that are on no disk (create). */
  readonly isBlockJob: boolean;
  readonly speed?: number;
  readonly autoFinalize?: boolean;
  readonly autoDismiss?: boolean;
  /** How the job is told to finish, where it goes on until it is told. */
  readonly finish?: (how: 'pivot' | 'stay') => void;
  /** Everything that is to be done once the job's work has ended well, e.g. changes of the graph. */
  readonly settle?: () => Promise<void>;
  /** Always last. */
  readonly clean?: () => Promise<void> | void;
}

interface Entry extends JobSpec {
  readonly job: Job;
  status: JobStatus;
  speed: number;
  error?: string;
  isPausedByUser: boolean;
  isCancelled: boolean;
  /** A ready job was told to complete. */
  isCompleting: boolean;
  finalize?: () => void;
}

type Tell = (name: string, data: Readonly<Record<string, unknown>>) => void;

/** Jobs at once, also those that wait to be dismissed. */
const JOBS_MAX = 256;
const ID = /^[a-z][\w.-]*$/i;

export class JobTable {
  readonly #jobs = new Map<string, Entry>();
  readonly #tell: Tell;

  constructor(tell: Tell) {
    this.#tell = tell;
  }

  /** @throws GraphError unless a job may be called so */
  check(id: string): void {
    if (!ID.test(id)) {
      throw new GraphError(id === '' ? 'An explicit job ID is required for this node' : `Invalid job ID '${id}'`);
    }
    if (this.#jobs.has(id)) throw new GraphError(`Job ID '${id}' already in use`);
    if (this.#jobs.size >= JOBS_MAX) throw new GraphError(`there are ${JOBS_MAX} jobs already`);
  }

  add(spec: JobSpec, job: Job): void {
    const { speed = 0 } = spec;
    const entry: Entry = {
      ...spec,
      ...{ job, speed, status: 'created', isPausedByUser: false, isCancelled: false, isCompleting: false },
    };
    this.#jobs.set(spec.id, entry);
    this.#tell('JOB_STATUS_CHANGE', { id: spec.id, status: 'created' });
    this.#enter(entry, 'running');
    void job.ready.then(() => {
      if (job.state !== 'ready' && job.state !== 'paused') return;
      this.#enter(entry, job.state === 'paused' ? 'standby' : 'ready');
      this.#tell('BLOCK_JOB_READY', this.#event(entry));
    });
    void this.#follow(entry);
  }

  find(id: string, isBlockJob: boolean): Entry {
    const entry = this.#jobs.get(id);
    if (entry !== undefined && (entry.isBlockJob || !isBlockJob)) return entry;
    if (isBlockJob) throw new GraphError(`Block job '${id}' not found`, 'DeviceNotActive');
    throw new GraphError('Job not found');
  }

  pause(entry: Entry): void {
    if (entry.isPausedByUser) throw new GraphError('Job is already paused');
    entry.isPausedByUser = true;
    entry.job.pause();
    if (entry.status === 'running') this.#enter(entry, 'paused');
    else if (entry.status === 'ready') this.#enter(entry, 'standby');
  }

  resume(entry: Entry): void {
    if (!entry.isPausedByUser) throw new GraphError("Can't resume a job that was not paused");
    entry.isPausedByUser = false;
    entry.job.resume();
    if (entry.status === 'paused') this.#enter(entry, 'running');
    else if (entry.status === 'standby') this.#enter(entry, 'ready');
  }

  setSpeed(entry: Entry, bytesPerSecond: number): void {
    if (!(bytesPerSecond >= 0)) throw new GraphError("Parameter 'speed' expects a non-negative value");
    entry.job.setSpeed(bytesPerSecond);
    entry.speed = bytesPerSecond;
  }

  cancel(entry: Entry, force: boolean): void {
    this.#refuse(entry, 'cancel', ['concluded', 'null', 'aborting', 'waiting']);
    if (entry.status === 'pending') {
      entry.isCancelled = true;
      entry.finalize?.();
      void entry.job.cancel();
      return;
    }
    if (entry.isPausedByUser && !force) {
      throw new GraphError(`The block job for device '${entry.id}' is currently paused`);
    }
    // A mirror that is ready ends as a copy of this moment; force throws it away.
    if (entry.status === 'ready' && !force && entry.finish !== undefined) {
      entry.isCompleting = true;
      entry.finish('stay');
      return;
    }
    entry.isCancelled = true;
    void entry.job.cancel();
  }

  complete(entry: Entry): void {
    if (entry.status !== 'ready' || entry.finish === undefined || entry.isCompleting) {
      throw new GraphError(`The active block job '${entry.id}' cannot be completed`);
    }
    entry.isCompleting = true;
    if (entry.autoFinalize !== false) {
      entry.finish('pivot');
      return;
    }
    entry.finalize = () => {
      if (!entry.isCancelled) entry.finish!('pivot');
    };
    this.#enter(entry, 'waiting');
    this.#enter(entry, 'pending');
    this.#tell('BLOCK_JOB_PENDING', { type: entry.type, id: entry.id });
  }

  finalize(entry: Entry): void {
    this.#refuseUnless(entry, 'finalize', 'pending');
    const { finalize } = entry;
    entry.finalize = undefined;
    finalize?.();
  }

  dismiss(entry: Entry): void {
    this.#refuseUnless(entry, 'dismiss', 'concluded');
    this.#forget(entry);
  }

  /** Ends the job in question and waits for it; for transactions. */
  async undo(id: string): Promise<void> {
    const entry = this.#jobs.get(id);
    if (entry === undefined) return;
    entry.isCancelled = true;
    await entry.job.cancel();
  }

  /** Resolves when the job's work is over, however it ended. */
  async over(id: string): Promise<void> {
    await this.#jobs.get(id)?.job.done.catch(() => {});
  }

  async cancelAll(): Promise<void> {
    await Promise.all(
      [...this.#jobs.values()].map(async (entry) => {
        entry.isCancelled = true;
        entry.finalize?.();
        await entry.job.cancel();
      }),
    );
  }

  /** A job has something to do right now. */
  get isBusy(): boolean {
    return [...this.#jobs.values()].some(({ job, isPausedByUser }) => {
      const { doneBytes, totalBytes } = job.progress;
      return !isPausedByUser && (job.state === 'running' || (job.state === 'ready' && doneBytes < totalBytes));
    });
  }

  blockJobs() {
    return [...this.#jobs.values()]
      .filter(({ isBlockJob }) => isBlockJob)
      .map((entry) => ({
        ...this.#event(entry),
        busy: entry.status === 'running',
        paused: entry.isPausedByUser,
        'io-status': 'ok' as const,
        ready: entry.status === 'ready' || entry.status === 'standby',
        status: entry.status,
        'auto-finalize': entry.autoFinalize ?? true,
        'auto-dismiss': entry.autoDismiss ?? true,
        ...(entry.error === undefined ? {} : { error: entry.error }),
      }));
  }

  all() {
    return [...this.#jobs.values()].map(({ id, type, status, job, error }) => ({
      id,
      type,
      status,
      'current-progress': job.progress.doneBytes,
      'total-progress': job.progress.totalBytes,
      ...(error === undefined ? {} : { error }),
    }));
  }

  async #follow(entry: Entry): Promise<void> {
    try {
      await entry.job.done;
      if (entry.job.state === 'cancelled') entry.isCancelled = true;
      if (!entry.isCancelled) await this.#finish(entry);
    } catch (error) {
      entry.error = error instanceof Error ? error.message : String(error);
    }
    if (entry.isCancelled || entry.error !== undefined) this.#enter(entry, 'aborting');
    await entry.clean?.();
    this.#end(entry);
  }

  /** The work is done: what follows from it is done at once, or when the client says so. */
  async #finish(entry: Entry): Promise<void> {
    if (entry.status !== 'pending') {
      this.#enter(entry, 'waiting');
      this.#enter(entry, 'pending');
      if (entry.autoFinalize === false && entry.finish === undefined) {
        await new Promise<void>((resolve) => {
          entry.finalize = resolve;
          this.#tell('BLOCK_JOB_PENDING', { type: entry.type, id: entry.id });
        });
      }
    }
    if (!entry.isCancelled) await entry.settle?.();
  }

  #end(entry: Entry): void {
    if (entry.isBlockJob) {
      const isCancelled = entry.isCancelled && entry.error === undefined;
      this.#tell(isCancelled ? 'BLOCK_JOB_CANCELLED' : 'BLOCK_JOB_COMPLETED', {
        ...this.#event(entry),
        ...(entry.error === undefined ? {} : { error: entry.error }),
      });
    }
    if (entry.isCancelled && entry.error === undefined) entry.error = 'Operation canceled';
    this.#enter(entry, 'concluded');
    if (entry.autoDismiss !== false) this.#forget(entry);
  }

  #forget(entry: Entry): void {
    this.#enter(entry, 'null');
    this.#jobs.delete(entry.id);
  }

  #event(entry: Entry) {
    const { doneBytes, totalBytes } = entry.job.progress;
    return { type: entry.type, device: entry.id, len: totalBytes, offset: doneBytes, speed: entry.speed };
  }

  #enter(entry: Entry, status: JobStatus): void {
    if (entry.status === status) return;
    entry.status = status;
    this.#tell('JOB_STATUS_CHANGE', { id: entry.id, status });
  }

  #refuse(entry: Entry, verb: string, states: readonly JobStatus[]): void {
    if (states.includes(entry.status)) {
      throw new GraphError(`Job '${entry.id}' in state '${entry.status}' cannot accept command verb '${verb}'`);
    }
  }

  #refuseUnless(entry: Entry, verb: string, state: JobStatus): void {
    if (entry.status !== state) {
      throw new GraphError(`Job '${entry.id}' in state '${entry.status}' cannot accept command verb '${verb}'`);
    }
  }
}
