/** Devices, disks and network cards: from options to their place in the machine's configuration. */
import { UserError } from '../../base/index.ts';
import type { GivenOption } from './command-line.ts';
import { forOption } from './command-line.ts';
import type {
  BlockNodeConfig,
  ConsolePortConfig,
  DeviceConfig,
  DiskConfig,
  NetdevConfig,
  ShareConfig,
  SystemConfig,
} from './config.ts';
import { DEVICE_ALIASES, DEVICE_NAMES, LEGACY_DRIVERS, type MachineSpec, TYPES } from './devices.ts';
import { addDisk, type DriveDraft } from './disks.ts';
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
  readonly others: DeviceConfig[];
  readonly consolePorts: ConsolePortConfig[];
  console?: DeviceConfig;
  readonly objectIds: ReadonlyMap<string, string>;
  readonly warnings: string[];
  /** The machine lives: what nobody here knows may have been made since. */
  readonly isLive?: boolean;
  balloon?: DeviceConfig;
  rng?: DeviceConfig;
}

/** A -fsdev: a folder that waits for its device. */
export type FsdevDraft = { readonly id: string } & Pick<ShareConfig, 'folder' | 'security' | 'readOnly'>;

const SCSI_BUS = 'scsi0.0';

/** Makes a device; what is built in is only described. */
export function addDevice(draft: Draft, option: Pick<GivenOption, 'written' | 'params'>): void {
  forOption(option, () => makeDevice(draft, option.params));
}

/** @throws UserError that names what is wrong with the device */
export function makeDevice(draft: Draft, options: Params): DeviceConfig {
  const reader = new ParamReader(options);
  const given = reader.required('driver');
  const driver = DEVICE_ALIASES[given] ?? given;
  const type = DEVICE_NAMES.includes(driver) ? TYPES[driver] : undefined;
  if (type === undefined) {
    throw new UserError(`'${given}' is not a valid device model name; there are ${DEVICE_NAMES.join(', ')}`);
  }
  if (draft.machine.pciBus === undefined) throw new UserError(`machine ${draft.machine.name} has no place for devices`);
  const globals = draft.globals.filter((one) => (DEVICE_ALIASES[one.driver] ?? one.driver) === driver);
  const own = options.filter(([key]) => !['driver', 'id', 'bus'].includes(key));
  const params: Params = [...globals.map(({ property, value }) => [property, value] as const), ...own];
  checkProperties(driver, params, type.properties ?? {});
  const behind = busOf(draft, driver, type.bus, reader.text('bus'));
  const id = checkedId(draft, reader.text('id') ?? '');
  const slot = slotOf(draft, driver, params, behind);
  const properties = Object.fromEntries(params);
  const device: DeviceConfig = {
    ...{ driver, id, properties, slot, behind },
    ...(hasLegacy(draft, given, properties, behind) ? { virtio: 'transitional' } : {}),
  };
  draft.devices.push(device);
  place(draft, device, new ParamReader(params));
  return device;
}

/**
 * Whether a virtio device has the legacy interface beside the modern one. `disable-legacy=auto`, the default: all but
 * those behind PCI Express ports have it.
 */
function hasLegacy(
  draft: Draft,
  given: string,
  properties: Readonly<Record<string, string>>,
  behind: string | undefined,
): boolean {
  const driver = DEVICE_ALIASES[given] ?? given;
  if (!LEGACY_DRIVERS.includes(driver) || given.endsWith('-non-transitional')) return false;
  if (given.endsWith('-transitional')) return true;
  const disabled = properties['disable-legacy'] ?? 'auto';
  if (disabled !== 'auto') return ['off', 'no', 'false'].includes(disabled);
  return !draft.devices.some((one) => one.id === behind && one.driver === 'pcie-root-port');
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

const BRIDGES: readonly string[] = ['pcie-root-port', 'pci-bridge'];

/** The bridge that a PCI device is behind; undefined on a root bus. */
function busOf(draft: Draft, driver: string, kind: string | undefined, bus: string | undefined): string | undefined {
  if (bus === undefined) return undefined;
  const root = { PCI: draft.machine.pciBus, ISA: 'isa.0', SCSI: SCSI_BUS }[kind ?? ''];
  if (bus === root) return undefined;
  if (kind === 'virtio-serial-bus' && bus.endsWith('.0')) return undefined;
  if (kind === 'SCSI' && draft.devices.some((one) => one.driver === 'virtio-scsi-pci' && bus === `${one.id}.0`)) {
    return undefined;
  }
  if (kind === 'PCI' && draft.devices.some((one) => BRIDGES.includes(one.driver) && one.id === bus)) return bus;
  throw new UserError(`Bus '${bus}' not found: ${driver} goes on ${root ?? 'a virtio-serial-pci'}`);
}

/** Slot and function as QEMU writes them: `04.0` in hexadecimal, or a number. */
function slotOf(draft: Draft, driver: string, params: Params, behind: string | undefined): number | undefined {
  const text = params.findLast(([key]) => key === 'addr')?.[1];
  if (text === undefined) return undefined;
  const [, slot, pciFunction = '0'] = /^(?:0x)?([\da-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(text) ?? [];
  if (slot === undefined) throw new UserError(`Property 'addr' doesn't take value '${text}': it is like 04.0 or 0x4`);
  const number = Number.parseInt(slot, 16);
  const isMulti = params.some(([key, value]) => key === 'multifunction' && ['on', 'yes', 'true'].includes(value));
  if (driver === 'pcie-root-port' && (pciFunction !== '0' || isMulti)) {
    draft.warnings.push(
      `pcie-root-port at addr ${text}: it gets a slot of its own, as only function 0 of a slot is used`,
    );
    return undefined;
  }
  if (pciFunction !== '0') throw new UserError(`addr ${text}: only function 0 of a slot can be used yet`);
  if (behind === undefined && (number < 1 || number > 30)) {
    throw new UserError(`addr ${text}: slots 1 to 30 (0x1e) can be used`);
  }
  return number;
}

function place(draft: Draft, device: DeviceConfig, params: ParamReader): void {
  params.accept('romfile', '');
  params.accept('acpi-index', '0');
  params.accept('disable-modern', 'off', 'false');
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
    case 'virtio-serial-pci':
      if (draft.console !== undefined) throw new UserError('only one virtio-serial-pci is supported');
      draft.console = device;
      return;
    case 'virtserialport':
    case 'virtconsole':
      draft.consolePorts.push({
        ...{ device, chardev: params.text('chardev'), isConsole: device.driver === 'virtconsole' },
        ...(params.has('name') ? { name: params.text('name') } : {}),
      });
      return;
    case 'pcie-root-port':
    case 'pci-bridge':
      if (device.id === '')
        throw new UserError(`${device.driver} needs an id, by which devices say that they are behind it`);
      draft.others.push(device);
      return;
    case 'pvpanic':
      params.accept('ioport', '0x505', '1285');
      draft.others.push(device);
      return;
    case 'pvpanic-pci':
    case 'i6300esb':
    case 'edu':
    case 'pci-testdev':
    case 'pc-testdev':
    case 'vmcoreinfo':
    case 'virtio-keyboard-pci':
    case 'virtio-mouse-pci':
    case 'virtio-tablet-pci':
      params.accept('events', '3');
      params.accept('membar', '0');
      params.accept('dma_mask', '0xfffffff', '268435455');
      draft.others.push(device);
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
  | 'blockNodes'
  | 'disks'
  | 'netdevs'
  | 'nics'
  | 'shares'
  | 'balloon'
  | 'rng'
  | 'devices'
  | 'others'
  | 'console'
  | 'consolePorts'
  | 'drives'
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
    others: draft.others,
    console: draft.console,
    consolePorts: draft.consolePorts,
    drives: draft.drives,
  };
}
