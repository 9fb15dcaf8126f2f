/** The parts that a machine is assembled from, as the run loop sees them. */
import type {
  BlockNode,
  Bus,
  Clock,
  Device,
  DeviceRecord,
  Doorbells,
  GuestMemory,
  HostSockets,
  InterruptControllers,
  LocalApic,
  NetLink,
  SharedNode,
  Vcpu,
  VcpuEnvironment,
  VcpuThreads,
} from '../contract/index.ts';
import type { InputEvent, Region, VirtioBalloon } from '../hw/index.ts';
import type { VirtualClock } from './clock.ts';
import type { DiskState, VmSnapshotOrder, VmSnapshotRow } from './commands.ts';
import type {
  AcceleratorChoice,
  AcceleratorName,
  BlockServiceOptions,
  DiskNode,
  DiskOptions,
  NetworkOptions,
  RamOptions,
  ShareOptions,
} from './config.ts';
import type { GatheredWork } from './gathered-work.ts';
import type { PlugRequest } from './hotplug.ts';
import type { SavedCpus } from './machine-record.ts';

/** Who executes guest code: owns RAM and makes vCPUs. */
export type Accelerator = SlicedAccelerator | ThreadedAccelerator;

interface AcceleratorParts {
  /** As `accel` names it. */
  readonly name?: AcceleratorName;
  /** Why it is this one, a line for people. */
  readonly note?: string;
  readonly memory: GuestMemory;
}

/** Its vCPU runs in the machine's thread, by turns with the devices. */
export interface SlicedAccelerator extends AcceleratorParts {
  readonly kind?: 'slices';
  createVcpu(environment: VcpuEnvironment): Vcpu;
}

/** Its vCPUs run in threads of their own, and it brings interrupt controllers. */
export interface ThreadedAccelerator extends AcceleratorParts {
  readonly kind: 'threads';
  readonly memory: GuestMemory & {
    /** The host may use these pages for something else; the guest will find zeros there. */
    giveBack(base: number, length: number): void;
  };
  /**
   * Undefined when the board is to have its own.
   * @param elcr which 8259 inputs are level triggered at power-up, a bit an input
   */
  createInterrupts(elcr: number): InterruptControllers | undefined;
  readonly doorbells: Doorbells;
  createVcpus(board: {
    readonly mmio: Bus;
    readonly ports: Bus;
    /** The board's own, where it is the board's. */
    readonly apic?: LocalApic;
    /** False once a device asked for something that ends or resets the machine. */
    mayContinue(): boolean;
  }): VcpuThreads;
  /** After the vCPUs' `close`. */
  close(): void;
}

/** Throws UserError for a CPU model that does not exist, or when none of the accelerators can be had. */
export type CreateAccelerator = (options: {
  readonly cpuModel: string;
  readonly ramRanges: readonly Region[];
  readonly cpus?: number;
  readonly accel?: readonly AcceleratorChoice[];
  readonly ram?: RamOptions;
  readonly kernelIrqchip?: 'on' | 'off' | 'split';
  /** The machine's thread's clock. */
  readonly monotonicNanos?: () => number;
  /** It goes on from a snapshot: what it does first is no work that lasts. */
  readonly isIncoming?: boolean;
}) => Promise<Accelerator>;

/** A graph of block nodes, and QMP's commands on it. */
export interface BlockService {
  /** Puts a disk on its node; `onChange` is called when the disk has another size or medium. */
  attach(options: {
    readonly drive: string;
    readonly device: string;
    readonly node?: string;
    readonly isRemovable?: boolean;
    readonly limits?: DiskNode['limits'];
    onChange?(): void;
  }): BlockNode;
  execute(name: string, args: unknown): Promise<BlockAnswer>;
  /** Jobs or clients are at work, in the host's event loop. */
  readonly isBusy: boolean;
  /** False from `release`, or while another process has the images, until `take`. */
  readonly isOpen: boolean;
  /** Closes every image after a flush. Nothing may be in flight. Throws UserError while jobs or exports use them. */
  release(): Promise<void>;
  /** Opens them again, all or none; throws UserError when one cannot be. */
  take(): Promise<void>;
  close(): Promise<void>;
  /** Work of the machine's own as a job of that id; throws UserError when there cannot be one. */
  startJob(id: string, type: 'snapshot-save' | 'snapshot-load' | 'snapshot-delete', work: () => Promise<void>): void;
  /** Snapshots of the whole machine: one in every disk, its state in one of them. */
  readonly vm: {
    list(): readonly VmSnapshotRow[];
    save(
      request: { readonly name: string; readonly vmClockNanos: number; readonly replaces: boolean },
      scope: VmSnapshotOrder['scope'],
      state: Iterable<Uint8Array>,
    ): Promise<void>;
    /** The machine's state in pieces, which are used again. */
    read(name: string, scope: VmSnapshotOrder['scope']): AsyncIterable<Uint8Array>;
    apply(name: string, scope: VmSnapshotOrder['scope']): Promise<void>;
    delete(name: string, scope: VmSnapshotOrder['scope']): Promise<void>;
  };
}

/** A result, or what was wrong, with QMP's class of errors. */
export type BlockAnswer =
  | { readonly result: unknown }
  | { readonly failure: string; readonly errorClass: 'GenericError' | 'DeviceNotFound' | 'DeviceNotActive' };

/** What the host gives to a machine's devices, in the machine's thread. */
export interface MachineBackends {
  /** Throws UserError when there is no such image, or it is not what it should be. */
  openDisk(disk: DiskOptions, how?: OpenDiskHow): Promise<BlockNode>;
  /** Throws UserError when a node cannot be opened. @param tell is told of QMP's events */
  openBlock?(
    options: BlockServiceOptions,
    tell: (name: string, data: Readonly<Record<string, unknown>>) => void,
  ): Promise<BlockService>;
  /** @param clock the machine's. Throws UserError when an option is wrong or a port of the host is taken. */
  openNetwork(network: NetworkOptions, clock: Clock): Promise<Network>;
  /** Throws UserError when there is no such folder, or the host cannot share folders. */
  openShare(share: ShareOptions): Promise<SharedNode>;
  /** For the guest's socket device. */
  readonly sockets: HostSockets;
  /** Random bytes fit for keys. */
  fillRandom(target: Uint8Array<ArrayBuffer>): void;
  /** Lets go of what lies in the buffer there; zeros are found instead. Absent: memory that guests give up is kept. */
  discard?(buffer: SharedArrayBuffer, offset: number, length: number, isMapped: boolean): void;
}

export interface OpenDiskHow {
  /** Read-only and without locks, to see what disk it is while another process has it. */
  readonly lookOnly: boolean;
}

/** What a network card is plugged into. */
export interface Network {
  readonly link: NetLink;
  close(): void;
}

/** What the guest did to its machine as a whole. */
export type GuestRequest =
  | { readonly kind: 'power-off' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'debug-exit'; readonly code: number }
  | { readonly kind: 'panicked' }
  | { readonly kind: 'watchdog' };

/** A machine ready to run. */
export interface AssembledMachine {
  readonly clock: VirtualClock;
  /** The first CPU; `run` only where `vcpus` is not. */
  readonly vcpu: Vcpu;
  /** All CPUs, where they run in threads of their own. */
  readonly vcpus?: VcpuThreads;
  readonly accelerator: { readonly name?: AcceleratorName; readonly note?: string };
  /** What it is made of (hardwareOf), to be compared with a snapshot's. */
  readonly hardware: DeviceRecord;
  readonly memory: GuestMemory;
  readonly balloon: VirtioBalloon | undefined;
  /** All CPUs, for snapshots. */
  readonly cpus: SavedCpus;
  /** Every device with state, in the order of restoring. */
  readonly devices: readonly Device[];
  /** Power-up state of everything, and the kernel in RAM again. */
  reset(): void;
  /** A short press: asks the guest to shut down. */
  pressPowerButton(): void;
  disks(): readonly DiskState[];
  /** False from `releaseDisks`, or in a machine whose state is still to come, until `takeDisks`. */
  readonly hasDisks: boolean;
  /** Closes the disks after a flush. Nothing may be in flight. */
  releaseDisks(): Promise<void>;
  /** Opens them again, all or none; throws UserError when one cannot be. */
  takeDisks(): Promise<void>;
  /** The graph that the disks stand on, if they do. */
  readonly block: BlockService | undefined;
  plug(request: PlugRequest): Promise<void>;
  /** Throws UserError when there is no such device, or it cannot be unplugged. */
  unplug(id: string): void;
  /** Plugs in or unplugs the cable of a network card; throws UserError when there is no such card. */
  setLink(network: number, up: boolean): void;
  /** Throws UserError when there is no such device; false when the guest has no room. */
  sendInput(device: number, events: readonly InputEvent[]): boolean;
  /** Hands over output that devices and serial ports still hold. */
  flush(): void;
  /** Takes what the guest asked for since the last call. */
  takeRequest(): GuestRequest | undefined;
  /** Where the guest's kernel wrote how a dump of it is to be read, if it did. */
  vmcoreinfo(): { readonly address: number; readonly length: number } | undefined;
  /** Folders of the host are shared with the guest. */
  readonly hasShares: boolean;
  /** From here to `release` nothing but the host's answers to requests under way changes the machine. */
  hold(): void;
  release(): void;
  /** Resolves when no request of a device is under way; in a guest that stands still none is begun. */
  settled(): Promise<void>;
  /** What devices put off while the guest runs in slices. */
  readonly gathered: GatheredWork;
  /** True while the host is at work for a device: its completions come through the event loop. */
  ioPending(): boolean;
  /** Ends the devices' work and closes what they had open. */
  close(): Promise<void>;
}
