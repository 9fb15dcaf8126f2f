/**
 * The statement side of the IR: what the semantics of an instruction may do.
 *
 * An engine implements this interface. The interpreter's implementation emits
 * code that reads the operands out of a decoded record; the translator's emits
 * code with the operands as constants. Semantics can not tell the difference.
 *
 * Order matters for exactness: do everything that can fault (memory accesses,
 * `raise`) before the first change of state. An engine may leave at an access
 * that misses its TLB and run the same instruction again from its start.
 */
import type { Expr, IntSize } from './expr.ts';
import type { ValueType } from './ops.ts';

/** A place in the CPU state. */
export interface Field {
  readonly name: string;
  /** Byte offset from the start of the CPU state. */
  readonly offset: number;
  readonly type: ValueType;
}

/** A mutable local; using it as an expression reads its current value. */
export type Variable = Extract<Expr, { kind: 'local' }>;

export interface Builder {
  /** Computes `e` now and names the value. */
  let(e: Expr): Expr;
  variable(init: Expr): Variable;
  set(variable: Variable, e: Expr): void;
  if(cond: Expr, then: () => void, otherwise?: () => void): void;
  /** `if`, for what hardly ever happens. */
  ifUnlikely(cond: Expr, then: () => void): void;
  /** Repeats `body` while it calls `again()` at its end on some path; falling off the end leaves the loop. */
  loop(body: (again: () => void) => void): void;

  get(field: Field): Expr;
  put(field: Field, e: Expr): void;
  /** Reads a value of `type` (integers zero-extended from `bytes`) at a computed byte offset of the CPU state. */
  getAt(offset: Expr, displacement: number, type: ValueType, bytes: number): Expr;
  putAt(offset: Expr, displacement: number, e: Expr, bytes: number): void;

  /** Guest memory at an i64 linear address with the current privilege; zero-extended; faults leave the instruction. */
  load(address: Expr, size: IntSize): Expr;
  store(address: Expr, size: IntSize, value: Expr): void;
  load128(address: Expr): Expr;
  store128(address: Expr, value: Expr): void;
  /** Faults now if a store of `size` bytes there would; changes nothing. */
  probeWrite(address: Expr, size: number): void;

  /** Calls a library function (see LibraryFunction); its result, or undefined when it has none. */
  call(name: string, ...args: Expr[]): Expr;
  /** Leaves with exception `vector` at this instruction; `error` is pushed where the vector has an error code. */
  raise(vector: number, error?: Expr): void;
}

/**
 * A function shared by many handlers, such as a soft-float addition: emitted once
 * into the engine's module and called by name with `Builder.call`.
 * The body may use everything but operands; it returns the result expression.
 */
export interface LibraryFunction {
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly result: ValueType | undefined;
  body(b: Builder, ...args: Variable[]): Expr | undefined;
}
