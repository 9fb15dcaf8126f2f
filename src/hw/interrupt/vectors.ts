/** Sets of interrupt vectors as the local APIC keeps them: eight registers of 32 bits. */

import type { StateCodec } from '../../base/index.ts';
import { array, highestBit, u32 } from '../../base/index.ts';

export type VectorSet = number[];

export function vectorSet(): StateCodec<VectorSet> {
  return array(8, u32());
}

export function addVector(set: VectorSet, vector: number): void {
  set[vector >> 5] = (set[vector >> 5] | (1 << (vector & 31))) >>> 0;
}

export function removeVector(set: VectorSet, vector: number): void {
  set[vector >> 5] = (set[vector >> 5] & ~(1 << (vector & 31))) >>> 0;
}

export function hasVector(set: VectorSet, vector: number): boolean {
  return ((set[vector >> 5] >>> (vector & 31)) & 1) !== 0;
}

/** The highest vector in the set, or -1. */
export function highestVector(set: VectorSet): number {
  for (let i = 7; i >= 0; i--) {
    if (set[i] !== 0) return i * 32 + highestBit(set[i]);
  }
  return -1;
}
