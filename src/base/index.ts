/** What every room may use: errors, bits, state codecs. */
export * from './bits.ts';
export * from './cpio.ts';
export * from './errors.ts';
export * from './state.ts';
export * from './units.ts';
