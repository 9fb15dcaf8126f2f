/** What the instructions of a region share: its state in locals, what is known along a path, and the ways on. */
import type { Expr, ValueType, Variable } from '../../../target/index.ts';
import { noKnowledge, type Sequence } from '../emit/handler.ts';
import type { FunctionEmitter, Label } from '../wasm/function.ts';
import { type LocalPair, Reached } from './reached.ts';

/** Thrown while emitting semantics that the translator can not run. */
export class Untranslatable extends Error {}

/** The state that a region keeps in locals. */
export class RegionFrame {
  readonly f: FunctionEmitter;
  readonly result: Variable;
  readonly page: Variable;
  readonly tlb: Variable;
  /** What is left of state `budget`. */
  readonly budget: Variable;
  /** What `fastRounding` says of MXCSR; used by some instruction. */
  readonly roundsFast: Variable;
  usesFloats = false;
  /** A TLB miss is tried to be filled, instead of leaving: pays where misses are many, and costs a tenth in tight loops. */
  fillsTlb = false;
  private readonly locals = new Map<number, Variable>();
  private readonly written = new Set<number>();
  private readonly constants = new Map<Expr, Variable>();
  /** For the engine addresses that are known at a time. */
  readonly reaches: readonly LocalPair[];
  readonly names = { next: 0 };

  constructor(f: FunctionEmitter) {
    this.f = f;
    this.result = f.lasting('i32');
    this.page = f.lasting('i64');
    this.tlb = f.lasting('i32');
    this.budget = f.lasting('i32');
    this.roundsFast = f.lasting('i32');
    this.reaches = Array.from({ length: knownReaches }, () => [f.lasting('i32'), f.lasting('i32')] as const);
  }

  /** The local of a slot (a state offset where a cached register starts). */
  slot(offset: number, type: ValueType): Variable {
    let local = this.locals.get(offset);
    if (!local) {
      local = this.f.lasting(type);
      this.locals.set(offset, local);
    }
    return local;
  }

  /** The local that has the value of a constant expression from the region's start. */
  constant(e: Expr): Expr {
    let local = this.constants.get(e);
    if (!local) {
      local = this.f.lasting(e.type);
      this.constants.set(e, local);
    }
    return local;
  }

  setConstants(): void {
    for (const [e, local] of this.constants) this.f.set(local, e);
  }

  markWritten(offset: number): void {
    this.written.add(offset);
  }

  /** Reads every slot that is used. */
  loadAll(load: (offset: number, type: ValueType) => Expr): void {
    for (const [offset, local] of this.locals) this.f.set(local, load(offset, local.type));
  }

  storeWritten(store: (offset: number, value: Expr) => void): void {
    for (const offset of this.written) store(offset, this.locals.get(offset) as Variable);
  }
}

/** Engine addresses that are known at a time. */
const knownReaches = 6;

/** What is known along a path of a region. */
export interface RegionSequence extends Sequence {
  readonly reached: Reached;
}

/** Where nothing is known, as in front of a loop. */
export const startOfPath = (frame: RegionFrame): RegionSequence => ({
  ...noKnowledge(),
  reached: new Reached(frame.names),
});

/** For one of several ways that the path goes on. */
export const branchOfPath = ({ known, tame, reached }: RegionSequence): RegionSequence => ({
  known,
  tame: new Map(tame),
  reached: reached.copy(),
});

/** Where control goes from a block of the region. */
export interface RegionControl {
  readonly frame: RegionFrame;
  readonly exit: Label;
  /** Linear distance of the instruction's page from the entry's. */
  readonly delta: number;
  /** What is known of addresses is used, which takes longer to translate. */
  readonly isFinal: boolean;
  /** Emits the way to a place (see region.ts): a branch within the region, or the way out. */
  goTo(offset: number): void;
  /** Places in the region where the instruction, an indirect branch, may go. */
  readonly targets: readonly number[];
  /** Engine address of the i32s that keep where an indirect branch goes otherwise (see `seenSlots`), or 0. */
  readonly seen: number;
}

/** The record that the interpreter goes on with when an instruction leaves, or where in memory its address is. */
export type LeaveAddress = { readonly record: number } | { readonly cell: number };

/** How many targets of an indirect branch are remembered: the low halves of linear addresses, by a hash of them. */
export const seenSlots = 16;
