/** Machines that go to another process or come from one. */
import {
  arrayOf,
  bool,
  command,
  enumOf,
  event,
  field,
  int,
  num,
  optional,
  size,
  str,
  struct,
  uint8,
  uint64,
} from '../schema/types.ts';

const capability = enumOf('MigrationCapability', 'What migration can be told to do.', [
  'auto-converge',
  'events',
  'return-path',
  'pause-before-switchover',
  'late-block-activate',
]);

const capabilityStatus = struct('MigrationCapabilityStatus', 'A capability and its state.', {
  capability: field(capability),
  state: field(bool),
});

const status = enumOf('MigrationStatus', 'Where a migration stands.', [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover',
  'completed',
  'failed',
  'colo',
  'pre-switchover',
  'device',
  'wait-unplug',
]);

const parameters = {
  'throttle-trigger-threshold': optional(
    uint8,
    'percent of what was sent in a pass that the guest may write meanwhile',
  ),
  'cpu-throttle-initial': optional(uint8, "percent of the guest's time that is taken first"),
  'cpu-throttle-increment': optional(uint8, 'percent that are taken more each time'),
  'max-bandwidth': optional(size, 'bytes a second while the guest runs; 0: no limit'),
  'downtime-limit': optional(uint64, 'milliseconds that the guest may stand still'),
  'max-cpu-throttle': optional(uint8, 'percent that may be taken'),
};

const statistics = struct('MigrationStats', "The guest's memory on its way.", {
  transferred: field(int, 'bytes sent'),
  remaining: field(int, 'bytes to be sent'),
  total: field(int, "bytes of the guest's memory"),
  duplicate: field(int, 'pages of zeros'),
  skipped: field(int, 'always 0'),
  normal: field(int, 'other pages'),
  'normal-bytes': field(int, 'bytes of the other pages'),
  'dirty-pages-rate': field(int, 'pages that the guest writes a second'),
  mbps: field(num, 'megabits sent a second'),
  'dirty-sync-count': field(int, 'passes'),
  'postcopy-requests': field(int, 'always 0'),
  'page-size': field(int, 'bytes of a page'),
  'multifd-bytes': field(int, 'always 0'),
  'pages-per-second': field(int),
  'precopy-bytes': field(int, 'bytes sent while the guest ran'),
  'downtime-bytes': field(int, 'bytes sent while it stood still'),
  'postcopy-bytes': field(int, 'always 0'),
  'dirty-sync-missed-zero-copy': field(int, 'always 0'),
});

const socketAddress = struct('SocketAddress', 'Where a socket listens.', {
  type: field(enumOf('SocketAddressType', 'Kinds of sockets.', ['inet', 'unix', 'vsock', 'fd'])),
  host: optional(str),
  port: optional(str),
  path: optional(str),
});

export const migrationCommands = {
  migrate: command({
    doc: 'Sends the machine to another process, which was started with -incoming; the guest runs meanwhile.',
    args: {
      uri: field(str, 'tcp:HOST:PORT, unix:PATH, exec:COMMAND, file:PATH or fd:NUMBER'),
      blk: optional(bool, 'disks go too; not supported: nbd-server-start and drive-mirror move them'),
      inc: optional(bool, 'as blk'),
      detach: optional(bool, 'accepted, and always so'),
      resume: optional(bool, 'not supported'),
    },
    since: '0.14',
    examples: [{ arguments: { uri: 'tcp:0:4446' }, returns: {} }],
  }),
  'migrate-incoming': command({
    doc: 'Waits for a machine, in a process that was started with -incoming defer.',
    args: { uri: field(str, 'as for migrate') },
    since: '2.3',
    examples: [],
  }),
  migrate_cancel: command({
    doc: 'Ends the migration that is under way; the guest goes on here. Without one, does nothing.',
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  'migrate-continue': command({
    doc: 'Goes on with a migration that waits.',
    args: { state: field(status, 'where it waits: pre-switchover') },
    since: '2.11',
    examples: [],
  }),
  'query-migrate': command({
    doc: 'How the migration is going, or how the last one went.',
    returns: struct('MigrationInfo', 'A migration.', {
      status: optional(status),
      ram: optional(statistics),
      'total-time': optional(int, 'milliseconds since it began, or that it took'),
      'expected-downtime': optional(int, 'milliseconds, if it were now'),
      downtime: optional(int, 'milliseconds for which the guest stood still'),
      'setup-time': optional(int, 'milliseconds'),
      'cpu-throttle-percentage': optional(int),
      'error-desc': optional(str),
      'blocked-reasons': optional(arrayOf(str)),
      'socket-address': optional(arrayOf(socketAddress), 'where a machine is waited for'),
    }),
    since: '0.14',
    examples: [{ returns: {} }],
  }),
  'query-migrate-capabilities': command({
    doc: 'What migration can be told to do, and whether it was.',
    returns: arrayOf(capabilityStatus),
    since: '1.2',
    examples: [{}],
  }),
  'migrate-set-capabilities': command({
    doc: 'Tells migration what to do. Both ways of a socket are always used, return-path or not.',
    args: { capabilities: field(arrayOf(capabilityStatus)) },
    since: '1.2',
    examples: [{ arguments: { capabilities: [{ capability: 'events', state: true }] }, returns: {} }],
  }),
  'query-migrate-parameters': command({
    doc: 'The limits and figures of migration.',
    returns: struct('MigrationParameters', 'Limits and figures.', parameters),
    since: '2.4',
    examples: [{}],
  }),
  'migrate-set-parameters': command({
    doc: 'Sets limits and figures of migration, also of one that is under way.',
    args: parameters,
    since: '2.4',
    examples: [{ arguments: { 'max-bandwidth': 33554432 }, returns: {} }],
  }),
} as const;

export const migrationEvents = {
  MIGRATION: event({
    doc: 'A migration has come to another state; only with the capability events.',
    data: { status: field(status) },
    since: '2.4',
  }),
  MIGRATION_PASS: event({
    doc: "A pass over the guest's memory begins; only with the capability events.",
    data: { pass: field(int, 'from 1 on') },
    since: '2.6',
  }),
} as const;
