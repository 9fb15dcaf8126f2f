/** Handlers of qapi/qom.ts. */
import { isBlockObject, objectText } from '../emulator/disk-options.ts';
import { DEVICE_ALIASES, isA, TYPES, type TypeSpec } from '../options/devices.ts';
import { objectOf } from '../options/object-option.ts';
import { objectOptions } from '../qapi/machine.ts';
import type { qomCommands } from '../qapi/qom.ts';
import { QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
import { plugDevice, unplugDevice } from './hotplug.ts';
import { findObject } from './qom-tree.ts';

const CHILD_OR_LINK = /^(child|link)</;
const PROPERTY_TYPES = { string: 'str', boolean: 'bool', number: 'uint32', size: 'size' } as const;

export const qomHandlers: Handlers<keyof typeof qomCommands> = {
  'qom-list': (emulator, { path }) =>
    Object.entries(findObject(emulator, path)).map(([name, { type }]) => ({ name, type })),
  'qom-get'(emulator, { path, property }) {
    const found = findObject(emulator, path)[property];
    if (found === undefined) throw new QmpError(`Property '${path}.${property}' not found`);
    return CHILD_OR_LINK.test(found.type) ? '' : found.value;
  },
  'qom-set'(emulator, { path, property, value }) {
    const found = findObject(emulator, path)[property];
    if (found === undefined) throw new QmpError(`Property '${path}.${property}' not found`);
    if (found.set === undefined) throw new QmpError(`Property '${path}.${property}' cannot be changed now`);
    found.set(value);
    return DONE;
  },
  'qom-list-types'(_emulator, { implements: ancestor = 'object', abstract = false }) {
    return Object.entries(TYPES)
      .filter(([name, type]) => name !== 'object' && isA(name, ancestor) && (abstract || !type.abstract))
      .map(([name, type]) => ({ name, ...(type.abstract ? { abstract: true } : {}), parent: type.parent }));
  },
  'qom-list-properties'(_emulator, { typename }) {
    const type = typeNamed(typename);
    return [{ name: 'type', type: 'string' }, ...propertiesOf(typename, type)];
  },
  'device-list-properties'(_emulator, { typename }) {
    const type = typeNamed(typename);
    if (!isA(DEVICE_ALIASES[typename] ?? typename, 'device')) {
      throw new QmpError("Parameter 'typename' expects a non-abstract device type");
    }
    if (type.abstract) throw new QmpError("Parameter 'typename' expects a non-abstract device type");
    return propertiesOf(typename, type);
  },
  async 'object-add'(emulator, options) {
    const { objects } = emulator;
    const object = objectOf(options);
    if (objects.has(object.id))
      throw new QmpError(`attempt to add duplicate property '${object.id}' to object (type 'container')`);
    if (isBlockObject(object)) await emulator.blockCommand('object-add', { text: objectText(object) });
    objects.set(object.id, object);
    return DONE;
  },
  async 'object-del'(emulator, { id }) {
    const { objects, config } = emulator;
    if (!objects.has(id)) throw new QmpError(`object '${id}' not found`);
    const isUsed = config.devices.some(({ properties }) => [properties.rng, properties.iothread].includes(id));
    const isMemory = objects.get(id)!.type.startsWith('memory-backend-');
    if (isUsed || isMemory) throw new QmpError(`object '${id}' is in use, can not be deleted`);
    if (isBlockObject(objects.get(id)!)) await emulator.blockCommand('object-del', { id });
    objects.delete(id);
    return DONE;
  },
  async device_add(emulator, args) {
    await plugDevice(emulator, args);
    return DONE;
  },
  async device_del(emulator, { id }) {
    await unplugDevice(emulator, id);
    return DONE;
  },
};

function typeNamed(name: string): TypeSpec {
  const known = DEVICE_ALIASES[name] ?? name;
  if (!Object.hasOwn(TYPES, known)) throw new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
  return TYPES[known];
}

/** The properties of an object type from -object's table, of a device from -device's. */
function propertiesOf(name: string, { properties = {} }: TypeSpec) {
  const members = objectOptions.variants?.cases[name]?.members;
  if (members !== undefined) {
    return Object.entries(members).map(([member, { type }]) => ({
      name: member,
      type:
        type.kind === 'builtin'
          ? type.name === 'str'
            ? 'string'
            : type.name
          : type.kind === 'enum'
            ? type.name
            : 'list',
    }));
  }
  return Object.entries(properties).map(([property, { type, help }]) => ({
    name: property,
    type: PROPERTY_TYPES[type],
    ...(help === undefined ? {} : { description: help }),
  }));
}
