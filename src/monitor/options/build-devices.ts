/** Devices, disks and network cards: from options to their place in the machine's configuration. */
import { UserError } from '../../base/index.ts';
import type { GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type { BlockNodeConfig, DeviceConfig, DiskConfig, NetdevConfig, ShareConfig, SystemConfig } from './config.ts';
import { DEVICE_ALIASES, DEVICE_NAMES, type MachineSpec, TYPES } from './devices.ts';
import { checkParams, ParamReader, type Params } from './opts.ts';

/** What options have made so far. */
export interface Draft {
  readonly machine: MachineSpec;
  readonly globals: readonly { readonly driver: string; readonly property: string; readonly value: string }[];
  readonly nodes: BlockNodeConfig[];
  readonly drives: DriveDraft[];
  readonly netdevs: NetdevConfig[];
  readonly fsdevs: FsdevDraft[];
  readonly shares: ShareConfig[];
  readonly devices: DeviceConfig[];
  readonly disks: DiskConfig[];
  readonly nics: { device: DeviceConfig; netdev: string; mac?: string }[];
  readonly serial: (string | undefined)[];
  readonly objectIds: ReadonlyMap<string, string>;
  readonly warnings: string[];
  balloon?: DeviceConfig;
  rng?: DeviceConfig;
}

/** A -fsdev: a folder that waits for its device. */
export type FsdevDraft = { readonly id: string } & Pick<ShareConfig, 'folder' | 'security' | 'readOnly'>;

/** A -drive: a node, and whether a device has it. */
export interface DriveDraft {
  readonly id: string;
  readonly node: string;
  readonly media: 'disk' | 'cdrom';
  readonly serial?: string;
  taken: boolean;
}

const SCSI_BUS = 'scsi0.0';
const FORMAT_DRIVERS = ['raw', 'qcow2'];

/** Makes a device; what is built in is only described. */
export function addDevice(draft: Draft, option: Pick<GivenOption, 'written' | 'params'>): void {
  forOption(option, () => {
    const reader = new ParamReader(option.params);
    const given = reader.required('driver');
    const driver = DEVICE_ALIASES[given] ?? given;
    const type = DEVICE_NAMES.includes(driver) ? TYPES[driver] : undefined;
    if (type === undefined) {
      throw new UserError(`'${given}' is not a valid device model name; there are ${DEVICE_NAMES.join(', ')}`);
    }
    if (draft.machine.pciBus === undefined)
      throw new UserError(`machine ${draft.machine.name} has no place for devices`);
    const globals = draft.globals.filter((one) => (DEVICE_ALIASES[one.driver] ?? one.driver) === driver);
    const own = option.params.filter(([key]) => !['driver', 'id', 'bus'].includes(key));
    const params: Params = [...globals.map(({ property, value }) => [property, value] as const), ...own];
    checkProperties(driver, params, type.properties ?? {});
    checkBus(draft, driver, type.bus, reader.text('bus'));
    const slot = slotOf(params);
    const device = {
      driver,
      id: checkedId(draft, reader.text('id') ?? ''),
      properties: Object.fromEntries(params),
      slot,
    };
    draft.devices.push(device);
    place(draft, device, new ParamReader(params));
  });
}

function checkProperties(
  driver: string,
  params: Params,
  table: NonNullable<(typeof TYPES)[string]['properties']>,
): void {
  const unknown = params.find(([key]) => !Object.hasOwn(table, key));
  if (unknown !== undefined) throw new UserError(`Property '${driver}.${unknown[0]}' not found`);
  checkParams(params, table);
}

function checkedId(draft: Draft, id: string): string {
  if (id !== '' && !/^[a-z][\w.-]*$/i.test(id)) throw new UserError(`Parameter 'id' expects an identifier`);
  if (id !== '' && draft.devices.some((device) => device.id === id)) throw new UserError(`Duplicate device ID '${id}'`);
  return id;
}

function checkBus(draft: Draft, driver: string, kind: string | undefined, bus: string | undefined): void {
  if (bus === undefined) return;
  const name = kind === 'PCI' ? draft.machine.pciBus : kind === 'ISA' ? 'isa.0' : SCSI_BUS;
  if (bus !== name) throw new UserError(`Bus '${bus}' not found: ${driver} goes on ${name}`);
}

/** Slot and function as QEMU writes them: `04.0` in hexadecimal, or a number. */
function slotOf(params: Params): number | undefined {
  const text = params.findLast(([key]) => key === 'addr')?.[1];
  if (text === undefined) return undefined;
  const [, slot, pciFunction = '0'] = /^(?:0x)?([\da-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(text) ?? [];
  if (slot === undefined) throw new UserError(`Property 'addr' doesn't take value '${text}': it is like 04.0 or 0x4`);
  if (pciFunction !== '0') throw new UserError(`addr ${text}: only function 0 of a slot can be used yet`);
  const number = Number.parseInt(slot, 16);
  if (number < 1 || number > 30) throw new UserError(`addr ${text}: slots 1 to 30 (0x1e) can be used`);
  return number;
}

function place(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  params.accept('multifunction', 'off');
  params.accept('romfile', '');
  params.accept('acpi-index', '0');
  params.accept('disable-modern', 'off', 'false');
  params.accept('disable-legacy', 'on', 'auto', 'true');
  params.accept('num-queues', '1');
  params.accept('deflate-on-oom', 'on', 'true');
  params.accept('write-cache', 'auto', 'on');
  params.accept('logical_block_size', '512');
  params.accept('physical_block_size', '512');
  switch (device.driver) {
    case 'virtio-blk-pci':
    case 'scsi-hd':
    case 'scsi-cd':
      addDisk(draft, device, params);
      return;
    case 'virtio-net-pci':
      addNic(draft, device, params);
      return;
    case 'virtio-9p-pci':
      addShare(draft, device, params);
      return;
    case 'virtio-balloon-pci':
      if (draft.balloon !== undefined) throw new UserError('Only one balloon device is supported');
      draft.balloon = device;
      return;
    case 'virtio-rng-pci':
      if (draft.rng !== undefined) throw new UserError('only one virtio-rng-pci is supported');
      checkObject(draft, params.text('rng'), 'rng-');
      draft.rng = device;
      return;
    case 'virtio-scsi-pci':
      if (device.slot !== undefined)
        draft.warnings.push('virtio-scsi-pci: its place on the bus cannot be chosen; addr has no effect');
      return;
    case 'isa-serial':
      addSerial(draft, params);
      return;
    case 'isa-debug-exit':
      params.accept('iobase', '0xf4', '244');
      params.accept('iosize', '0x04', '4', '0x4');
      return;
  }
}

function checkObject(draft: Draft, id: string | undefined, typePrefix: string): void {
  if (id === undefined) return;
  const type = draft.objectIds.get(id);
  if (!type?.startsWith(typePrefix))
    throw new UserError(`Device '${id}' not found: no -object ${typePrefix}... has this id`);
}

function addShare(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  const [id, tag] = [params.required('fsdev'), params.required('mount_tag')];
  const fsdev = draft.fsdevs.find((one) => one.id === id);
  if (fsdev === undefined) throw new UserError(`Virtio-9p device couldn't find fsdev with the id = ${id}`);
  const { folder, security, readOnly } = fsdev;
  draft.shares.push({ folder, tag, security, readOnly, device });
}

/** -fsdev, or the folder's part of -virtfs. */
export function readFsdev(params: Params, defaultId?: string): FsdevDraft {
  const reader = new ParamReader(params);
  const kind = reader.required('fsdriver');
  if (kind !== 'local') throw new UserError(`fsdriver ${kind} is not supported, only local`);
  const id = reader.text('id') ?? defaultId ?? reader.required('id');
  const folder = reader.required('path');
  const security = reader.oneOf('security_model', ['none', 'mapped-xattr', 'mapped-file', 'mapped']) ?? 'none';
  const readOnly = reader.switch('readonly') ?? false;
  reader.ignore('mount_tag', 'multidevs', 'writeout');
  reader.accept('writeout', 'immediate');
  reader.finish();
  return { id, folder, security: security === 'mapped' ? 'mapped-xattr' : security, readOnly };
}

/** A folder and its device at once. */
export function addVirtfs(draft: Draft, option: Pick<GivenOption, 'written' | 'params'>): void {
  forOption(option, () => {
    const tag = new ParamReader(option.params).required('mount_tag');
    const fsdev = readFsdev(option.params, `__org.vireo.fs${draft.fsdevs.length}`);
    draft.fsdevs.push(fsdev);
    const device: Params = [
      ['driver', 'virtio-9p-pci'],
      ['fsdev', fsdev.id],
      ['mount_tag', tag],
    ];
    addDevice(draft, { written: option.written, params: device });
  });
}

function addSerial(draft: Draft, params: ParamReader): void {
  const chardev = params.required('chardev');
  const asked = params.number('index');
  const index = asked ?? draft.serial.indexOf(undefined);
  if (index < 0 || index >= draft.serial.length) throw new UserError('Max. supported number of ISA serial ports is 4');
  if (draft.serial[index] !== undefined) throw new UserError(`serial port ${index} is taken`);
  draft.serial[index] = chardev;
}

function addDisk(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  const name = params.text('drive');
  if (name === undefined)
    throw new UserError(
      device.driver === 'scsi-cd' ? 'an empty drive is not supported: drive is needed' : 'drive property not set',
    );
  const drive = draft.drives.find(({ id }) => id === name);
  const node = drive?.node ?? draft.nodes.find(({ nodeName }) => nodeName === name)?.nodeName;
  if (node === undefined) throw new UserError(`Property '${device.driver}.drive' can't find value '${name}'`);
  if (draft.disks.some((disk) => disk.node === node))
    throw new UserError(`drive '${name}' is already in use by another device`);
  if (drive !== undefined) drive.taken = true;
  const media = device.driver === 'scsi-cd' ? 'cdrom' : 'disk';
  draft.disks.push({ drive: drive?.id ?? '', node, device, media });
}

function addNic(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  const netdev = params.text('netdev');
  if (netdev === undefined)
    throw new UserError('netdev is needed: a card that is plugged into nothing is not supported');
  if (!draft.netdevs.some(({ id }) => id === netdev)) {
    throw new UserError(`Property 'virtio-net-device.netdev' can't find value '${netdev}'`);
  }
  if (draft.nics.some((nic) => nic.netdev === netdev))
    throw new UserError(`netdev '${netdev}' is already in use by another device`);
  draft.nics.push({ device, netdev, mac: params.text('mac') });
}

/** A node of the block graph from -blockdev, or blockdev-add's arguments as parameters. */
export function readBlockdev(draft: Pick<Draft, 'nodes'>, params: Params): BlockNodeConfig {
  const reader = new ParamReader(params);
  const driver = reader.oneOf('driver', ['file', ...FORMAT_DRIVERS]);
  if (driver === undefined) throw new UserError("Parameter 'driver' is missing");
  const nodeName = reader.required('node-name');
  if (!/^[a-z][\w.-]{0,30}$/i.test(nodeName)) throw new UserError(`Invalid node-name: '${nodeName}'`);
  if (draft.nodes.some((node) => node.nodeName === nodeName)) {
    throw new UserError(`Duplicate nodes with node-name='${nodeName}'`);
  }
  const cache = {
    direct: reader.switch('cache.direct') ?? false,
    noFlush: reader.switch('cache.no-flush') ?? false,
    writeThrough: false,
  };
  reader.ignore('discard', 'auto-read-only', 'detect-zeroes', 'locking', 'aio');
  reader.accept('detect-zeroes', 'off');
  const base = { nodeName, driver, readOnly: reader.switch('read-only') ?? false, cache };
  if (driver === 'file') {
    const node = { ...base, filename: reader.required('filename') };
    reader.finish();
    return node;
  }
  const nested = params.filter(([key]) => key.startsWith('file.'));
  const child = nested.length > 0 ? undefined : reader.required('file');
  if (nested.length > 0) throw new UserError('file must name a -blockdev of its own');
  const below = draft.nodes.find((node) => node.nodeName === child);
  if (below === undefined) throw new UserError(`Cannot find device='${child}' nor node-name='${child}'`);
  const backingText = reader.text('backing');
  if (backingText !== undefined && backingText !== '')
    throw new UserError('backing can only be null: the image itself names what it stands on');
  reader.accept('offset', '0');
  reader.finish();
  return { ...base, child, backing: backingText === undefined ? undefined : null };
}

/** -drive: a node, and a device for it unless if=none. */
export function addDrive(
  draft: Draft,
  option: Pick<GivenOption, 'written' | 'params'>,
  scsiDiscs: { count: number },
): void {
  forOption(option, () => {
    const reader = new ParamReader(option.params);
    const file = reader.required('file');
    const bus = reader.oneOf('if', ['virtio', 'scsi', 'none', 'ide', 'sata']) ?? 'ide';
    const media = reader.oneOf('media', ['disk', 'cdrom']) ?? 'disk';
    const index = draft.drives.length;
    const id = reader.text('id') ?? `${bus}${draft.drives.filter((drive) => drive.id.startsWith(bus)).length}`;
    if (draft.drives.some((drive) => drive.id === id)) throw new UserError(`Duplicate ID '${id}' for drive`);
    const mode = reader.oneOf('cache', ['none', 'writeback', 'writethrough', 'directsync', 'unsafe']);
    const cache = {
      direct: reader.switch('cache.direct') ?? (mode === 'none' || mode === 'directsync'),
      noFlush: reader.switch('cache.no-flush') ?? mode === 'unsafe',
      writeThrough: !(reader.switch('cache.writeback') ?? (mode !== 'writethrough' && mode !== 'directsync')),
    };
    const readOnly = reader.switch('readonly') ?? reader.switch('read-only') ?? media === 'cdrom';
    const format = reader.oneOf('format', FORMAT_DRIVERS) ?? (media === 'cdrom' ? 'raw' : undefined);
    reader.ignore('index', 'bus', 'unit', 'aio', 'discard', 'auto-read-only', 'file.locking');
    reader.accept('werror', 'report');
    reader.accept('rerror', 'report');
    reader.accept('snapshot', 'off');
    reader.accept('detect-zeroes', 'off');
    const serial = reader.text('serial');
    reader.finish();
    const nodeName = `#block${100 + 2 * index}`;
    draft.nodes.push({ nodeName: `#block${101 + 2 * index}`, driver: 'file', filename: file, readOnly, cache });
    draft.nodes.push({ nodeName, driver: format ?? 'auto', child: `#block${101 + 2 * index}`, readOnly, cache });
    draft.drives.push({ id, node: nodeName, media, serial, taken: false });
    if (bus === 'none') return;
    const own = serial === undefined ? [] : ([['serial', serial]] as const);
    if (media === 'cdrom') scsiDiscs.count += 1;
    const driver = media === 'cdrom' ? 'scsi-cd' : bus === 'scsi' ? 'scsi-hd' : 'virtio-blk-pci';
    if ((bus === 'ide' || bus === 'sata') && media === 'disk') {
      draft.warnings.push(`${option.written}: there is no IDE; the disk is a virtio one (say if=virtio)`);
    }
    addDevice(draft, { written: option.written, params: [['driver', driver], ['drive', id], ...own] });
  });
}

export function readNetdev(params: Params): NetdevConfig {
  const reader = new ParamReader(params);
  const kind = reader.required('type');
  if (kind !== 'user') throw new UserError(`'${kind}' is not supported as a network, only user`);
  const id = reader.required('id');
  const forwards = [
    ...reader.all('hostfwd'),
    ...params.filter(([key]) => /^hostfwd\.\d+\.str$/.test(key)).map(([, value]) => value),
  ];
  reader.ignore(...params.filter(([key]) => /^hostfwd\.\d+\.str$/.test(key)).map(([key]) => key));
  const restrict = reader.switch('restrict') ?? false;
  reader.accept('ipv4', 'on', 'yes', 'true');
  reader.accept('ipv6', 'on', 'yes', 'true');
  reader.finish();
  return { id, kind, hostForwards: forwards, restrict };
}

/** -nic: a network and a card at once. */
export function addNicOption(draft: Draft, option: Pick<GivenOption, 'written' | 'params'>): void {
  forOption(option, () => {
    const model = option.params.findLast(([key]) => key === 'model')?.[1] ?? 'virtio-net-pci';
    if (!['virtio', 'virtio-net', 'virtio-net-pci'].includes(model)) {
      throw new UserError(`'${model}' is not a valid network card: there is virtio-net-pci`);
    }
    const mac = option.params.findLast(([key]) => key === 'mac')?.[1];
    const given = option.params.findLast(([key]) => key === 'id')?.[1];
    const id = given ?? `__org.vireo.net${draft.netdevs.length}`;
    const own = option.params.filter(([key]) => !['model', 'mac', 'id', 'addr'].includes(key));
    draft.netdevs.push(readNetdev([...own, ['id', id]]));
    const card: [string, string][] = [
      ['driver', 'virtio-net-pci'],
      ['netdev', id],
    ];
    if (mac !== undefined) card.push(['mac', mac]);
    addDevice(draft, { written: option.written, params: card });
  });
}

export type DevicePart = Pick<
  SystemConfig,
  'blockNodes' | 'disks' | 'netdevs' | 'nics' | 'shares' | 'balloon' | 'rng' | 'devices'
>;

export function devicePart(draft: Draft): DevicePart {
  return {
    blockNodes: draft.nodes,
    disks: draft.disks,
    netdevs: draft.netdevs,
    nics: draft.nics,
    balloon: draft.balloon,
    rng: draft.rng,
    shares: draft.shares,
    devices: draft.devices,
  };
}
