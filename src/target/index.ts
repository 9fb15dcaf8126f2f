/** Guest CPUs as tables: the IR, and x86. */
export * from './ir/index.ts';
export { softfloatLibrary } from './softfloat/index.ts';
export * from './x86/index.ts';
