/** The devices and object types that there are: what -device and -object take, and what qom-list-types says. */
import type { ParamSpec, ParamTable } from './opts.ts';

export interface TypeSpec {
  readonly parent: string;
  readonly abstract?: true;
  readonly doc?: string;
  /** Where it is plugged in; without it, the type is no device for -device. */
  readonly bus?: 'PCI' | 'ISA' | 'SCSI' | 'virtio-serial-bus' | 'none';
  readonly category?: 'Storage' | 'Network' | 'Input' | 'Misc';
  readonly properties?: ParamTable;
}

const text = (help: string): ParamSpec => ({ type: 'string', help });
const toggle = (help: string): ParamSpec => ({ type: 'boolean', help });
const number = (help: string): ParamSpec => ({ type: 'number', help });

/** Of every function on a PCI bus. */
const PCI: ParamTable = {
  addr: text('slot, and function, as in 04.0 or 0x4'),
  multifunction: toggle('others may be placed in the same slot: without effect, as only function 0 of a slot is used'),
  'acpi-index': number('a number for the name of the device in the guest: only 0, none'),
  rombar: number('a ROM of its own: accepted and without effect, as there is none'),
  romfile: text('the content of that ROM: only the empty name'),
};
/** Of every virtio device on a PCI bus. */
const VIRTIO: ParamTable = {
  ...PCI,
  'disable-legacy': text(
    'off: the device has the legacy interface too; auto (default): unless it is behind an Express port',
  ),
  'disable-modern': toggle('there is only the modern interface: off'),
};
const BLOCK: ParamTable = {
  drive: text('the -drive or -blockdev node with the content'),
  serial: text('at most 20 characters, for the guest to read'),
  bootindex: number('place in the order of booting'),
  'write-cache': text('auto or on'),
  logical_block_size: number('512'),
  physical_block_size: number('512'),
};

export const TYPES: Readonly<Record<string, TypeSpec>> = {
  object: { parent: '', abstract: true },
  container: { parent: 'object' },
  device: { parent: 'object', abstract: true },
  machine: { parent: 'object', abstract: true },
  accel: { parent: 'object', abstract: true },
  'tcg-accel': { parent: 'accel' },
  'kvm-accel': { parent: 'accel' },
  'none-machine': { parent: 'machine' },
  'generic-pc-machine': { parent: 'machine', abstract: true },
  'pc-q35-8.2-machine': { parent: 'generic-pc-machine' },
  'pc-i440fx-8.2-machine': { parent: 'generic-pc-machine' },
  cpu: { parent: 'device', abstract: true },
  'x86_64-cpu': { parent: 'cpu', abstract: true },
  'max-x86_64-cpu': {
    parent: 'x86_64-cpu',
    properties: { migratable: toggle('only features that can be moved'), 'unavailable-features': text('none') },
  },
  'pci-device': { parent: 'device', abstract: true },
  'virtio-pci': { parent: 'pci-device', abstract: true },
  'isa-device': { parent: 'device', abstract: true },
  'scsi-device': { parent: 'device', abstract: true },
  'virtio-blk-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Storage',
    doc: 'a virtio disk',
    properties: {
      ...VIRTIO,
      ...BLOCK,
      'num-queues': number('1'),
      iothread: text('the thread that serves it: accepted and without effect'),
    },
  },
  'virtio-net-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Network',
    doc: 'a virtio network card',
    properties: {
      ...VIRTIO,
      netdev: text('the -netdev that it is plugged into'),
      mac: text('its address, as in 52:54:00:12:34:56'),
      bootindex: number('place in the order of booting; there is no booting from a network yet'),
    },
  },
  'virtio-balloon-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Misc',
    doc: 'takes memory from the guest and gives it back',
    properties: { ...VIRTIO, 'deflate-on-oom': toggle('the guest may take memory back: on') },
  },
  'virtio-rng-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Misc',
    doc: 'random bytes for the guest',
    properties: { ...VIRTIO, rng: text('the -object rng-builtin or rng-random that gives them') },
  },
  'virtio-9p-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Storage',
    doc: 'a folder of the host',
    properties: {
      ...VIRTIO,
      fsdev: text('the -fsdev with the folder'),
      mount_tag: text('what the guest mounts it by'),
    },
  },
  'virtio-scsi-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Storage',
    doc: 'a SCSI host; where it is placed cannot be chosen yet',
    properties: VIRTIO,
  },
  'scsi-hd': { parent: 'scsi-device', bus: 'SCSI', category: 'Storage', doc: 'a SCSI disk', properties: BLOCK },
  'scsi-cd': {
    parent: 'scsi-device',
    bus: 'SCSI',
    category: 'Storage',
    doc: 'a SCSI drive for discs',
    properties: BLOCK,
  },
  'isa-serial': {
    parent: 'isa-device',
    bus: 'ISA',
    category: 'Input',
    doc: 'a serial port',
    properties: { chardev: text('where it leads'), index: number('0 to 3 for COM1 to COM4') },
  },
  'isa-debug-exit': {
    parent: 'isa-device',
    bus: 'ISA',
    category: 'Misc',
    doc: 'a port by which the guest ends the emulator',
    properties: { iobase: number('0xf4'), iosize: number('4') },
  },
  'pcie-root-port': {
    parent: 'pci-device',
    bus: 'PCI',
    category: 'Misc',
    doc: 'a PCI Express slot that a device can be plugged into; q35',
    properties: {
      ...PCI,
      port: number('accepted and without effect'),
      chassis: number('accepted and without effect'),
      slot: number('accepted and without effect: it is numbered by its place'),
      hotplug: toggle('devices can be plugged in: on'),
    },
  },
  'pci-bridge': {
    parent: 'pci-device',
    bus: 'PCI',
    category: 'Misc',
    doc: 'a PCI bus with 31 slots',
    properties: { ...PCI, chassis_nr: number('accepted and without effect') },
  },
  'virtio-serial-pci': {
    parent: 'virtio-pci',
    bus: 'PCI',
    category: 'Input',
    doc: 'ports between guest and host',
    properties: { ...VIRTIO, max_ports: number('accepted and without effect') },
  },
  virtserialport: {
    parent: 'device',
    bus: 'virtio-serial-bus',
    category: 'Input',
    doc: 'a port of virtio-serial-pci',
    properties: {
      chardev: text('where it leads'),
      name: text('/dev/virtio-ports/NAME'),
      nr: number('its number: as they come'),
    },
  },
  virtconsole: {
    parent: 'device',
    bus: 'virtio-serial-bus',
    category: 'Input',
    doc: 'a console on virtio-serial-pci',
    properties: { chardev: text('where it leads'), name: text('a name'), nr: number('its number: as they come') },
  },
  'virtio-keyboard-pci': { parent: 'virtio-pci', bus: 'PCI', category: 'Input', doc: 'a keyboard', properties: VIRTIO },
  'virtio-mouse-pci': { parent: 'virtio-pci', bus: 'PCI', category: 'Input', doc: 'a mouse', properties: VIRTIO },
  'virtio-tablet-pci': { parent: 'virtio-pci', bus: 'PCI', category: 'Input', doc: 'a tablet', properties: VIRTIO },
  pvpanic: {
    parent: 'isa-device',
    bus: 'ISA',
    category: 'Misc',
    doc: 'the guest says that it panicked',
    properties: { ioport: number('0x505'), events: number('3') },
  },
  'pvpanic-pci': {
    parent: 'pci-device',
    bus: 'PCI',
    category: 'Misc',
    doc: 'the same on PCI',
    properties: { ...PCI, events: number('3') },
  },
  i6300esb: { parent: 'pci-device', bus: 'PCI', category: 'Misc', doc: 'a watchdog', properties: PCI },
  edu: {
    parent: 'pci-device',
    bus: 'PCI',
    category: 'Misc',
    doc: 'a device to learn drivers with',
    properties: { ...PCI, dma_mask: number('0xfffffff') },
  },
  'pci-testdev': {
    parent: 'pci-device',
    bus: 'PCI',
    category: 'Misc',
    doc: 'for tests of accesses to devices',
    properties: { ...PCI, membar: number('0') },
  },
  'pc-testdev': { parent: 'isa-device', bus: 'ISA', category: 'Misc', doc: 'ports for tests of CPUs' },
  vmcoreinfo: { parent: 'device', bus: 'none', category: 'Misc', doc: 'the guest says how its memory is to be dumped' },
  iothread: { parent: 'object', properties: { 'poll-max-ns': number('accepted and without effect') } },
  'host-memory-backend': { parent: 'object', abstract: true },
  'memory-backend-ram': { parent: 'host-memory-backend' },
  'memory-backend-memfd': { parent: 'host-memory-backend' },
  'memory-backend-file': { parent: 'host-memory-backend' },
  'rng-backend': { parent: 'object', abstract: true },
  'rng-builtin': { parent: 'rng-backend' },
  'rng-random': { parent: 'rng-backend', properties: { filename: text('where the bytes come from') } },
  secret: { parent: 'object' },
  'throttle-group': { parent: 'object' },
};

const TRANSITIONAL = ['blk', 'net', 'rng', 'balloon', 'scsi', '9p', 'serial'];
/** Virtio devices that are older than version 1.0, so that they can have the legacy interface too. */
export const LEGACY_DRIVERS: readonly string[] = TRANSITIONAL.map((name) => `virtio-${name}-pci`);

/** Other names that QEMU knows a device by. */
export const DEVICE_ALIASES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(TRANSITIONAL.map((name) => [`virtio-${name}-pci-transitional`, `virtio-${name}-pci`])),
  'virtio-serial': 'virtio-serial-pci',
  'virtio-keyboard': 'virtio-keyboard-pci',
  'virtio-mouse': 'virtio-mouse-pci',
  'virtio-tablet': 'virtio-tablet-pci',
  'virtio-serial-pci-non-transitional': 'virtio-serial-pci',
  'virtio-blk': 'virtio-blk-pci',
  'virtio-net': 'virtio-net-pci',
  'virtio-balloon': 'virtio-balloon-pci',
  'virtio-rng': 'virtio-rng-pci',
  'virtio-scsi': 'virtio-scsi-pci',
  'virtio-9p': 'virtio-9p-pci',
  'virtio-9p-pci-non-transitional': 'virtio-9p-pci',
  'virtio-blk-pci-non-transitional': 'virtio-blk-pci',
  'virtio-net-pci-non-transitional': 'virtio-net-pci',
  'virtio-balloon-pci-non-transitional': 'virtio-balloon-pci',
  'virtio-rng-pci-non-transitional': 'virtio-rng-pci',
  'virtio-scsi-pci-non-transitional': 'virtio-scsi-pci',
};

/** The types that -device takes. */
export const DEVICE_NAMES: readonly string[] = Object.keys(TYPES).filter((name) => TYPES[name].bus !== undefined);

export function isA(name: string, ancestor: string): boolean {
  for (let at = name; at !== ''; at = TYPES[at]?.parent ?? '') if (at === ancestor) return true;
  return false;
}

export interface MachineSpec {
  readonly name: string;
  readonly alias?: string;
  readonly isDefault?: true;
  readonly doc: string;
  /** What the root PCI bus is called, if there is one. */
  readonly pciBus?: string;
}

/** The machines that -machine takes. */
export const MACHINES: readonly MachineSpec[] = [
  {
    name: 'pc-i440fx-8.2',
    alias: 'pc',
    isDefault: true,
    doc: 'Standard PC; its chips are those of q35, and its bus is called pci.0',
    pciBus: 'pci.0',
  },
  { name: 'pc-q35-8.2', alias: 'q35', doc: 'Standard PC (Q35 and ICH9)', pciBus: 'pcie.0' },
  { name: 'none', doc: 'no machine at all, to ask what there is' },
];
