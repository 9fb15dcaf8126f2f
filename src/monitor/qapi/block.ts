/** Disks: what they are, what they did. */
import {
  any,
  arrayOf,
  bool,
  command,
  enumOf,
  event,
  field,
  int,
  optional,
  str,
  struct,
  uint32,
} from '../schema/types.ts';

const jobType = enumOf('JobType', 'What a job does.', [
  'commit',
  'stream',
  'mirror',
  'backup',
  'create',
  'snapshot-save',
  'snapshot-load',
  'snapshot-delete',
]);
export const jobStatus = enumOf('JobStatus', 'Where a job stands.', [
  'undefined',
  'created',
  'running',
  'paused',
  'ready',
  'standby',
  'waiting',
  'pending',
  'aborting',
  'concluded',
  'null',
]);
export { jobType };

const cacheInfo = struct('BlockdevCacheInfo', 'How the image is cached.', {
  writeback: field(bool),
  direct: field(bool),
  'no-flush': field(bool),
});

export const imageInfo = struct('ImageInfo', 'An image.', {
  filename: field(str),
  format: field(str),
  'dirty-flag': optional(bool),
  'actual-size': optional(int, 'bytes that it takes on the host'),
  'virtual-size': field(int),
  'cluster-size': optional(int),
  encrypted: optional(bool),
  'backing-filename': optional(str, 'the image that it stands on, as it names it'),
  'full-backing-filename': optional(str),
  'backing-filename-format': optional(str),
  snapshots: optional(arrayOf(any), 'those inside it'),
  'backing-image': optional(any, 'the same of the image that it stands on'),
  'format-specific': optional(any),
});

const bitmapInfo = struct('BlockDirtyInfo', 'A dirty bitmap.', {
  name: optional(str),
  count: field(int, 'bytes that changed'),
  granularity: field(uint32, 'bytes that a bit stands for'),
  recording: field(bool, 'changes are noted'),
  busy: field(bool),
  persistent: field(bool, 'the image keeps it'),
  inconsistent: optional(bool, 'it was in use when a program was killed'),
});

export const deviceInfo = struct('BlockDeviceInfo', 'A node of the block graph.', {
  file: field(str),
  'node-name': optional(str),
  ro: field(bool),
  drv: field(str),
  backing_file: optional(str),
  backing_file_depth: field(int),
  encrypted: field(bool),
  detect_zeroes: field(enumOf('BlockdevDetectZeroesOptions', 'What is done with zeros.', ['off', 'on', 'unmap'])),
  bps: field(int),
  bps_rd: field(int),
  bps_wr: field(int),
  iops: field(int),
  iops_rd: field(int),
  iops_wr: field(int),
  image: field(imageInfo),
  cache: field(cacheInfo),
  write_threshold: field(int),
  'dirty-bitmaps': optional(arrayOf(bitmapInfo)),
});

const blockInfo = struct('BlockInfo', 'A disk of the guest.', {
  device: field(str, 'the id of its -drive, or nothing'),
  qdev: optional(str, 'where it is in the tree of objects'),
  type: field(str),
  removable: field(bool),
  locked: field(bool),
  inserted: optional(deviceInfo),
  tray_open: optional(bool),
  'io-status': optional(enumOf('BlockDeviceIoStatus', 'Whether requests succeed.', ['ok', 'failed', 'nospace'])),
});

const counters = Object.fromEntries(
  [
    'rd_bytes',
    'wr_bytes',
    'unmap_bytes',
    'rd_operations',
    'wr_operations',
    'flush_operations',
    'unmap_operations',
    'rd_total_time_ns',
    'wr_total_time_ns',
    'flush_total_time_ns',
    'unmap_total_time_ns',
    'wr_highest_offset',
    'rd_merged',
    'wr_merged',
    'unmap_merged',
    'failed_rd_operations',
    'failed_wr_operations',
    'failed_flush_operations',
    'failed_unmap_operations',
    'invalid_rd_operations',
    'invalid_wr_operations',
    'invalid_flush_operations',
    'invalid_unmap_operations',
  ].map((name) => [name, field(int)]),
);

const deviceStats = struct('BlockDeviceStats', 'Requests served since the start.', {
  ...counters,
  account_invalid: field(bool),
  account_failed: field(bool),
  timed_stats: field(arrayOf(any)),
});

const blockStats = struct('BlockStats', 'What one disk or node did.', {
  device: optional(str),
  qdev: optional(str),
  'node-name': optional(str),
  stats: field(deviceStats),
  parent: optional(any, 'the node that it stands on'),
});

export const blockCommands = {
  'query-block': command({
    doc: "The guest's disks.",
    returns: arrayOf(blockInfo),
    since: '0.14',
    examples: [{}],
  }),
  'query-blockstats': command({
    doc: "What the guest's disks did.",
    args: { 'query-nodes': optional(bool, 'every node of the block graph instead of the disks') },
    returns: arrayOf(blockStats),
    since: '0.14',
    examples: [{}, { arguments: { 'query-nodes': true } }],
  }),
} as const;

const jobData = {
  type: field(jobType),
  device: field(str, "the job's id"),
  len: field(int, 'how much there is to do, in bytes; may grow'),
  offset: field(int, 'how much is done'),
  speed: field(int, 'bytes a second, 0 for no limit'),
};

export const blockEvents = {
  BLOCK_IO_ERROR: event({
    doc: "A disk's request failed.",
    data: {
      device: field(str),
      'node-name': optional(str),
      operation: field(enumOf('IoOperationType', 'A direction.', ['read', 'write'])),
      action: field(enumOf('BlockErrorAction', 'What was done.', ['ignore', 'report', 'stop'])),
      nospace: optional(bool),
      reason: field(str),
    },
    since: '0.13',
    rateLimitNanos: 1e9,
  }),
  BLOCK_JOB_COMPLETED: event({
    doc: 'A job on a disk is over; `error` says when it failed.',
    data: { ...jobData, error: optional(str) },
    since: '1.1',
  }),
  BLOCK_JOB_CANCELLED: event({ doc: 'A job on a disk was cancelled.', data: jobData, since: '1.1' }),
  BLOCK_JOB_READY: event({
    doc: 'A job on a disk has copied everything and copies what changes, until it is told to complete.',
    data: jobData,
    since: '1.3',
  }),
  BLOCK_JOB_PENDING: event({
    doc: 'A job has done its work and waits for job-finalize.',
    data: { type: field(jobType), id: field(str) },
    since: '2.12',
  }),
  JOB_STATUS_CHANGE: event({
    doc: 'A job has another status.',
    data: { id: field(str), status: field(jobStatus) },
    since: '3.0',
  }),
  BLOCK_EXPORT_DELETED: event({ doc: 'An export is gone.', data: { id: field(str) }, since: '5.2' }),
  DEVICE_TRAY_MOVED: event({
    doc: 'The tray of a drive was opened or closed.',
    data: { device: field(str), id: field(str), 'tray-open': field(bool) },
    since: '1.1',
  }),
} as const;
