/** Filters: `(next, options) => BlockNode`, each about one thing. */
export { flatFilter } from './flat.ts';
export { findPartition } from './partitions.ts';
export { passThrough } from './pass.ts';
export { type WindowOptions, windowFilter } from './window.ts';
export { type DetectZeroesOptions, detectZeroesFilter } from './zeroes.ts';
