/** What belongs nowhere else, and what clients ask though there is none of it. */
import {
  any,
  arrayOf,
  bool,
  command,
  empty,
  enumOf,
  field,
  int,
  optional,
  str,
  struct,
  union,
} from '../schema/types.ts';

const fdsetFd = struct('FdsetFdInfo', 'A file descriptor of a set.', { fd: field(int), opaque: optional(str) });

export const miscCommands = {
  'query-fdsets': command({
    doc: 'The file descriptors given with -add-fd.',
    returns: arrayOf(
      struct('FdsetInfo', 'A set of descriptors of one file.', {
        'fdset-id': field(int),
        fds: field(arrayOf(fdsetFd)),
      }),
    ),
    since: '1.2',
    examples: [{}],
  }),
  'remove-fd': command({
    doc: 'Forgets a file descriptor, or a whole set.',
    args: { 'fdset-id': field(int), fd: optional(int) },
    since: '1.2',
    examples: [],
  }),
  getfd: command({
    doc: 'Takes a file descriptor that comes with the command over a unix socket. None is taken: -add-fd gives some at the start.',
    args: { fdname: field(str) },
    since: '0.14',
    examples: [],
  }),
  closefd: command({
    doc: 'Closes a file descriptor that getfd has taken.',
    args: { fdname: field(str) },
    since: '0.14',
    examples: [],
  }),
  'add-fd': command({
    doc: 'As getfd, into a set.',
    args: { 'fdset-id': optional(int), opaque: optional(str) },
    returns: struct('AddfdInfo', 'A file descriptor that was added.', { 'fdset-id': field(int), fd: field(int) }),
    since: '1.2',
    examples: [],
  }),
  screendump: command({
    doc: 'A picture of the screen. There is no screen.',
    args: {
      filename: field(str),
      device: optional(str),
      head: optional(int),
      format: optional(enumOf('ImageFormat', 'Formats of pictures.', ['ppm', 'png'])),
    },
    since: '0.14',
    examples: [],
  }),
  'query-vnc': command({
    doc: 'The VNC server; there is none.',
    returns: struct('VncInfo', 'The VNC server.', { enabled: field(bool) }),
    since: '0.14',
    examples: [{ returns: { enabled: false } }],
  }),
  'query-display-options': command({
    doc: 'Where the screen of the guest goes.',
    returns: union(
      'DisplayOptions',
      'A display.',
      { type: field(enumOf('DisplayType', 'Kinds of displays.', ['default', 'none'])) },
      'type',
      { default: empty, none: empty },
    ),
    since: '3.1',
    examples: [{ returns: { type: 'none' } }],
  }),
  'query-mice': command({
    doc: 'Pointing devices; there are none.',
    returns: arrayOf(any),
    since: '0.14',
    examples: [{ returns: [] }],
  }),
  'query-pci': command({
    doc: 'The PCI devices that the command line placed.',
    returns: arrayOf(any),
    since: '0.14',
    examples: [{}],
  }),
  'query-dirty-rate': command({
    doc: 'How fast the guest writes its memory; never measured yet.',
    args: { 'calc-time-unit': optional(enumOf('TimeUnit', 'A unit.', ['second', 'millisecond'])) },
    returns: struct('DirtyRateInfo', 'A measurement.', {
      'dirty-rate': optional(int),
      status: field(enumOf('DirtyRateStatus', 'Where it stands.', ['unstarted', 'measuring', 'measured'])),
      'start-time': field(int),
      'calc-time': field(int),
      'sample-pages': field(int),
      mode: field(enumOf('DirtyRateMeasureMode', 'How it is done.', ['page-sampling', 'dirty-ring', 'dirty-bitmap'])),
    }),
    since: '5.2',
    examples: [
      {
        returns: { status: 'unstarted', 'start-time': 0, 'calc-time': 0, 'sample-pages': 0, mode: 'page-sampling' },
      },
    ],
  }),
} as const;
