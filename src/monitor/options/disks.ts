/** Disks: -blockdev, -drive and what is short for it, and the devices that they are in. */
import { UserError } from '../../base/index.ts';
import type { Draft } from './build-devices.ts';
import { addDevice } from './build-devices.ts';
import type { GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type { BlockNodeConfig, DeviceConfig, DiskConfig } from './config.ts';
import { ParamReader, type Params } from './opts.ts';
import { parseBytes } from './values.ts';

/** A -drive: a node, if there is something in it, and whether a device has it. */
export interface DriveDraft {
  readonly id: string;
  readonly node: string | undefined;
  readonly media: 'disk' | 'cdrom';
  readonly serial?: string;
  readonly limits: DiskConfig['limits'];
  taken: boolean;
}

const NODE_NAME = /^[a-z][\w.-]{0,30}$/i;

/** A node of the block graph from -blockdev. What its driver takes is for the driver to say when it is opened. */
export function readBlockdev(draft: Pick<Draft, 'nodes'>, params: Params): BlockNodeConfig {
  const reader = new ParamReader(params);
  reader.required('driver');
  const nodeName = reader.required('node-name');
  if (!NODE_NAME.test(nodeName)) throw new UserError(`Invalid node-name: '${nodeName}'`);
  if (draft.nodes.some((node) => node.nodeName === nodeName)) {
    throw new UserError(`Duplicate nodes with node-name='${nodeName}'`);
  }
  for (const child of ['file', 'backing']) {
    const name = reader.text(child);
    if (name !== undefined && name !== '' && !draft.nodes.some((node) => node.nodeName === name)) {
      throw new UserError(`Cannot find device='${name}' nor node-name='${name}'`);
    }
  }
  return { nodeName, options: [...new Map(params)] };
}

const CACHE_MODES = ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] as const;

/** -drive: a node, and a device for it unless if=none. @param isTemporary what the guest writes is thrown away */
export function addDrive(
  draft: Draft,
  option: Pick<GivenOption, 'written' | 'params'>,
  discs: { count: number },
  isTemporary: boolean,
): void {
  forOption(option, () => {
    const reader = new ParamReader(option.params);
    const bus = reader.oneOf('if', ['virtio', 'scsi', 'none', 'ide', 'sata']) ?? 'ide';
    const media = reader.oneOf('media', ['disk', 'cdrom']) ?? 'disk';
    const id = reader.text('id') ?? `${bus}${draft.drives.filter((drive) => drive.id.startsWith(bus)).length}`;
    if (draft.drives.some((drive) => drive.id === id)) throw new UserError(`Duplicate ID '${id}' for drive`);
    const node = readDriveNode(draft, reader, option.params, media, isTemporary);
    const limits = readLimits(reader);
    reader.ignore('index', 'bus', 'unit');
    reader.accept('werror', 'report', 'enospc');
    reader.accept('rerror', 'report');
    const serial = reader.text('serial');
    reader.finish();
    if (node !== undefined) draft.nodes.push(node);
    draft.drives.push({ id, node: node?.nodeName, media, serial, limits, taken: false });
    if (bus === 'none') return;
    const own = serial === undefined ? [] : ([['serial', serial]] as const);
    if (media === 'cdrom') discs.count += 1;
    const driver = media === 'cdrom' ? 'scsi-cd' : bus === 'scsi' ? 'scsi-hd' : 'virtio-blk-pci';
    if ((bus === 'ide' || bus === 'sata') && media === 'disk') {
      draft.warnings.push(`${option.written}: there is no IDE; the disk is a virtio one (say if=virtio)`);
    }
    addDevice(draft, { written: option.written, params: [['driver', driver], ['drive', id], ...own] });
  });
}

/** The content of a drive; an empty drive for discs has none. */
function readDriveNode(
  draft: Draft,
  reader: ParamReader,
  params: Params,
  media: DriveDraft['media'],
  isTemporary: boolean,
): BlockNodeConfig | undefined {
  const nested = params.filter(([key]) => /^(file|backing)\./.test(key));
  reader.ignore(...nested.map(([key]) => key));
  const isDescribed = nested.some(([key]) => key !== 'file.locking');
  const file = isDescribed || media === 'cdrom' ? reader.text('file') : reader.required('file');
  const mode = reader.oneOf('cache', CACHE_MODES);
  const direct = reader.switch('cache.direct') ?? (mode === 'none' || mode === 'directsync');
  const noFlush = reader.switch('cache.no-flush') ?? mode === 'unsafe';
  const writeBack = reader.switch('cache.writeback') ?? (mode !== 'writethrough' && mode !== 'directsync');
  const readOnly = reader.switch('readonly') ?? reader.switch('read-only') ?? media === 'cdrom';
  const format = reader.text('format') ?? reader.text('driver') ?? (media === 'cdrom' ? 'raw' : 'auto');
  const onOff = (value: boolean) => (value ? 'on' : 'off');
  const snapshot = reader.switch('snapshot') ?? isTemporary;
  const options: [string, string][] = [
    ['driver', format],
    ['read-only', onOff(readOnly)],
    ['cache.direct', onOff(direct)],
    ['cache.no-flush', onOff(noFlush)],
    ['cache.writeback', onOff(writeBack)],
    ...nested.map(([key, value]): [string, string] => [key, value]),
  ];
  for (const name of ['discard', 'detect-zeroes', 'aio', 'auto-read-only', 'copy-on-read']) {
    const value = reader.text(name);
    if (value === undefined || name === 'aio') continue;
    if (name === 'copy-on-read') reader.accept(name, 'off', 'no', 'false');
    else options.push([name, value]);
  }
  if (file === undefined && !isDescribed) return undefined;
  if (file !== undefined) options.push(['image-name', file]);
  if (snapshot && !readOnly) options.push(['snapshot', 'on']);
  return { nodeName: nextNodeName(draft), options };
}

/** As QEMU calls nodes that nobody named. */
function nextNodeName({ nodes }: Draft): string {
  return `#block${100 + nodes.length}`;
}

const LIMIT_KINDS = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'] as const;
/** Older names of the same. */
const LIMIT_ALIASES: Readonly<Record<string, string>> = {
  'bps-total': 'bps',
  'bps-read': 'bps_rd',
  'bps-write': 'bps_wr',
  'iops-total': 'iops',
  'iops-read': 'iops_rd',
  'iops-write': 'iops_wr',
};

function readLimits(reader: ParamReader): DiskConfig['limits'] {
  const limits: Record<string, { perSecond: number; burst?: number }> = {};
  const bytes = (...names: string[]) => {
    const [name, text] =
      names.map((one) => [one, reader.text(one)] as const).find(([, value]) => value !== undefined) ?? [];
    return text === undefined ? 0 : parseBytes(name!, text);
  };
  for (const kind of LIMIT_KINDS) {
    const alias = LIMIT_ALIASES[kind];
    const perSecond = bytes(`throttling.${kind}`, alias);
    const burst = bytes(`throttling.${kind}-max`, `${alias}_max`);
    if (perSecond > 0) limits[kind] = { perSecond, ...(burst > 0 ? { burst } : {}) };
    else if (burst > 0) throw new UserError(`throttling.${kind}-max needs throttling.${kind}`);
  }
  return limits;
}

/** A disk device and what is in it. */
export function addDisk(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  const media = device.driver === 'scsi-cd' ? 'cdrom' : 'disk';
  const name = params.text('drive');
  if (name === undefined) {
    if (media === 'disk') throw new UserError('drive property not set');
    draft.disks.push({ drive: '', node: undefined, device, media, limits: {} });
    return;
  }
  const drive = draft.drives.find(({ id }) => id === name);
  const node = drive === undefined ? draft.nodes.find(({ nodeName }) => nodeName === name)?.nodeName : drive.node;
  if (drive === undefined && node === undefined && !draft.isLive) {
    throw new UserError(`Property '${device.driver}.drive' can't find value '${name}'`);
  }
  if (media === 'disk' && drive !== undefined && node === undefined) {
    throw new UserError(`Device needs media, but drive is empty`);
  }
  const isTaken = drive?.taken || draft.disks.some((disk) => disk.node !== undefined && disk.node === (node ?? name));
  if (isTaken) throw new UserError(`drive '${name}' is already in use by another device`);
  if (drive !== undefined) drive.taken = true;
  const limits = drive?.limits ?? {};
  draft.disks.push({
    drive: drive?.id ?? '',
    node: drive === undefined ? (node ?? name) : node,
    device,
    media,
    limits,
  });
}
