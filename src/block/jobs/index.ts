/** Jobs on a disk that is in use: mirror, stream, commit, backup. */
export {
  type BackupOptions,
  backupJob,
  type CommitOptions,
  commitJob,
  type MirrorOptions,
  mirrorJob,
  type SyncMode,
} from './copy.ts';
export type { Job, JobOptions, JobState } from './job.ts';
export { GRANULE_BYTES, type LiveNode, liveNode, type WriteHook } from './live.ts';
export { type StreamOptions, streamJob } from './stream.ts';
