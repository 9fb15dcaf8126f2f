/** What generated functions return and may call; shared by the interpreter's loop and its handlers. */
import type { FunctionType } from '../wasm/writer.ts';

/** A handler's answer to the loop. */
export const status = {
  /** Go on with the next record. */
  next: 0,
  /** Go on at state `linear`. */
  jump: 1,
  /** An exception is pending in state `faultVector`. */
  fault: 2,
  /** Leave for the engine; state `linear` says where to go on. */
  leave: 3,
  /** Run this record again (REP), after a look at the budget. */
  repeat: 4,
} as const;

/** Why the interpreter's `run` came back. */
export const exit = {
  /** The budget is spent; state `linear` says where to go on. */
  slice: 0,
  /** An exception at state `record`. */
  fault: 1,
  /** State `linear` is in no known code page, or not decoded yet. */
  fetch: 2,
  /** A helper asked to leave; state `linear` says where to go on. */
  leave: 3,
  /** Regions lead again and again to the place of state `record` and `linear`, where none begins. */
  hot: 4,
} as const;

/** Functions of the engine that generated code calls; all take and give i32. */
export const runtimeImports = {
  /** (address low, high, size) → 1 on a fault; the value is in state `slow`. */
  loadSlow: { params: ['i32', 'i32', 'i32'], results: ['i32'] },
  /** (address low, high, size) → 1 on a fault; the value is taken from state `slow`. */
  storeSlow: { params: ['i32', 'i32', 'i32'], results: ['i32'] },
  /** (address low, high, size) → 1 on a fault. */
  probeSlow: { params: ['i32', 'i32', 'i32'], results: ['i32'] },
  /** (segment, offset, size | write << 8) → 1 on a fault; the linear address is in state `slow`. */
  segmentSlow: { params: ['i32', 'i32', 'i32'], results: ['i32'] },
  /** () → 0; the ticks of the TSC's clock are in state `slow`. */
  readTsc: { params: [], results: ['i32'] },
  /** (helper number, record) → a status. */
  helper: { params: ['i32', 'i32'], results: ['i32'] },
} as const satisfies Record<string, FunctionType>;
/**
 * Functions of the engine's own module that other generated code calls. Those that are named as the engine's do in
 * generated code what can be done there, and leave the rest to them.
 */
export const coreFunctions = {
  loadSlow: runtimeImports.loadSlow,
  storeSlow: runtimeImports.storeSlow,
  probeSlow: runtimeImports.probeSlow,
  /** (address, size, with `fillWrite` for a write) → 0: the TLB has the page now (see `filled`). */
  fill: { params: ['i64', 'i32'], results: ['i32'] },
} as const satisfies Record<string, FunctionType>;

/** What generated code calls. */
export const runtimeFunctions = { ...runtimeImports, ...coreFunctions } as const;
export type RuntimeImport = keyof typeof runtimeImports;
export type RuntimeFunction = keyof typeof runtimeFunctions;

/** A bit beside the size, which is less. */
export const fillWrite = 0x1_0000;
/** Answers of `fill`: the TLB has the page; a page fault is pending; it is for the engine to say. */
export const filled = { yes: 0, fault: 1, unknown: 2 } as const;

export const handlerType: FunctionType = { params: ['i32'], results: ['i32'] };
