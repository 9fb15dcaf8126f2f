/** Filters: `(next, options) => BlockNode`, each about one thing. */
export { alignFilter } from './align.ts';
export { type CopyBeforeWriteOptions, copyBeforeWriteFilter, copyOnReadFilter } from './copy.ts';
export { flatFilter } from './flat.ts';
export {
  type DelayOptions,
  delayFilter,
  type Fault,
  faultFilter,
  type LogOptions,
  logFilter,
  type RequestKind,
} from './observe.ts';
export { findPartition } from './partitions.ts';
export { passThrough } from './pass.ts';
export {
  type LeakyBucket,
  leakyBucket,
  type ThrottleKind,
  type ThrottleLimit,
  type ThrottleOptions,
  throttleFilter,
} from './throttle.ts';
export { type WindowOptions, windowFilter } from './window.ts';
export { type DetectZeroesOptions, detectZeroesFilter } from './zeroes.ts';
