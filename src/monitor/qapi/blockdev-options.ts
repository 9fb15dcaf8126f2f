/** What a node of the block graph is made of. */
import {
  alternate,
  bool,
  enumOf,
  field,
  int,
  nil,
  type ObjectType,
  optional,
  size,
  str,
  struct,
  union,
} from '../schema/types.ts';

const drivers = enumOf('BlockdevDriver', 'Formats, protocols and filters.', [
  'bochs',
  'cloop',
  'copy-on-read',
  'cow',
  'dmg',
  'file',
  'host_cdrom',
  'host_device',
  'http',
  'https',
  'luks',
  'nbd',
  'null-aio',
  'null-co',
  'parallels',
  'qcow',
  'qcow2',
  'raw',
  'throttle',
  'vdi',
  'vhdx',
  'vmdk',
  'vpc',
]);

/** A node inside another one's options; the graph checks what its driver takes. */
const inner: ObjectType = {
  kind: 'object',
  name: 'BlockdevOptions',
  doc: 'A node of the block graph.',
  members: { driver: field(drivers) },
  open: true,
};
const child = alternate('BlockdevRef', 'A node, by its name or by its options.', [inner, str]);
const backing = alternate('BlockdevRefOrNull', 'A node by its name or by its options, or none.', [inner, str, nil]);

const onOff = enumOf('OnOffAuto', 'A switch.', ['auto', 'on', 'off']);
const format = (name: string) => struct(name, 'An image.', { file: field(child), backing: optional(backing) });

const described = union(
  'BlockdevOptions',
  'A node of the block graph.',
  {
    driver: field(drivers),
    'node-name': optional(str),
    discard: optional(enumOf('BlockdevDiscardOptions', 'Whether space is given back.', ['ignore', 'unmap'])),
    cache: optional(struct('BlockdevCacheOptions', 'Caching.', { direct: optional(bool), 'no-flush': optional(bool) })),
    'read-only': optional(bool),
    'auto-read-only': optional(bool),
    'force-share': optional(bool),
    'detect-zeroes': optional(
      enumOf('BlockdevDetectZeroesOptions', 'What is done with zeros.', ['off', 'on', 'unmap']),
    ),
  },
  'driver',
  {
    file: struct('BlockdevOptionsFile', 'A file of the host.', {
      filename: field(str),
      locking: optional(onOff),
      aio: optional(enumOf('BlockdevAioOptions', 'How the host does it.', ['threads', 'native', 'io_uring'])),
    }),
    qcow2: struct('BlockdevOptionsQcow2', 'A qcow2 image.', {
      file: field(child),
      backing: optional(backing),
      'data-file': optional(child),
    }),
    raw: struct('BlockdevOptionsRaw', 'Bytes as they are.', {
      file: field(child),
      offset: optional(int),
      size: optional(size),
    }),
    luks: struct('BlockdevOptionsLUKS', 'An encrypted image.', { file: field(child), 'key-secret': optional(str) }),
    qcow: format('BlockdevOptionsQcow'),
    vmdk: format('BlockdevOptionsGenericCOWFormat'),
    'copy-on-read': struct('BlockdevOptionsCor', 'Keeps what is read from below.', { file: field(child) }),
    nbd: struct('BlockdevOptionsNbd', 'An export of an NBD server.', {
      export: optional(str),
      'tls-creds': optional(str),
    }),
  },
);

/** Members of other drivers than these are checked when the node is opened. */
export const blockdevOptions = { ...described, open: true as const };
