/** The disks of a configuration as a machine takes them. */
import { UserError } from '../../base/index.ts';
import type { BlockServiceOptions, DiskOptions } from '../../machine/index.ts';
import { devicePath } from '../commands/qom-tree.ts';
import type { DiskConfig, ObjectConfig, SystemConfig } from '../options/config.ts';
import { placeOf } from './device-options.ts';

/** Objects that block nodes and exports use. */
export function isBlockObject({ type }: Pick<ObjectConfig, 'type'>): boolean {
  return type === 'secret' || type.startsWith('tls-creds-');
}

export function objectText({ type, id, properties }: ObjectConfig): string {
  return JSON.stringify({ 'qom-type': type, id, ...properties });
}

export function blockOptions(config: SystemConfig): BlockServiceOptions {
  return {
    nodes: config.blockNodes.map(({ nodeName, options }) => [
      ['node-name', nodeName],
      ...options
        .filter(([key]) => key !== 'node-name')
        .map(([key, value]) => [key, isFilename(key) ? fdsetPath(config.fdsets, value) : value] as const),
    ]),
    objects: config.objects.filter(isBlockObject).map(objectText),
  };
}

function isFilename(key: string): boolean {
  return key === 'image-name' || key.split('.').at(-1) === 'filename';
}

/** An open file that was given with -add-fd, or the path itself. */
export function fdsetPath(fdsets: SystemConfig['fdsets'], path: string): string {
  const set = /^\/dev\/fdset\/(\d+)$/.exec(path)?.[1];
  if (set === undefined) return path;
  const found = fdsets.find((one) => one.set === Number(set));
  if (found === undefined) throw new UserError(`${path}: there is no -add-fd with set=${set}`);
  return `/proc/self/fd/${found.fd}`;
}

/** Where a disk's device is in the tree of objects; what the graph calls it too. */
export function diskPath(config: Pick<SystemConfig, 'devices'>, { device }: DiskConfig): string {
  const path = devicePath(config, device);
  return device.driver === 'virtio-blk-pci' ? `${path}/virtio-backend` : path;
}

export function diskOptions(config: Pick<SystemConfig, 'devices'>, disk: DiskConfig): DiskOptions {
  const { node, drive, device, media, limits } = disk;
  const isVirtio = device.driver === 'virtio-blk-pci';
  return {
    file: '',
    node: { name: node, drive, device: diskPath(config, disk), limits },
    bus: isVirtio ? 'virtio' : 'scsi',
    media,
    serial: device.properties.serial ?? '',
    ...(isVirtio ? placeOf(device) : {}),
    readOnly: media === 'cdrom',
  };
}
