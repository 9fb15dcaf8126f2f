/** Wires between devices and interrupt controllers. */
import type { IrqLine } from '../../contract/index.ts';

/** One wire that drives several. */
export function fanOut(...targets: readonly IrqLine[]): IrqLine {
  return {
    set(level) {
      for (const target of targets) target.set(level);
    },
  };
}

/** A wire with several drivers: high while any of them is. */
export class SharedLine {
  readonly #target: IrqLine;
  #high = 0;

  constructor(target: IrqLine) {
    this.#target = target;
  }

  /** Another driver, low at first. */
  driver(): IrqLine {
    let own = false;
    return {
      set: (level) => {
        if (level === own) return;
        own = level;
        this.#high += level ? 1 : -1;
        this.#target.set(this.#high > 0);
      },
    };
  }
}
