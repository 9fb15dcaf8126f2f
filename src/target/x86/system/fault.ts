/** Exceptions on their way from a helper to their delivery. */
import { vector } from '../state.ts';

/**
 * Thrown by helpers and by the engine's ports; the engine's import wrapper
 * catches it and calls `deliverException`. Not an Error: no stack is captured.
 * For #PF the linear address is in state `faultAddress`.
 */
export class CpuFault {
  readonly vector: number;
  /** Error code; ignored by vectors that push none. */
  readonly error: number;

  constructor(vector: number, error: number) {
    this.vector = vector;
    this.error = error;
  }
}

export function raise(vectorNumber: number, error = 0): never {
  throw new CpuFault(vectorNumber, error);
}

/** #GP(error). */
export function raiseGp(error = 0): never {
  throw new CpuFault(vector.GP, error);
}

export function raiseUd(): never {
  throw new CpuFault(vector.UD, 0);
}
