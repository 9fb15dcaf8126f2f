/** Knows whether the host is at work for a machine's devices, so that its answers are not kept waiting. */
import type { BlockNode, NetLink } from '../contract/index.ts';

/** How long after a frame the next one is to be expected. */
const FRAME_PENDING_NANOS = 3_000_000;

export class IoWatch {
  readonly #nowNanos: () => number;
  #inFlight = 0;
  #lastFrameNanos = Number.NEGATIVE_INFINITY;
  #idleWaiters: (() => void)[] = [];
  #held = false;
  readonly #links: NetLink[] = [];

  constructor(nowNanos: () => number) {
    this.#nowNanos = nowNanos;
  }

  get pending(): boolean {
    return this.#inFlight > 0 || this.#nowNanos() - this.#lastFrameNanos < FRAME_PENDING_NANOS;
  }

  /** Bytes came or went: more are to be expected. */
  active(): void {
    this.#lastFrameNanos = this.#nowNanos();
  }

  /** Counts work for a device until it is done. */
  watch(work: Promise<unknown>): void {
    this.#count(work).catch(() => {}); // whoever asked for it hears of its end
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** From here to `release` no frame comes in. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    for (const link of this.#links) link.resume();
  }

  /** The same node, whose requests count. */
  watchNode(node: BlockNode): BlockNode {
    return {
      get sizeBytes() {
        return node.sizeBytes;
      },
      readOnly: node.readOnly,
      limits: node.limits,
      read: (offset, target) => this.#count(node.read(offset, target)),
      write: (offset, source) => this.#count(node.write(offset, source)),
      flush: () => this.#count(node.flush()),
      extents: (offset, length) => this.#count(node.extents(offset, length)),
      discard: node.discard && ((offset, length) => this.#count(node.discard!(offset, length))),
      writeZeroes: node.writeZeroes && ((offset, length, how) => this.#count(node.writeZeroes!(offset, length, how))),
      resize: node.resize && ((sizeBytes) => this.#count(node.resize!(sizeBytes))),
      immediate: node.immediate,
      close: () => this.#count(node.close()),
    };
  }

  /** The same link, whose frames count. */
  watchLink(link: NetLink): NetLink {
    this.#links.push(link);
    const isHeld = () => this.#held;
    const seen = () => this.active();
    return {
      takes: link.takes,
      send(frame, unfinished) {
        seen();
        link.send(frame, unfinished);
      },
      connect(receiver) {
        link.connect({
          get takes() {
            return receiver.takes;
          },
          receive(frame, unfinished) {
            if (isHeld()) return false;
            seen();
            return receiver.receive(frame, unfinished);
          },
          carrierChanged: (isUp) => receiver.carrierChanged?.(isUp),
        });
      },
      resume: () => link.resume(),
    };
  }

  async #count<T>(work: Promise<T>): Promise<T> {
    this.#inFlight++;
    try {
      return await work;
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) for (const resolve of this.#idleWaiters.splice(0)) resolve();
    }
  }
}
