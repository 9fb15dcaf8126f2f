/** The system side of the x86 CPU: everything that is not generated code. */
export { cr0Bits, cr4Bits, eferBits, type HelperResult, isCanonical, outcome, rightsBits } from './context.ts';
export { X86State } from './cpu.ts';
export { dataBreakpoints } from './debug.ts';
export { CpuFault } from './fault.ts';
export { featureBits, leafKey, wordsOf } from './features.ts';
export { type CpuModel, modelNames, resolveModel, type Topology } from './models.ts';
export { PageWalker, pageAccess, pageEntry, reservedError } from './paging.ts';
export { type Rights, rights, type SystemPorts } from './ports.ts';
export type { PendingEvents } from './record.ts';
export { readFlags } from './rflags.ts';
export { withinLimit } from './stack.ts';
export { createSystem, type System } from './system.ts';
