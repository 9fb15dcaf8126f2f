/** The turns of vCPUs' threads and the machine's thread: who has it, and how it is fetched back. */
import { ERRNO, type EventWait, type KvmHost, type VcpuThreadGroup } from './host.ts';
import { VCPU } from './ioctls.ts';
import { baseOf, THREAD_LAYOUT, TURN, WORDS } from './mailbox.ts';
import { runHead } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

/** How long the machine's thread looks for the next request of a vCPU before it sleeps, while they come often. */
const SPIN_NANOS = 40_000;
const BUSY_NANOS = 300_000;
const SPINS_PER_LOOK = 50;
/** Requests answered in a row before event counters are looked at. */
const REQUESTS_PER_LOOK = 64;
/** How long a kicked vCPU may take before it is kicked again. */
const KICK_AGAIN_NANOS = 1_000_000;
const { immediateExit } = runHead.offsets;

export class Turns {
  readonly #host: KvmHost;
  readonly #vcpus: readonly KvmVcpu[];
  readonly #threads: VcpuThreadGroup;
  readonly #words: Int32Array;
  readonly #doorbell: number;
  readonly #wait: EventWait;
  readonly #onEvent = (fd: number) => this.#event(fd);
  readonly #listeners = new Map<number, () => void>();
  /** Whether a vCPU was given the turn and has not given it back. */
  readonly #isOut: boolean[];
  readonly #now: () => number;
  #served = 0;
  #lastRequest = 0;

  /** Throws UserError when the host has no room for so many threads. */
  constructor(host: KvmHost, vcpus: readonly KvmVcpu[], now: () => number) {
    this.#host = host;
    this.#vcpus = vcpus;
    this.#now = now;
    this.#isOut = vcpus.map(() => false);
    this.#doorbell = host.eventfd();
    this.#threads = host.startVcpuThreads({
      layout: THREAD_LAYOUT,
      vcpuFds: vcpus.map(({ fd }) => fd),
      doorbellFd: this.#doorbell,
      requests: { run: VCPU.RUN, setSignalMask: VCPU.SET_SIGNAL_MASK },
    });
    this.#words = this.#threads.words;
    this.#wait = host.createWait();
    this.#wait.add(this.#doorbell);
  }

  isOut(index: number): boolean {
    return this.#isOut[index];
  }

  /** Lets a vCPU run until it asks for something. */
  give(index: number): void {
    this.#isOut[index] = true;
    this.#turn(index, TURN.guest);
  }

  /**
   * Calls `answer` for each vCPU that gave its turn back, with what KVM_RUN returned.
   * @returns false when there was none
   */
  take(answer: (index: number, result: number) => void): boolean {
    let any = false;
    for (let index = 0; index < this.#isOut.length; index++) {
      if (!this.#isOut[index] || !this.#hasRequest(index)) continue;
      any = true;
      this.#isOut[index] = false;
      answer(index, Atomics.load(this.#words, baseOf(index) + WORDS.result));
    }
    if (any) {
      this.#lastRequest = this.#now();
      if (++this.#served % REQUESTS_PER_LOOK === 0) this.#wait.wait(0, this.#onEvent);
    }
    return any;
  }

  /** Asks a vCPU to give its turn back soon, until `attend`. */
  call(index: number): void {
    Atomics.store(this.#words, baseOf(index) + WORDS.attention, 1);
    this.#kick(index);
  }

  /** What it was called for is looked at now. */
  attend(index: number): void {
    Atomics.store(this.#words, baseOf(index) + WORDS.attention, 0);
  }

  /** Fetches every vCPU out of the guest; `serve` takes what they ask for meanwhile. */
  halt(serve: () => void): void {
    const { length: count } = this.#isOut;
    for (let index = 0; index < count; index++) Atomics.store(this.#words, baseOf(index) + WORDS.attention, 1);
    for (;;) {
      serve();
      let any = false;
      for (let index = 0; index < count; index++) {
        if (!this.#isOut[index]) continue;
        any = true;
        this.#kick(index);
      }
      if (!any) break;
      this.#lastRequest = this.#now(); // the answers come soon
      if (!this.spin()) this.wait(KICK_AGAIN_NANOS);
    }
    for (let index = 0; index < count; index++) this.attend(index);
    // What they wrote to doorbells until now is done, too: their counters are in no snapshot.
    this.#wait.wait(0, this.#onEvent);
  }

  /** While requests come often: looks for the next one for some microseconds; true when there is one. */
  spin(): boolean {
    const start = this.#now();
    if (start - this.#lastRequest > BUSY_NANOS) return false;
    do {
      for (let i = 0; i < SPINS_PER_LOOK; i++) if (this.#anyRequest()) return true;
    } while (this.#now() < start + SPIN_NANOS);
    return false;
  }

  /** Sleeps until there is a request, an event, or something for the event loop: then true. */
  wait(nanos: number): boolean {
    Atomics.store(this.#words, WORDS.machineAsleep, 1);
    const turn = this.#wait.wait(this.#anyRequest() ? 0 : nanos, this.#onEvent);
    Atomics.store(this.#words, WORDS.machineAsleep, 0);
    return turn;
  }

  /** Calls `listener` in the machine's thread when an event counter is signalled. */
  listen(fd: number, listener: () => void): void {
    this.#listeners.set(fd, listener);
    this.#wait.add(fd);
  }

  unlisten(fd: number): void {
    if (this.#listeners.delete(fd)) this.#wait.remove(fd);
  }

  /** Ends the threads; none is in the guest. */
  end(): void {
    for (const index of this.#isOut.keys()) this.#turn(index, TURN.end);
    this.#threads.join();
    this.#wait.close();
    this.#host.close(this.#doorbell);
  }

  #turn(index: number, turn: number): void {
    const base = baseOf(index);
    Atomics.store(this.#words, base + WORDS.turn, turn);
    if (Atomics.load(this.#words, base + WORDS.asleep) !== 0) this.#threads.wake(index);
  }

  #hasRequest(index: number): boolean {
    return Atomics.load(this.#words, baseOf(index) + WORDS.turn) === TURN.machine;
  }

  #anyRequest(): boolean {
    for (let index = 0; index < this.#isOut.length; index++)
      if (this.#isOut[index] && this.#hasRequest(index)) return true;
    return false;
  }

  #kick(index: number): void {
    Atomics.store(this.#vcpus[index].run, immediateExit, 1);
    const id = Atomics.load(this.#words, baseOf(index) + WORDS.threadId);
    if (id !== 0) this.#host.kick(id);
  }

  #event(fd: number): void {
    this.#host.takeEvent(fd);
    this.#listeners.get(fd)?.();
  }
}

/** KVM_RUN was left because the machine's thread wants the turn. */
export const wasFetched = (result: number) => result === -ERRNO.EINTR;
