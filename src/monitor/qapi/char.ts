/** Character devices. */
import {
  arrayOf,
  bool,
  command,
  enumOf,
  event,
  field,
  int,
  type ObjectType,
  optional,
  str,
  struct,
  union,
} from '../schema/types.ts';

const common = {
  logfile: optional(str, 'a file that gets a copy of all output'),
  logappend: optional(bool),
};

const inetAddress = struct('InetSocketAddress', 'A TCP address.', {
  host: field(str),
  port: field(str),
  to: optional(int),
  ipv4: optional(bool),
  ipv6: optional(bool),
});
const unixAddress = struct('UnixSocketAddress', 'A unix socket.', {
  path: field(str),
  abstract: optional(bool),
  tight: optional(bool),
});
const fdAddress = struct('FdSocketAddress', 'A socket that was handed over.', { str: field(str) });

const socketAddress = union(
  'SocketAddressLegacy',
  'Where a socket is.',
  { type: field(enumOf('SocketAddressType', 'Kinds of sockets.', ['inet', 'unix', 'fd'])) },
  'type',
  {
    inet: struct('InetSocketAddressWrapper', '', { data: field(inetAddress) }),
    unix: struct('UnixSocketAddressWrapper', '', { data: field(unixAddress) }),
    fd: struct('FdSocketAddressWrapper', '', { data: field(fdAddress) }),
  },
);

const file = struct('ChardevFile', 'Output to a file.', {
  ...common,
  in: optional(str, 'where input comes from'),
  out: field(str),
  append: optional(bool),
});
const hostDevice = struct('ChardevHostdev', 'A device or named pipe of the host.', { ...common, device: field(str) });
const socket = struct('ChardevSocket', 'A socket.', {
  ...common,
  addr: field(socketAddress),
  'tls-creds': optional(str),
  'tls-authz': optional(str),
  server: optional(bool),
  wait: optional(bool),
  nodelay: optional(bool),
  telnet: optional(bool),
  tn3270: optional(bool),
  websocket: optional(bool),
  reconnect: optional(int),
});
const stdio = struct('ChardevStdio', 'The terminal.', { ...common, signal: optional(bool) });
const ringbuf = struct('ChardevRingbuf', 'The newest output, in memory.', { ...common, size: optional(int) });
const plain = struct('ChardevCommon', 'Nothing more to say.', common);

const wrapper = <D>(name: string, data: ObjectType<D>) => struct(`${name}Wrapper`, '', { data: field(data) });

export const backendKinds = enumOf('ChardevBackendKind', 'Kinds of backends.', [
  'file',
  'pipe',
  'socket',
  'pty',
  'null',
  'stdio',
  'ringbuf',
]);

export const backend = union(
  'ChardevBackend',
  'A backend by kind, and what it needs.',
  { type: field(backendKinds) },
  'type',
  {
    file: wrapper('ChardevFile', file),
    pipe: wrapper('ChardevHostdev', hostDevice),
    socket: wrapper('ChardevSocket', socket),
    pty: wrapper('ChardevCommon', plain),
    null: wrapper('ChardevCommon', plain),
    stdio: wrapper('ChardevStdio', stdio),
    ringbuf: wrapper('ChardevRingbuf', ringbuf),
  },
);

const dataFormat = enumOf('DataFormat', 'How bytes are written as text.', ['utf8', 'base64']);
const chardevReturn = struct('ChardevReturn', 'What was made.', { pty: optional(str, 'the terminal to connect to') });

export const charCommands = {
  'query-chardev': command({
    doc: 'The character devices.',
    returns: arrayOf(
      struct('ChardevInfo', 'A character device.', {
        label: field(str, 'its id'),
        filename: field(str, 'where it leads'),
        'frontend-open': field(bool, 'the guest or a monitor uses it'),
      }),
    ),
    since: '0.14',
    examples: [{}],
  }),
  'query-chardev-backends': command({
    doc: 'The kinds of backends.',
    returns: arrayOf(struct('ChardevBackendInfo', 'A kind of backend.', { name: field(str) })),
    since: '2.0',
    examples: [{}],
  }),
  'chardev-add': command({
    doc: 'Makes a character device.',
    args: { id: field(str), backend: field(backend) },
    returns: chardevReturn,
    since: '1.4',
    examples: [{ arguments: { id: 'buffer7', backend: { type: 'ringbuf', data: { size: 64 } } }, returns: {} }],
  }),
  'chardev-remove': command({
    doc: 'Removes a character device that nobody uses.',
    args: { id: field(str) },
    since: '1.4',
    examples: [],
  }),
  'ringbuf-write': command({
    doc: 'Puts bytes into a ring buffer, as if the guest had written them.',
    args: { device: field(str), data: field(str), format: optional(dataFormat) },
    since: '1.4',
    examples: [{ arguments: { device: 'ring0', data: 'abcdefgh' }, returns: {} }],
  }),
  'ringbuf-read': command({
    doc: 'Takes bytes out of a ring buffer.',
    args: { device: field(str), size: field(int, 'at most'), format: optional(dataFormat) },
    returns: str,
    since: '1.4',
    examples: [{ arguments: { device: 'ring0', size: 1000 }, returns: '' }],
  }),
} as const;

export const charEvents = {
  VSERPORT_CHANGE: event({
    doc: 'The guest opened or closed a port of virtio-serial.',
    data: { id: field(str), open: field(bool) },
    since: '2.1',
    rateLimitNanos: 1e9,
  }),
} as const;
