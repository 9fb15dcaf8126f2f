/** The words in shared memory through which a vCPU's thread and the machine's thread take turns. */

/** Whose turn it is: a vCPU's thread waits while it is the machine's. */
export const TURN = { machine: 0, guest: 1, end: 2 } as const;

/** Indices of Int32 words, two cache lines a vCPU; the first are the head, for all. */
export const WORDS = {
  perVcpu: 32,
  /** Of the head: nonzero while the machine's thread sleeps; whoever has something for it rings its doorbell. */
  machineAsleep: 0,
  /** Of a vCPU, one of TURN. */
  turn: 0,
  /** What KVM_RUN returned. */
  result: 1,
  /** Nonzero: come out of the guest, the machine's thread wants the turn. */
  attention: 2,
  threadId: 3,
  /** Nonzero while the thread sleeps on `turn`. */
  asleep: 4,
} as const;

const WORD_BYTES = 4;

/** The same in bytes, with what threads are told once and do not change. */
export const THREAD_LAYOUT = {
  lineBytes: WORDS.perVcpu * WORD_BYTES,
  turn: WORDS.turn * WORD_BYTES,
  result: WORDS.result * WORD_BYTES,
  attention: WORDS.attention * WORD_BYTES,
  threadId: WORDS.threadId * WORD_BYTES,
  asleep: WORDS.asleep * WORD_BYTES,
  vcpuFd: 64,
  doorbellFd: 68,
  runPage: 72,
  headAddress: 80,
  kickSet: 88,
  one: 96,
  /** Two 64-bit zeros. */
  noTime: 104,
  machineAsleep: WORDS.machineAsleep * WORD_BYTES,
  count: 4,
  processId: 8,
} as const;

/** Index of a vCPU's first word. */
export const baseOf = (index: number) => (index + 1) * WORDS.perVcpu;
