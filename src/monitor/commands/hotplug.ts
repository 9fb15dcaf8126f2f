/** Devices that are plugged in and out while the machine lives. */
import type { PlugRequest } from '../../machine/index.ts';
import { networkOptions, placeOf } from '../emulator/device-options.ts';
import { diskOptions } from '../emulator/disk-options.ts';
import type { Emulator } from '../emulator/emulator.ts';
import { type Draft, makeDevice } from '../options/build-devices.ts';
import type { DeviceConfig, SystemConfig } from '../options/config.ts';
import { DEVICE_ALIASES, MACHINES, TYPES } from '../options/devices.ts';
import type { Params } from '../options/opts.ts';
import { deviceNotFound, QmpError } from '../qmp/errors.ts';
import { machineOf } from './run-state.ts';

const PLUGGABLE: readonly string[] = ['virtio-blk-pci', 'virtio-net-pci', 'virtio-rng-pci'];

/** Values of JSON as the command line writes them. */
export function textParams(values: object, prefix = ''): Params {
  return Object.entries(values).flatMap(([key, value]): Params => {
    if (value === null || value === undefined) return [[`${prefix}${key}`, '']];
    if (typeof value === 'object') return textParams(value, `${prefix}${key}.`);
    return [[`${prefix}${key}`, typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)]];
  });
}

export async function plugDevice(emulator: Emulator, args: { readonly driver: string }): Promise<void> {
  const machine = machineOf(emulator);
  const driver = DEVICE_ALIASES[args.driver] ?? args.driver;
  if (TYPES[driver]?.bus === undefined) throw new QmpError(`'${args.driver}' is not a valid device model name`);
  if (!PLUGGABLE.includes(driver)) {
    throw new QmpError(`Device '${args.driver}' does not support hotplugging: ${PLUGGABLE.join(', ')} do`);
  }
  const draft = liveDraft(emulator);
  const device = makeDevice(draft, textParams(args));
  if (device.id === '') throw new QmpError("Parameter 'id' is missing: a device that is plugged in needs one");
  const changed: SystemConfig = {
    ...emulator.config,
    ...{ devices: draft.devices, disks: draft.disks, nics: draft.nics, drives: draft.drives },
    rng: emulator.config.rng ?? draft.rng,
  };
  await machine.command('plug', requestOf(changed, device));
  emulator.config = changed;
}

/** What there is, as what a device of the command line would find. */
function liveDraft({ config, objects }: Emulator): Draft {
  return {
    machine: MACHINES.find(({ name }) => name === config.machine)!,
    globals: [],
    nodes: [],
    drives: config.drives.map((drive) => ({ ...drive })),
    netdevs: [...config.netdevs],
    fsdevs: [],
    shares: [],
    devices: [...config.devices],
    disks: [...config.disks],
    nics: [...config.nics],
    serial: [],
    others: [],
    consolePorts: [],
    objectIds: new Map([...objects.values()].map(({ id, type }) => [id, type])),
    warnings: [],
    isLive: true,
  };
}

const FIRST_MAC_BYTE = 0x56;

function requestOf(config: SystemConfig, device: DeviceConfig): PlugRequest {
  const { id } = device;
  const disk = config.disks.find((one) => one.device === device);
  if (disk !== undefined) return { kind: 'disk', disk: { ...diskOptions(config, disk), id } };
  const nic = config.nics.find((one) => one.device === device);
  if (nic !== undefined) {
    const last = (FIRST_MAC_BYTE + config.nics.indexOf(nic)) & 0xff;
    const mac = nic.mac ?? `52:54:00:12:34:${last.toString(16).padStart(2, '0')}`;
    return { kind: 'network', network: { ...networkOptions(config, nic), id, mac } };
  }
  return { kind: 'rng', rng: { ...placeOf(device), id } };
}

/** @param id the device's, or its place in the tree of objects */
export async function unplugDevice(emulator: Emulator, id: string): Promise<void> {
  const name = id.slice(id.lastIndexOf('/') + 1);
  const device = emulator.config.devices.find((one) => one.id !== '' && one.id === name);
  if (device === undefined) throw deviceNotFound(id);
  if (!PLUGGABLE.includes(device.driver)) throw new QmpError(`Device '${name}' does not support hot-unplugging`);
  if (emulator.unplugging.has(name)) throw new QmpError(`Device ${name} is already in the process of unplug`);
  emulator.unplugging.add(name);
  try {
    await machineOf(emulator).command('unplug', { id: name });
  } catch (error) {
    emulator.unplugging.delete(name);
    throw error;
  }
}
