/** The tree of objects as paths: what the machine consists of, for qom-list and qom-get. */
import type { Emulator } from '../emulator/emulator.ts';
import type { DeviceConfig, SystemConfig } from '../options/config.ts';
import { TYPES } from '../options/devices.ts';
import { QmpError } from '../qmp/errors.ts';

export interface QomProperty {
  readonly type: string;
  /** Undefined: it leads to another object. */
  readonly value?: unknown;
  readonly description?: string;
  readonly set?: (value: unknown) => void;
}
export type QomObject = Readonly<Record<string, QomProperty>>;

export function cpuPath(index: number): string {
  return `/machine/unattached/device[${index}]`;
}

/** Where a device is: by its id, or numbered when it has none. */
export function devicePath({ devices }: Pick<SystemConfig, 'devices'>, device: DeviceConfig): string {
  if (device.id !== '') return `/machine/peripheral/${device.id}`;
  const anonymous = devices.filter(({ id }) => id === '');
  return `/machine/peripheral-anon/device[${anonymous.indexOf(device)}]`;
}

/** Every object by its path. */
export function qomTree(emulator: Emulator): ReadonlyMap<string, QomObject> {
  const tree = new Map<string, QomObject>();
  const { config } = emulator;
  const children = (paths: readonly string[]) =>
    Object.fromEntries(paths.map((path) => [path.slice(path.lastIndexOf('/') + 1), { type: childType(tree, path) }]));
  const type = (name: string): QomObject => ({ type: { type: 'string', value: name } });
  for (const device of config.devices) {
    const path = devicePath(config, device);
    tree.set(path, deviceObject(emulator, device));
    if (device.driver === 'virtio-blk-pci') tree.set(`${path}/virtio-backend`, type('virtio-blk-device'));
  }
  const cpus =
    emulator.machine === undefined ? [] : Array.from({ length: config.smp.cpus }, (_, index) => cpuPath(index));
  for (const path of cpus) tree.set(path, cpuObject());
  const containers = {
    '/machine/peripheral': 'container',
    '/machine/peripheral-anon': 'container',
    '/machine/unattached': 'container',
  };
  for (const path of Object.keys(containers)) {
    const inside = [...tree.keys()].filter(
      (one) => one.startsWith(`${path}/`) && !one.slice(path.length + 1).includes('/'),
    );
    tree.set(path, { ...type('container'), ...children(inside) });
  }
  for (const { id, type: kind, properties } of emulator.objects.values())
    tree.set(`/objects/${id}`, plainObject(kind, properties));
  for (const { id } of emulator.chardevs.values()) tree.set(`/chardevs/${id}`, type('chardev'));
  for (const folder of ['/objects', '/chardevs']) {
    tree.set(folder, {
      ...type('container'),
      ...children([...tree.keys()].filter((path) => path.startsWith(`${folder}/`))),
    });
  }
  tree.set('/machine', { ...type(`${config.machine}-machine`), ...children(Object.keys(containers)) });
  tree.set('/', { ...type('container'), ...children(['/machine', '/objects', '/chardevs']) });
  return tree;
}

function childType(tree: ReadonlyMap<string, QomObject>, path: string): string {
  return `child<${tree.get(path)?.type.value ?? 'container'}>`;
}

/** The object at a path, or the one object whose path ends so. */
export function findObject(emulator: Emulator, path: string): QomObject {
  const tree = qomTree(emulator);
  const exact = tree.get(path);
  if (exact !== undefined) return exact;
  const ending = path.startsWith('/') ? [] : [...tree.keys()].filter((one) => one.endsWith(`/${path}`));
  if (ending.length === 1) return tree.get(ending[0])!;
  if (ending.length > 1) throw new QmpError(`Path '${path}' does not uniquely identify an object`);
  throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
}

function plainObject(kind: string, properties: Readonly<Record<string, unknown>>): QomObject {
  const own = Object.entries(properties).filter(([name]) => kind !== 'secret' || name === 'format');
  return {
    type: { type: 'string', value: kind },
    ...Object.fromEntries(own.map(([name, value]) => [name, propertyOf(value)])),
  };
}

function propertyOf(value: unknown): QomProperty {
  return { type: typeof value === 'boolean' ? 'bool' : typeof value === 'number' ? 'int' : 'string', value };
}

const COMMON: QomObject = {
  realized: { type: 'bool', value: true },
  hotplugged: { type: 'bool', value: false },
  hotpluggable: { type: 'bool', value: false },
};

function cpuObject(): QomObject {
  return {
    type: { type: 'string', value: 'max-x86_64-cpu' },
    parent_bus: { type: 'link<bus>' },
    ...COMMON,
    'start-powered-off': { type: 'bool', value: false },
    'unavailable-features': { type: 'strList', value: [] },
  };
}

function deviceObject(emulator: Emulator, device: DeviceConfig): QomObject {
  const table = TYPES[device.driver]?.properties ?? {};
  const listed = Object.entries(table).map(([name, { type, help }]): [string, QomProperty] => [
    name,
    {
      type: type === 'boolean' ? 'bool' : type === 'number' ? 'uint32' : 'str',
      value: device.properties[name] ?? '',
      description: help,
    },
  ]);
  return {
    type: { type: 'string', value: device.driver },
    parent_bus: { type: 'link<bus>' },
    ...COMMON,
    ...Object.fromEntries(listed),
    ...(device === emulator.config.balloon ? balloonProperties(emulator) : {}),
  };
}

/** libvirt's way to the guest's memory statistics. */
function balloonProperties({ balloonPolling }: Emulator): QomObject {
  return {
    'guest-stats': { type: 'guest statistics', value: balloonPolling.stats() },
    'guest-stats-polling-interval': {
      type: 'int',
      value: balloonPolling.seconds,
      set(value) {
        if (typeof value !== 'number' || value < 0) throw new QmpError('timer value must be greater than zero');
        balloonPolling.setSeconds(value);
      },
    },
  };
}
