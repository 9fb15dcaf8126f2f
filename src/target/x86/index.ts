/** The x86 family. */
export type { Semantics, Variant, X86Builder } from './builder.ts';
export * from './decode.ts';
export {
  dynamicCondition,
  type FlagsKind,
  flagsCode,
  flagsKinds,
  flagsLibrary,
  type KnownFlags,
  knownCondition,
} from './flags.ts';
export * from './helpers.ts';
export * from './mode.ts';
export * from './operand.ts';
export * from './pattern.ts';
export * as state from './state.ts';
export { stateSize } from './state.ts';
export { isCanonical, type SystemContext } from './system/context.ts';
export { X86State } from './system/cpu.ts';
export { CpuFault } from './system/fault.ts';
export { deliverException, deliverInterrupt, deliverNmi, deliverTrap } from './system/interrupt.ts';
export { type CpuModel, modelNames, resolveModel } from './system/models.ts';
export { PageWalker, pageAccess } from './system/paging.ts';
export { type Rights, rights, type SystemPorts } from './system/ports.ts';
export { tooLongInstruction, undefinedOpcode, x86Rows } from './table/index.ts';
export type { Feature, Row } from './table/row.ts';
