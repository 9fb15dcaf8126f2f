/** Knows whether the host is at work for a machine's devices. */
import type { BlockNode } from '../contract/index.ts';

export class IoWatch {
  #inFlight = 0;
  #idleWaiters: (() => void)[] = [];

  get pending(): boolean {
    return this.#inFlight > 0;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    if (this.pending) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** The same node, whose requests count. */
  watch(node: BlockNode): BlockNode {
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
      close: () => this.#count(node.close()),
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
