/** Commands on block nodes that the machine's node graph answers. */
import { any, arrayOf, bool, command, commandOf, enumOf, field, int, optional, str, struct } from '../schema/types.ts';
import { deviceInfo } from './block.ts';
import { blockBitmapCommands } from './block-bitmaps.ts';
import { blockJobCommands } from './block-jobs.ts';
import { blockdevOptions } from './blockdev-options.ts';

const drive = { device: optional(str, 'the id of its -drive'), id: optional(str, "the device's id") };

const address = struct('SocketAddressLegacy', 'Where to listen.', {
  type: field(enumOf('SocketAddressType', 'Kinds of addresses.', ['inet', 'unix', 'vsock', 'fd'])),
  data: optional(any, 'host and port, or path'),
  host: optional(str),
  port: optional(str),
  path: optional(str),
});

const limit = Object.fromEntries(
  ['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr'].flatMap((name) => [
    [`${name}_max`, optional(int, 'what may come at once')],
    [`${name}_max_length`, optional(int, 'only 1')],
  ]),
);

const removeMode = enumOf('BlockExportRemoveMode', 'What becomes of clients.', ['safe', 'hard']);

const nodeCommands = {
  'query-named-block-nodes': command({
    doc: 'The nodes of the block graph.',
    args: { flat: optional(bool, 'without the images below each') },
    returns: arrayOf(deviceInfo),
    since: '2.0',
    examples: [{ arguments: { flat: true } }],
  }),
  'blockdev-add': commandOf(blockdevOptions, {
    doc: 'Opens a node of the block graph.',
    since: '2.9',
    examples: [
      {
        arguments: { driver: 'file', 'node-name': 'file7', filename: '/tmp/other.qcow2' },
        returns: {},
      },
      {
        arguments: { driver: 'qcow2', 'node-name': 'disk7', file: { driver: 'file', filename: '/tmp/other.qcow2' } },
        returns: {},
      },
    ],
  }),
  'blockdev-del': command({
    doc: 'Closes a node that nobody uses.',
    args: { 'node-name': field(str) },
    since: '2.9',
    examples: [{ arguments: { 'node-name': 'spare' }, returns: {} }],
  }),
  'blockdev-reopen': command({
    doc: 'Opens nodes again with other options: read-only, caching, and what they stand on can change.',
    args: { options: field(arrayOf(blockdevOptions)) },
    since: '6.1',
    examples: [
      {
        arguments: { options: [{ driver: 'qcow2', 'node-name': 'spare', file: 'sparefile', 'read-only': true }] },
        returns: {},
      },
    ],
  }),
  block_resize: command({
    doc: 'Changes the size of a disk; the guest is told.',
    args: { device: optional(str), 'node-name': optional(str), size: field(int, 'in bytes') },
    since: '0.14',
    examples: [{ arguments: { device: 'd0', size: 1048576 }, returns: {} }],
  }),
  block_set_io_throttle: command({
    doc: 'Limits a disk to so many bytes and requests a second; 0 is no limit.',
    args: {
      ...drive,
      bps: field(int),
      bps_rd: field(int),
      bps_wr: field(int),
      iops: field(int),
      iops_rd: field(int),
      iops_wr: field(int),
      ...limit,
      iops_size: optional(int),
      group: optional(str),
    },
    since: '1.1',
    examples: [
      {
        arguments: { device: 'd0', bps: 1000000, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 },
        returns: {},
      },
    ],
  }),
  'change-backing-file': command({
    doc: 'Changes the name by which an image knows the one below it; what is below stays.',
    args: { device: field(str), 'image-node-name': field(str), 'backing-file': field(str) },
    since: '2.1',
    examples: [],
  }),
  'blockdev-snapshot': command({
    doc: 'Puts an overlay on a node: what the guest writes goes there from now on.',
    args: { node: field(str), overlay: field(str, 'an image that stands on nothing yet') },
    since: '2.5',
    features: ['allow-write-only-overlay'],
    examples: [{ arguments: { node: 'd0', overlay: 'spare' }, returns: {} }],
  }),
  'blockdev-snapshot-sync': command({
    doc: 'Makes an overlay and puts it on a node.',
    args: {
      device: optional(str),
      'node-name': optional(str),
      'snapshot-file': field(str),
      'snapshot-node-name': optional(str),
      format: optional(str, 'default qcow2'),
      mode: optional(enumOf('NewImageMode', 'Whether the image is made.', ['existing', 'absolute-paths'])),
    },
    since: '0.14',
    examples: [{ arguments: { device: 'd0', 'snapshot-file': '/tmp/over.qcow2' }, returns: {} }],
  }),
  'blockdev-snapshot-internal-sync': command({
    doc: 'Makes a snapshot inside the image.',
    args: { device: field(str), name: field(str) },
    since: '1.7',
    examples: [{ arguments: { device: 'd0', name: 'before' }, returns: {} }],
  }),
  'blockdev-snapshot-delete-internal-sync': command({
    doc: 'Deletes a snapshot inside the image.',
    args: { device: field(str), id: optional(str), name: optional(str) },
    returns: any,
    since: '1.7',
    examples: [],
  }),
  transaction: command({
    doc: 'Several actions at one moment, all or none.',
    args: {
      actions: field(
        arrayOf(
          struct('TransactionAction', 'An action.', {
            type: field(
              enumOf('TransactionActionKind', 'Actions.', [
                'abort',
                'block-dirty-bitmap-add',
                'block-dirty-bitmap-remove',
                'block-dirty-bitmap-clear',
                'block-dirty-bitmap-enable',
                'block-dirty-bitmap-disable',
                'block-dirty-bitmap-merge',
                'blockdev-backup',
                'blockdev-snapshot',
                'blockdev-snapshot-internal-sync',
                'blockdev-snapshot-sync',
                'drive-backup',
              ]),
            ),
            data: field(any, "the command's arguments"),
          }),
        ),
      ),
      properties: optional(
        struct('TransactionProperties', 'How jobs of a transaction end.', {
          'completion-mode': optional(
            enumOf('ActionCompletionMode', 'Each by itself, or together.', ['individual', 'grouped']),
          ),
        }),
      ),
    },
    since: '1.1',
    examples: [
      {
        arguments: {
          actions: [
            { type: 'block-dirty-bitmap-add', data: { node: 'd0', name: 'since-backup' } },
            { type: 'blockdev-backup', data: { 'job-id': 'backup', device: 'd0', target: 'spare', sync: 'full' } },
          ],
        },
        returns: {},
      },
    ],
  }),
  eject: command({
    doc: 'Opens the tray of a drive and takes the disc out.',
    args: { ...drive, force: optional(bool) },
    since: '0.14',
    examples: [{ arguments: { id: 'cd0' }, returns: {} }],
  }),
  'blockdev-open-tray': command({
    doc: 'Opens the tray of a drive.',
    args: { ...drive, force: optional(bool) },
    since: '2.5',
    examples: [{ arguments: { id: 'cd0' }, returns: {} }],
  }),
  'blockdev-close-tray': command({
    doc: 'Closes the tray of a drive.',
    args: drive,
    since: '2.5',
    examples: [{ arguments: { id: 'cd0' }, returns: {} }],
  }),
  'blockdev-remove-medium': command({
    doc: 'Takes the disc out of a drive whose tray is open.',
    args: { id: field(str) },
    since: '2.12',
    examples: [],
  }),
  'blockdev-insert-medium': command({
    doc: 'Puts a node into a drive whose tray is open.',
    args: { id: field(str), 'node-name': field(str) },
    since: '2.12',
    examples: [],
  }),
  'blockdev-change-medium': command({
    doc: 'Changes the disc in a drive.',
    args: {
      ...drive,
      filename: field(str),
      format: optional(str),
      force: optional(bool),
      'read-only-mode': optional(
        enumOf('BlockdevChangeReadOnlyMode', 'Whether it can be written to.', ['retain', 'read-only', 'read-write']),
      ),
    },
    since: '2.5',
    examples: [{ arguments: { id: 'cd0', filename: '/tmp/disc.iso', format: 'raw' }, returns: {} }],
  }),
} as const;

const exportCommands = {
  'nbd-server-start': command({
    doc: 'Listens for NBD clients.',
    args: {
      addr: field(address),
      'tls-creds': optional(str),
      'tls-authz': optional(str),
      'max-connections': optional(int, 'default 100; 0 for no limit'),
    },
    since: '1.3',
    examples: [{ arguments: { addr: { type: 'unix', data: { path: '/tmp/nbd' } } }, returns: {} }],
  }),
  'nbd-server-stop': command({ doc: 'Ends the NBD server and its exports.', since: '1.3', examples: [] }),
  'nbd-server-add': command({
    doc: 'Exports a disk.',
    args: {
      device: field(str),
      name: optional(str, 'default the device'),
      description: optional(str),
      writable: optional(bool),
      bitmap: optional(str),
    },
    since: '1.3',
    examples: [],
  }),
  'nbd-server-remove': command({
    doc: 'Ends an export by its name.',
    args: { name: field(str), mode: optional(removeMode) },
    since: '2.12',
    examples: [],
  }),
  'block-export-add': command({
    doc: 'Exports a node.',
    args: {
      type: field(enumOf('BlockExportType', 'How it is exported.', ['nbd', 'vhost-user-blk', 'fuse', 'vduse-blk'])),
      id: field(str),
      'node-name': field(str),
      writable: optional(bool),
      writethrough: optional(bool),
      'fixed-iothread': optional(bool),
      iothread: optional(str),
      name: optional(str),
      description: optional(str),
      bitmaps: optional(arrayOf(any)),
      'allocation-depth': optional(bool),
    },
    since: '5.2',
    examples: [],
  }),
  'block-export-del': command({
    doc: 'Ends an export.',
    args: { id: field(str), mode: optional(removeMode) },
    since: '5.2',
    examples: [],
  }),
  'query-block-exports': command({
    doc: 'The exports.',
    returns: arrayOf(
      struct('BlockExportInfo', 'An export.', {
        id: field(str),
        type: field(str),
        'node-name': field(str),
        'shutting-down': field(bool),
      }),
    ),
    since: '5.2',
    examples: [{ returns: [] }],
  }),
} as const;

export const blockGraphCommands = {
  ...nodeCommands,
  ...blockJobCommands,
  ...blockBitmapCommands,
  ...exportCommands,
} as const;

export const blockGraphNames = Object.keys(blockGraphCommands) as readonly (keyof typeof blockGraphCommands)[];
