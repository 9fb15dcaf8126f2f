/** Handlers of qapi/qom.ts. */
import { DEVICE_ALIASES, isA, TYPES, type TypeSpec } from '../options/devices.ts';
import { objectOf } from '../options/object-option.ts';
import { objectOptions } from '../qapi/machine.ts';
import type { qomCommands } from '../qapi/qom.ts';
import { deviceNotFound, QmpError } from '../qmp/errors.ts';
import { DONE, type Handlers } from './handler.ts';
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
  'object-add'({ objects }, options) {
    const object = objectOf(options);
    if (objects.has(object.id))
      throw new QmpError(`attempt to add duplicate property '${object.id}' to object (type 'container')`);
    objects.set(object.id, object);
    return DONE;
  },
  'object-del'({ objects, config }, { id }) {
    if (!objects.has(id)) throw new QmpError(`object '${id}' not found`);
    const isUsed = config.devices.some(({ properties }) => [properties.rng, properties.iothread].includes(id));
    const isMemory = objects.get(id)!.type.startsWith('memory-backend-');
    if (isUsed || isMemory) throw new QmpError(`object '${id}' is in use, can not be deleted`);
    objects.delete(id);
    return DONE;
  },
  device_add(_emulator, { driver }) {
    typeOfDevice(driver);
    throw new QmpError('Bus does not support hotplugging: devices are given with -device when the emulator starts');
  },
  device_del({ config }, { id }) {
    if (!config.devices.some((device) => device.id === id)) throw deviceNotFound(id);
    throw new QmpError(`Device '${id}' can not be unplugged while the machine lives`);
  },
};

function typeOfDevice(driver: string): void {
  const type = TYPES[DEVICE_ALIASES[driver] ?? driver];
  if (type?.bus === undefined) throw new QmpError(`'${driver}' is not a valid device model name`);
}

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
