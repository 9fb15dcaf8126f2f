/** Disks: what they are, what they did. */
import {
  alternate,
  any,
  arrayOf,
  bool,
  command,
  commandOf,
  enumOf,
  event,
  field,
  int,
  nil,
  optional,
  size,
  str,
  struct,
  union,
} from '../schema/types.ts';

const cacheInfo = struct('BlockdevCacheInfo', 'How the image is cached.', {
  writeback: field(bool),
  direct: field(bool),
  'no-flush': field(bool),
});

const imageInfo = struct('ImageInfo', 'An image.', {
  filename: field(str),
  format: field(str),
  'dirty-flag': optional(bool),
  'actual-size': optional(int, 'bytes that it takes on the host'),
  'virtual-size': field(int),
  'cluster-size': optional(int),
  'format-specific': optional(any),
});

const deviceInfo = struct('BlockDeviceInfo', 'A node of the block graph.', {
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

const drivers = enumOf('BlockdevDriver', 'Formats and protocols.', ['file', 'qcow2', 'raw']);
const child = alternate('BlockdevRef', 'A node, by its name.', [str]);
const backing = alternate('BlockdevRefOrNull', 'A node, or none.', [str, nil]);

export const blockdevOptions = union(
  'BlockdevOptions',
  'A node of the block graph.',
  {
    driver: field(drivers),
    'node-name': optional(str),
    discard: optional(enumOf('BlockdevDiscardOptions', 'Whether space is given back.', ['ignore', 'unmap'])),
    cache: optional(struct('BlockdevCacheOptions', 'Caching.', { direct: optional(bool), 'no-flush': optional(bool) })),
    'read-only': optional(bool),
    'auto-read-only': optional(bool),
    'detect-zeroes': optional(
      enumOf('BlockdevDetectZeroesOptions', 'What is done with zeros.', ['off', 'on', 'unmap']),
    ),
  },
  'driver',
  {
    file: struct('BlockdevOptionsFile', 'A file of the host.', {
      filename: field(str),
      locking: optional(enumOf('OnOffAuto', 'A switch.', ['auto', 'on', 'off'])),
      aio: optional(enumOf('BlockdevAioOptions', 'How the host does it.', ['threads', 'native', 'io_uring'])),
    }),
    qcow2: struct('BlockdevOptionsQcow2', 'A qcow2 image.', { file: field(child), backing: optional(backing) }),
    raw: struct('BlockdevOptionsRaw', 'Bytes as they are.', {
      file: field(child),
      offset: optional(int),
      size: optional(size),
    }),
  },
);

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
  'query-named-block-nodes': command({
    doc: 'The nodes of the block graph.',
    args: { flat: optional(bool, 'without the images below each') },
    returns: arrayOf(deviceInfo),
    since: '2.0',
    examples: [{ arguments: { flat: true } }],
  }),
  'query-block-jobs': command({
    doc: 'The jobs on block nodes; none can be begun yet.',
    returns: arrayOf(any),
    since: '1.1',
    examples: [{ returns: [] }],
  }),
  'query-jobs': command({
    doc: 'The jobs; none can be begun yet.',
    returns: arrayOf(any),
    since: '3.0',
    examples: [{ returns: [] }],
  }),
  'blockdev-add': commandOf(blockdevOptions, {
    doc: 'Makes a node of the block graph. It is opened when a disk uses it.',
    since: '2.9',
    examples: [
      {
        arguments: { driver: 'file', 'node-name': 'file7', filename: '/tmp/disk.qcow2' },
        returns: {},
      },
    ],
  }),
  'blockdev-del': command({
    doc: 'Removes a node that nobody uses.',
    args: { 'node-name': field(str) },
    since: '2.9',
    examples: [],
  }),
} as const;

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
} as const;
