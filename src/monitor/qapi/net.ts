/** Network cards and what they are plugged into. */
import {
  arrayOf,
  bool,
  command,
  commandOf,
  enumOf,
  event,
  field,
  optional,
  str,
  struct,
  union,
} from '../schema/types.ts';

const netdevTypes = enumOf('NetClientDriver', 'What a network card is plugged into.', [
  'none',
  'user',
  'tap',
  'socket',
  'stream',
  'dgram',
  'bridge',
  'hubport',
]);

const strings = arrayOf(struct('String', 'A text in a list.', { str: field(str) }));

export const netdev = union('Netdev', 'The far end of a cable.', { id: field(str), type: field(netdevTypes) }, 'type', {
  user: struct('NetdevUserOptions', 'A network of the user, without privileges.', {
    hostname: optional(str),
    restrict: optional(bool),
    ipv4: optional(bool),
    ipv6: optional(bool),
    net: optional(str),
    host: optional(str),
    dns: optional(str),
    dhcpstart: optional(str),
    hostfwd: optional(strings),
    guestfwd: optional(strings),
  }),
});

export const netCommands = {
  set_link: command({
    doc: 'Plugs in or unplugs the cable of a network card.',
    args: { name: field(str, 'the id of the card or of its netdev'), up: field(bool) },
    since: '0.14',
    examples: [{ arguments: { name: 'net0', up: false }, returns: {} }],
  }),
  netdev_add: commandOf(netdev, {
    doc: 'Makes the far end of a cable. There is no card that could be plugged in later, so it is always refused.',
    since: '0.14',
    examples: [],
  }),
  netdev_del: command({
    doc: 'Removes the far end of a cable that no card uses.',
    args: { id: field(str) },
    since: '0.14',
    examples: [],
  }),
} as const;

export const netEvents = {
  NIC_RX_FILTER_CHANGED: event({
    doc: "A network card's filter changed.",
    data: { name: optional(str), path: field(str) },
    since: '1.6',
  }),
} as const;
