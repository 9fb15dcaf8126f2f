/** Machines as bytes: snapshots and what moves them. */
export { damaged, PAGE_BYTES } from './format.ts';
export { type RamView, SnapshotReader } from './reader.ts';
export { recordFromText, recordToText } from './record-text.ts';
export { type SnapshotParts, snapshotBytes } from './writer.ts';
