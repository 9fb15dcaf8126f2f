/** The words in shared memory through which a vCPU's thread and the machine's thread take turns. */

/** Whose turn it is: a vCPU's thread waits while it is the machine's. */
export const TURN = { machine: 0, guest: 1, end: 2 } as const;

/** Indices of Int32 words, a cache line a vCPU; the machine's own line is the first. */
export const WORDS = {
  perVcpu: 16,
  /** Of the machine: nonzero while its thread sleeps; whoever has something for it rings its doorbell. */
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

/** What a vCPU's thread is given. */
export interface VcpuThreadData {
  readonly mailbox: SharedArrayBuffer;
  readonly words: typeof WORDS;
  readonly turns: typeof TURN;
  /** Index of the vCPU's first word. */
  readonly base: number;
  readonly vcpuFd: number;
  readonly doorbellFd: number;
  /** The page whose second byte makes KVM_RUN return at once. */
  readonly run: SharedArrayBuffer;
  readonly runOffset: number;
  readonly requests: { readonly run: number; readonly setSignalMask: number };
}

export interface Mailbox {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  baseOf(index: number): number;
}

export function createMailbox(count: number): Mailbox {
  const buffer = new SharedArrayBuffer((count + 1) * WORDS.perVcpu * 4);
  return { buffer, words: new Int32Array(buffer), baseOf: (index) => (index + 1) * WORDS.perVcpu };
}
