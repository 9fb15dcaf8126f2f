/** One virtqueue as its device sees it: chains to take and to give back, whatever the ring's format. */
import { invariant } from '../../base/index.ts';
import type { Chain } from './chain.ts';
import type { QueueState, Ring } from './ring.ts';

/** What a queue needs of the device that it belongs to. */
export interface QueuePort {
  /** May the device take chains and touch guest memory now? */
  running(): boolean;
  /** Tells the driver that it gave chains back. */
  interrupt(queue: Virtqueue): void;
  /** The driver broke the rules: the device stops until it is reset. */
  fail(reason: string): void;
}

export interface QueuePosition {
  readonly nextAvailable: number;
  readonly availableWrap: boolean;
}

export class Virtqueue {
  readonly index: number;
  readonly #port: QueuePort;
  #state: QueueState;
  #ring: Ring | undefined;
  #inFlight = new Set<Chain>();
  #pumping = false;
  #isInOrder = false;

  constructor(index: number, state: QueueState, port: QueuePort) {
    this.index = index;
    this.#state = state;
    this.#port = port;
  }

  get state(): QueueState {
    return this.#state;
  }

  /** Chains that the device has taken and not given back. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Replaces the state and forgets what is in flight: completing that changes nothing any more. */
  load(state: QueueState): void {
    this.#state = state;
    this.#ring = undefined;
    this.#inFlight = new Set();
  }

  /** From here on chains can be taken. @param isInOrder they must be given back in the order of being taken (2.7.9) */
  connect(ring: Ring, isInOrder = false): void {
    this.#ring = ring;
    this.#isInOrder = isInOrder;
  }

  /** The next available chain; undefined when there is none, or the queue is not in use. */
  take(): Chain | undefined {
    if (this.#ring === undefined || !this.#port.running()) return undefined;
    const chain = this.#ring.take();
    if (typeof chain === 'string') {
      this.fail(chain);
      return undefined;
    }
    if (chain !== undefined) {
      if (this.#inFlight.size >= this.#state.size) {
        this.fail(`more chains than its ${this.#state.size} entries`);
        return undefined;
      }
      this.#inFlight.add(chain);
    }
    return chain;
  }

  /** Is the chain still the device's? Not after a reset. */
  holds(chain: Chain): boolean {
    return this.#inFlight.has(chain);
  }

  /** Gives a chain back, once. @param written bytes filled at the start of its writable part */
  complete(chain: Chain, written: number): void {
    invariant(!chain.completed, 'virtio: a chain is completed twice');
    chain.completed = true;
    chain.written = written;
    if (this.#isInOrder ? !this.#giveInOrder(chain) : !this.#give(chain)) return;
    if (!this.#pumping) this.#interrupt();
  }

  #give(chain: Chain): boolean {
    if (!this.#inFlight.delete(chain) || this.#ring === undefined || !this.#port.running()) return false;
    this.#ring.give(chain, chain.written);
    return true;
  }

  /** Gives back the oldest chains as far as they are completed; false when that was none. */
  #giveInOrder(completed: Chain): boolean {
    if (!this.#inFlight.has(completed)) return false;
    let gave = false;
    for (const chain of this.#inFlight) {
      if (!chain.completed || !this.#give(chain)) break;
      gave = true;
    }
    return gave;
  }

  /** Puts back the chains that were taken last, all of them, so that they are available again. */
  putBack(chains: readonly Chain[], position: QueuePosition): void {
    for (const chain of chains) {
      chain.completed = true;
      this.#inFlight.delete(chain);
    }
    this.#state.nextAvailable = position.nextAvailable;
    this.#state.availableWrap = position.availableWrap;
  }

  /** Where the next chain will be taken from; for `putBack`. */
  get position(): QueuePosition {
    const { nextAvailable, availableWrap } = this.#state;
    return { nextAvailable, availableWrap };
  }

  /** Takes every available chain, with one interrupt at most for all that is completed meanwhile. */
  pump(onChain: (chain: Chain) => void): void {
    this.pumpWhile(() => true, onChain);
  }

  /** The same as long as `mayTake` says so; what is left waits for the next call. */
  pumpWhile(mayTake: () => boolean, onChain: (chain: Chain) => void): void {
    if (this.#ring === undefined || this.#pumping) return;
    this.#pumping = true;
    this.#ring.disableNotifications();
    const next = () => (mayTake() ? this.take() : undefined);
    try {
      do {
        for (let chain = next(); chain !== undefined; chain = next()) onChain(chain);
      } while (this.#port.running() && this.#ring?.enableNotifications() && mayTake());
    } finally {
      this.#pumping = false;
    }
    this.#interrupt();
  }

  /** Gives back several chains with one interrupt at most. */
  completeAll(chains: readonly { readonly chain: Chain; readonly written: number }[]): void {
    const wasPumping = this.#pumping;
    this.#pumping = true;
    for (const { chain, written } of chains) this.complete(chain, written);
    this.#pumping = wasPumping;
    if (!wasPumping) this.#interrupt();
  }

  /** Says that the driver need not notify about buffers it adds, which the device takes when it needs them. */
  ignoreNotifications(): void {
    this.#ring?.disableNotifications();
  }

  /** Asks to be notified about new buffers; true when there are some already. */
  awaitNotification(): boolean {
    return this.#ring?.enableNotifications() ?? false;
  }

  /** The driver sent something that cannot be answered. */
  fail(reason: string): void {
    this.#port.fail(`queue ${this.index}: ${reason}`);
  }

  #interrupt(): void {
    if (this.#port.running() && this.#ring?.wantsInterrupt()) this.#port.interrupt(this);
  }
}
