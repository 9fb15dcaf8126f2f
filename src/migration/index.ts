/** Machines as bytes: snapshots and live migration. */
export { damaged, PAGE_BYTES } from './format.ts';
export {
  type MigratedMachine,
  MigrationCancelled,
  type MigrationChannel,
  type MigrationClock,
  type MigrationHooks,
  type MigrationProgress,
  OutgoingMigration,
} from './outgoing.ts';
export { DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.ts';
export { type RamView, SnapshotReader } from './reader.ts';
export { type DeviceSection, recordFromText, recordToText } from './record-text.ts';
export { scannedMemory, scannerOf } from './scan.ts';
export { type SnapshotParts, snapshotBytes } from './writer.ts';
