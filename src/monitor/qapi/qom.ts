/** Objects and devices: the tree of what the machine is made of. */
import { any, arrayOf, bool, command, commandOf, event, field, optional, str, struct } from '../schema/types.ts';
import { objectOptions } from './machine.ts';

const propertyInfo = struct('ObjectPropertyInfo', 'A property of an object, or of a type.', {
  name: field(str),
  type: field(str, 'how its value is written; child<T> and link<T> lead to objects'),
  description: optional(str),
  'default-value': optional(any),
});

export const qomCommands = {
  'qom-list': command({
    doc: 'The properties of an object.',
    args: { path: field(str, 'where it is in the tree, or the end of that path when it is unique') },
    returns: arrayOf(propertyInfo),
    since: '1.2',
    examples: [{ arguments: { path: '/machine/peripheral' } }],
  }),
  'qom-get': command({
    doc: "A property's value.",
    args: { path: field(str), property: field(str) },
    returns: any,
    since: '1.2',
    examples: [{ arguments: { path: '/machine/peripheral', property: 'type' }, returns: 'container' }],
  }),
  'qom-set': command({
    doc: "Changes a property's value.",
    args: { path: field(str), property: field(str), value: field(any) },
    since: '1.2',
    examples: [],
  }),
  'qom-list-types': command({
    doc: 'The types of objects and devices.',
    args: { implements: optional(str, 'only those that descend from this type'), abstract: optional(bool) },
    returns: arrayOf(
      struct('ObjectTypeInfo', 'A type.', { name: field(str), abstract: optional(bool), parent: optional(str) }),
    ),
    since: '1.1',
    examples: [
      { arguments: { implements: 'virtio-blk-pci' }, returns: [{ name: 'virtio-blk-pci', parent: 'virtio-pci' }] },
    ],
  }),
  'qom-list-properties': command({
    doc: "An object type's properties.",
    args: { typename: field(str) },
    returns: arrayOf(propertyInfo),
    since: '2.12',
    examples: [{ arguments: { typename: 'iothread' } }],
  }),
  'device-list-properties': command({
    doc: "A device type's properties, which -device takes.",
    args: { typename: field(str) },
    returns: arrayOf(propertyInfo),
    since: '1.2',
    examples: [{ arguments: { typename: 'virtio-blk-pci' } }],
  }),
  'object-add': commandOf(objectOptions, {
    doc: 'Makes an object.',
    since: '2.0',
    examples: [{ arguments: { 'qom-type': 'iothread', id: 'iothread7' }, returns: {} }],
  }),
  'object-del': command({
    doc: 'Removes an object that nobody uses.',
    args: { id: field(str) },
    since: '2.0',
    examples: [],
  }),
  device_add: command({
    doc: 'Plugs in a device: a virtio disk, network card or source of random bytes, on the bus of a pc or in a pcie-root-port.',
    args: { driver: field(str), bus: optional(str), id: optional(str) },
    since: '0.13',
    features: ['json-cli', 'json-cli-hotplug'],
    open: true,
    examples: [],
  }),
  device_del: command({
    doc: 'Asks the guest to let a device go; DEVICE_DELETED says when it has.',
    args: { id: field(str) },
    since: '0.14',
    examples: [],
  }),
} as const;

export const qomEvents = {
  DEVICE_DELETED: event({
    doc: 'A device is gone.',
    data: { device: optional(str), path: field(str) },
    since: '1.5',
  }),
} as const;
