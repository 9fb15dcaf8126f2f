/**
 * The CPU state as TypeScript sees it: a typed view of the fields in state.ts,
 * which lie in the engine's shared memory.
 *
 * A 64-bit value is handled as two 32-bit halves (signed int32, low and high),
 * because bigint costs an allocation; `getBig` is for rare paths and for text.
 */
import type { Field } from '../../ir/index.ts';
import { stateSize } from '../state.ts';

export class X86State {
  private readonly words: Int32Array;
  private readonly longs: BigInt64Array;
  /** All of the state; vector and x87 registers are copied through this. */
  readonly bytes: Uint8Array;

  /** @param base byte offset of the state in `buffer`, a multiple of 16 */
  constructor(buffer: SharedArrayBuffer, base: number) {
    const size = (stateSize + 7) & ~7;
    this.words = new Int32Array(buffer, base, size >> 2);
    this.longs = new BigInt64Array(buffer, base, size >> 3);
    this.bytes = new Uint8Array(buffer, base, size);
  }

  /** An i32 field, or the low half of an i64 field, as int32. */
  get(f: Field): number {
    return this.words[f.offset >> 2];
  }

  /** Sets an i32 field, or the low half alone of an i64 field. */
  set(f: Field, value: number): void {
    this.words[f.offset >> 2] = value;
  }

  /** The high half of an i64 field as int32. */
  high(f: Field): number {
    return this.words[(f.offset >> 2) + 1];
  }

  /** Sets an i64 field from its halves. */
  setPair(f: Field, low: number, high: number): void {
    const index = f.offset >> 2;
    this.words[index] = low;
    this.words[index + 1] = high;
  }

  /** Sets an i64 field to an unsigned 32-bit value. */
  setLow(f: Field, low: number): void {
    this.setPair(f, low, 0);
  }

  copy(to: Field, from: Field): void {
    this.setPair(to, this.get(from), this.high(from));
  }

  /** An i64 field as an unsigned bigint. */
  getBig(f: Field): bigint {
    return BigInt.asUintN(64, this.longs[f.offset >> 3]);
  }

  setBig(f: Field, value: bigint): void {
    this.longs[f.offset >> 3] = BigInt.asIntN(64, value);
  }

  /** A 32-bit word at a byte offset within the state: for the register file's loops. */
  word(offset: number): number {
    return this.words[offset >> 2];
  }

  setWord(offset: number, value: number): void {
    this.words[offset >> 2] = value;
  }
}
