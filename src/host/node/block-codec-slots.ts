/** The memory that the codec pool and its threads share: jobs, their bytes, and the order in which they came. */

export const SLOTS = 32;
/** A cluster of 64 KiB, or its packed form with what zlib and zstd may add. Larger ones do not come here. */
export const SLOT_BYTES = 64 * 1024 + 4096;
/** A power of two, larger than SLOTS. */
const RING = 64;

const HEAD = 0;
const TAIL = 1;
const SIGNALLED = 2;
const RING_AT = 3;
const FIELDS_AT = RING_AT + RING;
const FIELD = { state: 0, job: 1, sourceBytes: 2, targetBytes: 3, result: 4 } as const;
const FIELDS = Object.keys(FIELD).length;
const CONTROL_BYTES = 4 * (FIELDS_AT + SLOTS * FIELDS);

export const STATE = { free: 0, waiting: 1, done: 2 } as const;

export type CodecJob = 'pack zlib' | 'pack zstd' | 'unpack zlib' | 'unpack zstd';
const JOBS: readonly CodecJob[] = ['pack zlib', 'pack zstd', 'unpack zlib', 'unpack zstd'];

export interface CodecSlots {
  readonly memory: SharedArrayBuffer;
  source(slot: number): Uint8Array;
  target(slot: number): Uint8Array;
  /** The pool: hands a slot whose source is filled to whichever thread is first. */
  submit(slot: number, job: CodecJob, sourceBytes: number, targetBytes: number): void;
  /** The pool: calls `done` for each slot that has its result, and frees it. */
  collect(done: (slot: number, result: number) => void): void;
  /** A thread: waits for a job and takes it. */
  take(): { readonly slot: number; readonly job: CodecJob; readonly sourceBytes: number; readonly targetBytes: number };
  /** A thread: `result` of a job; true when the pool must be told to collect. */
  finish(slot: number, result: number): boolean;
}

export function codecSlots(memory = new SharedArrayBuffer(CONTROL_BYTES + SLOTS * 2 * SLOT_BYTES)): CodecSlots {
  const control = new Int32Array(memory, 0, CONTROL_BYTES / 4);
  const bytesAt = (index: number) => new Uint8Array(memory, CONTROL_BYTES + index * SLOT_BYTES, SLOT_BYTES);
  const sources = Array.from({ length: SLOTS }, (_, slot) => bytesAt(2 * slot));
  const targets = Array.from({ length: SLOTS }, (_, slot) => bytesAt(2 * slot + 1));
  const at = (slot: number, field: keyof typeof FIELD) => FIELDS_AT + slot * FIELDS + FIELD[field];
  const ringAt = (index: number) => RING_AT + (index & (RING - 1));
  return {
    memory,
    source: (slot) => sources[slot],
    target: (slot) => targets[slot],
    submit(slot, job, sourceBytes, targetBytes) {
      control[at(slot, 'job')] = JOBS.indexOf(job);
      control[at(slot, 'sourceBytes')] = sourceBytes;
      control[at(slot, 'targetBytes')] = targetBytes;
      Atomics.store(control, at(slot, 'state'), STATE.waiting);
      const tail = Atomics.load(control, TAIL);
      Atomics.store(control, ringAt(tail), slot);
      Atomics.store(control, TAIL, tail + 1);
      Atomics.notify(control, TAIL, 1);
    },
    collect(done) {
      // First the flag: what is done after the search tells of itself again.
      Atomics.store(control, SIGNALLED, 0);
      for (let slot = 0; slot < SLOTS; slot += 1) {
        if (Atomics.load(control, at(slot, 'state')) !== STATE.done) continue;
        Atomics.store(control, at(slot, 'state'), STATE.free);
        done(slot, control[at(slot, 'result')]);
      }
    },
    take() {
      for (;;) {
        const head = Atomics.load(control, HEAD);
        const tail = Atomics.load(control, TAIL);
        if (head === tail) {
          Atomics.wait(control, TAIL, tail);
          continue;
        }
        // Read before it is taken: while the head is here, the pool cannot have used the place again.
        const slot = Atomics.load(control, ringAt(head));
        if (Atomics.compareExchange(control, HEAD, head, (head + 1) | 0) !== head) continue;
        const job = JOBS[control[at(slot, 'job')]];
        const [sourceBytes, targetBytes] = [control[at(slot, 'sourceBytes')], control[at(slot, 'targetBytes')]];
        return { slot, job, sourceBytes, targetBytes };
      }
    },
    finish(slot, result) {
      control[at(slot, 'result')] = result;
      Atomics.store(control, at(slot, 'state'), STATE.done);
      return Atomics.exchange(control, SIGNALLED, 1) === 0;
    },
  };
}
