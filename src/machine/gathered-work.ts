/**
 * What devices put off for a moment, so that one look serves all that the guest asks for meanwhile, with one interrupt:
 * done when the guest has nothing to do, or after a while.
 */

/** About what a fast disk takes to answer. */
const GATHER_NANOS = 200_000;

export class GatheredWork {
  readonly #nowNanos: () => number;
  readonly #onFirst: () => void;
  #work: (() => void)[] = [];
  #dueAt = Number.POSITIVE_INFINITY;

  /** @param onFirst called when there is something to do: the guest's slice should end */
  constructor(nowNanos: () => number, onFirst: () => void) {
    this.#nowNanos = nowNanos;
    this.#onFirst = onFirst;
  }

  /** Whoever adds something adds it once until it is done. */
  add(work: () => void): void {
    if (this.#work.push(work) > 1) return;
    this.#dueAt = this.#nowNanos() + GATHER_NANOS;
    this.#onFirst();
  }

  /** Until it is due; Infinity when there is nothing to do. */
  get untilDueNanos(): number {
    return this.#dueAt - this.#nowNanos();
  }

  /** Does what there is; true when there was something. */
  finish(): boolean {
    if (this.#work.length === 0) return false;
    const work = this.#work;
    this.#work = [];
    this.#dueAt = Number.POSITIVE_INFINITY;
    for (const one of work) one();
    return true;
  }
}
