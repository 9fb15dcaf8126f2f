/**
 * The thread of one vCPU: KVM_RUN, and turns with the machine's thread in
 * between. It never comes back to its event loop while the machine lives.
 */
import { workerData } from 'node:worker_threads';
import { KICK_SIGNAL, type KvmLibc, kvmLibc } from './kvm-libc.ts';

/** As accel/kvm/mailbox.ts describes it. */
interface ThreadData {
  readonly mailbox: SharedArrayBuffer;
  readonly words: Record<'machineAsleep' | 'turn' | 'result' | 'attention' | 'threadId' | 'asleep', number>;
  readonly turns: Record<'machine' | 'guest' | 'end', number>;
  readonly base: number;
  readonly vcpuFd: number;
  readonly doorbellFd: number;
  readonly run: SharedArrayBuffer;
  readonly runOffset: number;
  readonly requests: { readonly run: number; readonly setSignalMask: number };
}

const EINTR = 4;
const EAGAIN = 11;
const SIGEV_THREAD_ID = 4;
const CLOCK_MONOTONIC = 1;
/** How long this thread may be in the guest without seeing that its process ends. */
const TICK_NANOS = 200_000_000n;
const SIGNAL_SET_BYTES = 128;
/** The kernel's own set of 64 signals, and its length before it. */
const KERNEL_SET_BYTES = 8;
/** Looks at the turn before this thread goes to sleep: some 20 µs. */
const SPINS = 2000;
const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

runVcpu(kvmLibc(), workerData as ThreadData);

function runVcpu(libc: KvmLibc, data: ThreadData): void {
  const { vcpuFd, doorbellFd, requests, turns, base } = data;
  const words = new Int32Array(data.mailbox);
  const { turn, result, attention, threadId, asleep } = data.words;
  const immediateExit = new Uint8Array(data.run, data.runOffset + 1, 1);
  const kicks = prepareKicks(libc, (mask) => libc.ioctlStruct(vcpuFd, requests.setSignalMask, mask));
  Atomics.store(words, base + threadId, libc.threadId());

  for (;;) {
    const whose = awaitTurn();
    if (whose === turns.end) {
      kicks.end();
      return;
    }
    const answer = enterGuest();
    Atomics.store(words, base + result, answer);
    Atomics.store(words, base + turn, turns.machine);
    if (Atomics.load(words, data.words.machineAsleep) !== 0) libc.write(doorbellFd, ONE, ONE.length);
  }

  function enterGuest(): number {
    for (;;) {
      const answer = libc.ioctl(vcpuFd, requests.run, 0);
      if (answer !== -EINTR && answer !== -EAGAIN) return answer;
      Atomics.store(immediateExit, 0, 0);
      kicks.take();
      if (Atomics.load(words, base + attention) !== 0) return -EINTR;
    }
  }

  function awaitTurn(): number {
    for (let spins = 0; ; spins++) {
      const whose = Atomics.load(words, base + turn);
      if (whose !== turns.machine) return whose;
      if (spins < SPINS) continue;
      Atomics.store(words, base + asleep, 1);
      Atomics.wait(words, base + turn, turns.machine);
      Atomics.store(words, base + asleep, 0);
    }
  }
}

/**
 * The kick signal is blocked in this thread but in KVM_RUN, which it ends. A
 * tick of the same signal comes several times a second, so that the thread can
 * end with its process even when nobody kicks it any more.
 */
function prepareKicks(libc: KvmLibc, setRunMask: (mask: Uint8Array) => number) {
  const index = (KICK_SIGNAL - 1) >> 3;
  const bit = 1 << ((KICK_SIGNAL - 1) & 7);
  const kick = new Uint8Array(SIGNAL_SET_BYTES);
  kick[index] = bit;
  const before = new Uint8Array(SIGNAL_SET_BYTES);
  libc.setSignalMask(0, kick, before);
  const mask = new Uint8Array(4 + KERNEL_SET_BYTES);
  mask[0] = KERNEL_SET_BYTES;
  mask.set(before.subarray(0, KERNEL_SET_BYTES), 4);
  mask[4 + index] &= ~bit;
  const answer = setRunMask(mask);
  if (answer < 0) throw new Error(`KVM_SET_SIGNAL_MASK failed with error ${-answer}`);
  const ticks = startTicks(libc);
  const noTime = new Uint8Array(16);
  return {
    /** A pending kick is taken, so that the next KVM_RUN does not end at once. */
    take() {
      while (libc.signalTimedWait(kick, 0n, noTime) > 0);
    },
    end: () => void libc.timerDelete(ticks),
  };
}

/** The timer's name. */
function startTicks(libc: KvmLibc): bigint {
  const event = new DataView(new ArrayBuffer(64)); // struct sigevent
  event.setInt32(8, KICK_SIGNAL, true);
  event.setInt32(12, SIGEV_THREAD_ID, true);
  event.setInt32(16, libc.threadId(), true);
  const timer = new BigUint64Array(1);
  const created = libc.timerCreate(CLOCK_MONOTONIC, new Uint8Array(event.buffer), new Uint8Array(timer.buffer));
  if (created < 0) throw new Error(`the host gives no timer (error ${-created})`);
  const times = BigInt64Array.of(0n, TICK_NANOS, 0n, TICK_NANOS);
  libc.timerSet(timer[0], 0, new Uint8Array(times.buffer), 0n);
  return timer[0];
}
