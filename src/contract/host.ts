/**
 * The host joint: threads and time as every host (Node, a browser) can give
 * them. Messages are what structured cloning carries.
 */

/** One end of the two-way channel between a thread and whoever started it. */
export interface ThreadPort {
  /** Queues a message; the buffers in `transfer` move to the other side and are empty here afterwards. */
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** Names who takes messages; a port has one receiver, and keeps what comes before it is named. */
  connect(receiver: (message: unknown) => void): void;
}

/** A thread as its starter sees it. */
export interface HostThread extends ThreadPort {
  /** Calls `receiver` at most once, when the thread dies of something it did not catch or ends by itself. */
  onEnd(receiver: (reason: string) => void): void;
  /** Ends the thread at once. */
  terminate(): Promise<void>;
}

/** Starts threads. */
export interface ThreadHost {
  /** @param moduleUrl a module that exports `serve(context: ThreadContext): void` */
  startThread(moduleUrl: string): HostThread;
}

/** What a thread's module is given. */
export interface ThreadContext extends ThreadPort {
  /** A clock that never goes back, in nanoseconds, from any origin. */
  monotonicNanos(): number;
  /** Milliseconds since 1970 UTC. */
  wallMillis(): number;
  /** Resolves after what has arrived meanwhile (messages, completions) was handled. */
  nextTurn(): Promise<void>;
  /**
   * Sleeps without using the CPU until `nanos` have passed (Infinity: for ever),
   * a message was handled, or `wake` is called. One sleep at a time.
   * @param listening The thread waits for the host too (files, sockets), whose
   *   answers `wake` it from the event loop: the time may then be exceeded by a millisecond.
   */
  sleep(nanos: number, listening?: boolean): Promise<void>;
  wake(): void;
}
