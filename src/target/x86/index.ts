/** The x86 family. */
export type { FloatLanes, Semantics, Variant, X86Builder } from './builder.ts';
export { type FeatureLeaf, X86_CPU, type X86CpuRecord } from './cpu-record.ts';
export * from './decode.ts';
export { featureLeaves, requireFeatures } from './feature-record.ts';
export {
  dynamicCondition,
  type FlagsKind,
  flagsCode,
  flagsKinds,
  flagsLibrary,
  type KnownFlags,
  keepsCarry,
  knownCondition,
} from './flags.ts';
export * from './helpers.ts';
export * from './mode.ts';
export * from './operand.ts';
export * from './pattern.ts';
export * as state from './state.ts';
export { stateSize } from './state.ts';
export { isCanonical, type SystemContext, shadowAtLinear } from './system/context.ts';
export * from './system/index.ts';
export { fastRounding } from './table/fp.ts';
export {
  deliverPageFault,
  emitUnitCheck,
  tooLongInstruction,
  undefinedOpcode,
  vectorLibrary,
  x86Rows,
  x87Library,
} from './table/index.ts';
export type { Feature, Row } from './table/row.ts';
