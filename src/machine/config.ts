/** What a machine is made of, and the checks on what a person asks for. */
import { sizeText, UserError } from '../base/index.ts';
import { GUEST_CID, SECURITY_MODELS, type SecurityModelName, type VirtioPciMode } from '../hw/names.ts';
import { DEFAULT_ACTIONS, type MachineActions } from './commands.ts';
import { checkExtras, type ExtraDevice, type FirmwareOptions } from './extra-options.ts';
import {
  type BalloonOptions,
  type BridgeOptions,
  type ConsoleOptions,
  checkPlaced,
  type InputOptions,
  type PciPlace,
} from './pci-options.ts';

/** What `createMachine` takes. */
export interface MachineOptions {
  /** RAM of the guest, in bytes: a multiple of 1 MiB from `MEMORY_MIN_BYTES` to `MEMORY_MAX_BYTES`. */
  readonly memoryBytes: number;
  /** CPU model by QEMU's name; default 'max', everything that works. */
  readonly cpu?: string;
  /** CPUs, 1 to `CPUS_MAX`; default 1. */
  readonly cpus?: number;
  /** Who executes guest code: the first of these that can; default `['auto']`. */
  readonly accel?: readonly AcceleratorChoice[];
  /** How the host keeps the guest's memory, where the accelerator lets it be chosen (KVM). */
  readonly ram?: RamOptions;
  /** Under KVM, `off`: interrupt controllers and timer are this machine's own devices, for one CPU; `split`: all but the local APICs; default `on`. */
  readonly kernelIrqchip?: 'on' | 'off' | 'split';
  readonly boot: BootOptions;
  /** True: a reset by the guest ends the machine with reason 'reset' instead of starting it again. */
  readonly noReboot?: boolean;
  /** Virtio disks, in the order in which the guest finds them. */
  readonly disks?: readonly DiskOptions[];
  /** Virtio network cards, in the order in which the guest finds them. */
  readonly networks?: readonly NetworkOptions[];
  /** Folders of the host that the guest can mount by 9P. */
  readonly shares?: readonly ShareOptions[];
  /** The virtio source of random bytes; false: none. Default: there is one. */
  readonly rng?: PciPlace | false;
  /** A virtio memory balloon. */
  readonly balloon?: BalloonOptions;
  /** Ports of a virtio console: hvc0 and so on, and channels by name. */
  readonly console?: ConsoleOptions;
  /** Virtio keyboards, mice and tablets; the command `send-input` names them by their number here. */
  readonly input?: readonly InputOptions[];
  /** Bridges and root ports, those that others are behind first. */
  readonly bridges?: readonly BridgeOptions[];
  /** The interfaces that virtio devices have unless they say otherwise; default `modern`. */
  readonly virtio?: VirtioPciMode;
  /** What is done when the guest does something to the machine as a whole; default: the machine ends. */
  readonly actions?: Partial<MachineActions>;
  /** Streams between programs of the guest and of the host (vsock(7)). */
  readonly vsock?: VsockOptions;
  /** A graph of block nodes, for disks that name a `node`, and to be changed while the machine lives. */
  readonly block?: BlockServiceOptions;
  /** Devices beyond these. */
  readonly extras?: readonly ExtraDevice[];
  readonly firmware?: FirmwareOptions;
  /** Devices can be plugged into the root PCI bus while the guest runs, by ACPI. */
  readonly pciHotplug?: boolean;
}

/** A socket device; its host's side are unix sockets, as `openVsockHost` in hw describes. */
export interface VsockOptions extends PciPlace {
  /** Where the host listens for programs that ask for a port of the guest. */
  readonly path: string;
  /** The guest's context id; default 3. */
  readonly guestCid?: number;
}

/** One shared folder; who opens it is `MachineBackends.openShare`. */
export interface ShareOptions extends PciPlace {
  /** Where the folder is, as the host names it. */
  readonly folder: string;
  /** What the guest mounts it by: letters, digits, `.`, `_` and `-`, up to `TAG_LENGTH_MAX`. */
  readonly tag: string;
  readonly readOnly?: boolean;
  /** What becomes of owners and modes on the host; default `none`. */
  readonly security?: SecurityModelName;
}

export type AcceleratorName = 'kvm' | 'tcg';
/** `auto`: KVM where it can run whole guests, else the software CPU (tcg). */
export type AcceleratorChoice = AcceleratorName | 'auto';
export const ACCELERATOR_CHOICES: readonly AcceleratorChoice[] = ['kvm', 'tcg', 'auto'];

/** How the host keeps the guest's memory. */
export interface RamOptions {
  /** `memfd`: shared memory; `hugepages`: 2-MiB pages that the administrator reserved; default anonymous memory. */
  readonly backing?: 'anonymous' | 'memfd' | 'hugepages';
  /** Equal pages of several guests may be shared (KSM). */
  readonly merge?: boolean;
  /** Transparent huge pages: advised, advised against, or as the system has it. */
  readonly transparentHugepages?: boolean;
  /** All of it is taken at the start. */
  readonly preallocate?: boolean;
  /** None of it is swapped out. */
  readonly lock?: boolean;
}

/** One network card and what its cable leads to; who opens that is `MachineBackends.openNetwork`. */
export interface NetworkOptions extends PciPlace {
  /** A network of the host's user, without privileges. */
  readonly kind: 'user';
  /** Ports of the host that lead to the guest, as QEMU's hostfwd says them: `tcp::2222-:22`. */
  readonly hostForwards?: readonly string[];
  /** Nothing goes out but what forwarding rules name. */
  readonly restrict?: boolean;
  /** More of it as QEMU's `-netdev user` says it: `net=192.168.7.0/24,dnssearch=example.org`. */
  readonly userOptions?: string;
  /** How many of a hundred frames are lost on the way, in each direction; default none. */
  readonly lossPercent?: number;
  /** `52:54:00:12:34:56`, the default of the first card; the others count up. */
  readonly mac?: string;
  /** Pairs of queues that the guest may use at once, 1 to `NETWORK_QUEUES_MAX`; default 1. */
  readonly queues?: number;
}

/** What a disk stands on in the graph of block nodes. */
export interface DiskNode {
  /** The node's name; without it, the drive is empty. */
  readonly name?: string;
  /** The id of its -drive, or ''. */
  readonly drive: string;
  /** What the device is called; unique. */
  readonly device: string;
  /** Bytes and requests a second, by kind. */
  readonly limits?: BlockLimitOptions;
}

/** By `bps-total`, `iops-read` and so on. */
export type BlockLimitOptions = Readonly<Record<string, { readonly perSecond: number; readonly burst?: number }>>;

/** The nodes that a machine's disks stand on; who opens them is `MachineBackends.openBlock`. */
export interface BlockServiceOptions {
  /** Options of each node, in the order in which they are opened. */
  readonly nodes: readonly (readonly (readonly [key: string, value: string])[])[];
  /** Secrets and credentials that nodes use, as JSON. */
  readonly objects: readonly string[];
  /** Another process has the images: they are only looked at, and still to be taken. */
  readonly isElsewhere?: boolean;
}

/** One disk; who opens it is `MachineBackends.openDisk`. */
export interface DiskOptions extends PciPlace {
  /** `virtio` (the default): a device of its own, vda and so on; `scsi`: on the machine's SCSI host, sda and so on. */
  readonly bus?: 'virtio' | 'scsi';
  /** `cdrom`: a disc in a drive, on the SCSI host: sr0 and so on. */
  readonly media?: 'disk' | 'cdrom';
  /** Where the image is, as the host names it; '' with `node`. */
  readonly file: string;
  /** Instead of a file: a node of `blockNodes`. */
  readonly node?: DiskNode;
  /** The image's format; without it, it is found out, and an image that refers to other files is refused. */
  readonly format?: string;
  readonly readOnly?: boolean;
  /** Past the host's page cache; without flushes (a crash of the host loses data); every write flushed. Default: none of them. */
  readonly cache?: { readonly direct: boolean; readonly noFlush: boolean; readonly writeThrough: boolean };
  /** At most 20 characters of ASCII; default `disk0` and so on. */
  readonly serial?: string;
  /** Queues of a virtio disk, 1 to `DISK_QUEUES_MAX`; default 1. */
  readonly queues?: number;
}

export interface BootOptions {
  /** The content of a kernel file: Linux bzImage, PVH ELF or multiboot 1. */
  readonly kernel: Uint8Array;
  /** The content of an initial RAM disk (for multiboot, the first module). */
  readonly initrd?: Uint8Array;
  readonly commandLine?: string;
}

export type CheckedVsock = VsockOptions & { readonly guestCid: number };

/** Checked options with their defaults; goes to the machine's thread as it is. */
export interface MachineConfig {
  readonly memoryBytes: number;
  readonly cpu: string;
  readonly cpus: number;
  readonly accel: readonly AcceleratorChoice[];
  readonly ram: RamOptions;
  readonly kernelIrqchip: 'on' | 'off' | 'split';
  readonly boot: BootOptions;
  readonly noReboot: boolean;
  readonly disks: readonly DiskOptions[];
  readonly networks: readonly NetworkOptions[];
  readonly shares: readonly ShareOptions[];
  readonly rng: PciPlace | false;
  readonly balloon: BalloonOptions | undefined;
  readonly console: ConsoleOptions | undefined;
  readonly input: readonly InputOptions[];
  readonly bridges: readonly BridgeOptions[];
  readonly virtio: VirtioPciMode;
  readonly actions: MachineActions;
  /** Its RAM and state come from a snapshot: nothing is loaded to begin with. */
  readonly isIncoming: boolean;
  /** Pages of its RAM may be a file's, privately: what is given up there does not become zero of itself. */
  readonly hasMappedRam?: boolean;
  readonly vsock: CheckedVsock | undefined;
  readonly block: BlockServiceOptions | undefined;
  readonly extras: readonly ExtraDevice[];
  readonly firmware: FirmwareOptions;
  readonly pciHotplug: boolean;
}

const MIB = 1024 * 1024;
export const MEMORY_MIN_BYTES = 16 * MIB;
/** The software CPU's most: what is left of a 4 GiB WebAssembly memory beside its own tables. */
export const MEMORY_MAX_BYTES = 4032 * MIB;
/** KVM's most: below where 64-bit PCI BARs may be placed. */
export const KVM_MEMORY_MAX_BYTES = 256 * 1024 * MIB;
/** APIC ids are 8 bits, of which one means all. */
export const CPUS_MAX = 255;

/** As many as there are places for on the PCI bus, with some to spare. */
export const DISKS_MAX = 16;
export const NETWORKS_MAX = 8;
export const SHARES_MAX = 3;
export const NETWORK_QUEUES_MAX = 16;
export const DISK_QUEUES_MAX = 64;
export const TAG_LENGTH_MAX = 31;

/** Throws UserError that names the option. */
export function checkOptions(options: MachineOptions): MachineConfig {
  const { memoryBytes, cpu = 'max', boot, noReboot = false } = options;
  const { disks = [], networks = [], shares = [], rng = {}, balloon, vsock, block } = options;
  const { console, input = [], bridges = [], virtio = 'modern' } = options;
  const places = { console, input, bridges, virtio };
  const { cpus = 1, accel = ['auto'], ram = {}, kernelIrqchip = 'on' } = options;
  checkAccelerators(accel);
  const most = accel.every((name) => name === 'tcg') ? MEMORY_MAX_BYTES : KVM_MEMORY_MAX_BYTES;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < MEMORY_MIN_BYTES || memoryBytes > most) {
    const asked = Number.isSafeInteger(memoryBytes) && memoryBytes >= 0 ? sizeText(memoryBytes) : String(memoryBytes);
    throw new UserError(
      `the guest's memory cannot be ${asked}: from ${sizeText(MEMORY_MIN_BYTES)} to ${sizeText(most)} is possible`,
    );
  }
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > CPUS_MAX) {
    throw new UserError(`a machine cannot have ${cpus} CPUs: from 1 to ${CPUS_MAX} are possible`);
  }
  if (memoryBytes % MIB !== 0) {
    throw new UserError(`the guest's memory of ${memoryBytes} bytes is not a whole number of MiB`);
  }
  if (typeof cpu !== 'string') throw new UserError('the CPU model must be a name, such as max');
  checkBytes(boot?.kernel, 'boot.kernel');
  if (boot.initrd !== undefined) checkBytes(boot.initrd, 'boot.initrd');
  const { commandLine } = boot;
  if (commandLine !== undefined && typeof commandLine !== 'string') {
    throw new UserError('boot.commandLine must be a string');
  }
  checkDisks(disks);
  checkNetworks(networks);
  checkShares(shares);
  checkPlaced([...disks, ...networks, ...shares, ...input, rng || {}, balloon ?? {}, vsock ?? {}], places);
  const { kernel, initrd } = boot;
  const actions = { ...DEFAULT_ACTIONS, ...options.actions };
  const devices = { disks, networks, shares, rng, balloon, vsock: checkedVsock(vsock), block, ...places };
  const { extras = [], firmware = {}, pciHotplug = false } = options;
  checkExtras(extras, firmware);
  const processors = { cpu, cpus, accel, ram, kernelIrqchip };
  const kernelAndInitrd = { kernel, initrd, commandLine };
  return {
    memoryBytes,
    ...processors,
    boot: kernelAndInitrd,
    noReboot,
    ...devices,
    extras,
    firmware,
    pciHotplug,
    actions,
    isIncoming: false,
  };
}

function checkAccelerators(accel: readonly AcceleratorChoice[]): void {
  if (accel.length === 0) throw new UserError(`a machine needs an accelerator: ${ACCELERATOR_CHOICES.join(', ')}`);
  for (const name of accel) {
    if (!ACCELERATOR_CHOICES.includes(name))
      throw new UserError(`there is no accelerator ${name}, only ${ACCELERATOR_CHOICES.join(', ')}`);
  }
}

function checkNetworks(networks: readonly NetworkOptions[]): void {
  if (networks.length > NETWORKS_MAX) {
    throw new UserError(`a machine can have ${NETWORKS_MAX} network cards, not ${networks.length}`);
  }
  for (const { mac, lossPercent = 0, queues } of networks) {
    if (mac !== undefined) parseMac(mac);
    checkQueues('network card', queues, NETWORK_QUEUES_MAX);
    if (!(lossPercent >= 0 && lossPercent <= 100))
      throw new UserError(`${lossPercent} is not 0 to 100 % of all frames`);
  }
}

function checkQueues(device: string, queues: number | undefined, max: number): void {
  if (queues === undefined || (Number.isInteger(queues) && queues >= 1 && queues <= max)) return;
  throw new UserError(`a ${device} cannot have ${queues} queues: from 1 to ${max} are possible`);
}

function checkShares(shares: readonly ShareOptions[]): void {
  if (shares.length > SHARES_MAX) {
    throw new UserError(`a machine can have ${SHARES_MAX} shared folders, not ${shares.length}`);
  }
  for (const [index, { folder, tag, security = 'none' }] of shares.entries()) {
    if (typeof folder !== 'string' || folder === '') throw new UserError('a shared folder needs the folder');
    if (typeof tag !== 'string' || !/^[\w.-]+$/.test(tag) || /^\.\.?$/.test(tag) || tag.length > TAG_LENGTH_MAX) {
      throw new UserError(
        `the tag "${tag}" of ${folder} is not ${TAG_LENGTH_MAX} letters, digits, ".", "_" and "-" or fewer`,
      );
    }
    if (shares.findIndex((other) => other.tag === tag) !== index) {
      throw new UserError(`two shared folders have the tag ${tag}`);
    }
    if (!SECURITY_MODELS.includes(security)) {
      throw new UserError(`there is no security model ${security}, only ${SECURITY_MODELS.join(', ')}`);
    }
  }
}

function checkedVsock(vsock: VsockOptions | undefined): CheckedVsock | undefined {
  if (vsock === undefined) return undefined;
  const { path, guestCid = GUEST_CID.min, ...place } = vsock;
  if (typeof path !== 'string' || path === '') throw new UserError("the guest's sockets need a path on the host");
  if (!Number.isInteger(guestCid) || guestCid < GUEST_CID.min || guestCid > GUEST_CID.max) {
    throw new UserError(`the guest's context id cannot be ${guestCid}: from ${GUEST_CID.min} to ${GUEST_CID.max}`);
  }
  return { ...place, path, guestCid };
}

/** @throws UserError unless `text` is the address of one card, such as `52:54:00:12:34:56` */
export function parseMac(text: string): Uint8Array {
  const bytes = Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
  if (/^[\da-f]{2}(:[\da-f]{2}){5}$/i.test(text) && (bytes[0] & 1) === 0) return bytes;
  throw new UserError(`"${text}" is not the address of a network card, such as 52:54:00:12:34:56`);
}

function checkDisks(disks: readonly DiskOptions[]): void {
  if (disks.length > DISKS_MAX) throw new UserError(`a machine can have ${DISKS_MAX} disks, not ${disks.length}`);
  for (const { file, node, serial = '', bus, media, queues } of disks) {
    checkQueues('disk', queues, DISK_QUEUES_MAX);
    if (media === 'cdrom' && bus === 'virtio')
      throw new UserError(`the disc ${file} needs a drive: bus scsi, not virtio`);
    if (node === undefined && (typeof file !== 'string' || file === '')) throw new UserError('a disk needs a file');
    if (!/^[\x20-\x7e]{0,20}$/.test(serial)) {
      throw new UserError(`the disk serial number "${serial}" is not 20 characters of ASCII or fewer`);
    }
  }
}

function checkBytes(value: unknown, name: string): void {
  if (!(value instanceof Uint8Array)) throw new UserError(`${name} must be the file's content as a Uint8Array`);
}
