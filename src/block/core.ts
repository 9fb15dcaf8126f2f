/**
 * The part of the library that nearly every use needs: raw and qcow2, and what all formats share. A second face of
 * the room beside index.ts, for programs whose start counts: the other formats are loaded when an image has one.
 */

export { chainOf, type DeepExtent, deepExtent } from './chain.ts';
export * from './compression.ts';
export { legacyAesCipher } from './crypto/sectors.ts';
export * from './format.ts';
export * from './qcow2/index.ts';
export { raw } from './raw.ts';
export { alignDown, alignUp, isZero, readPadded, zeroRange } from './request.ts';
