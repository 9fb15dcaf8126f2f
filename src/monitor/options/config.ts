/** What a command line says, as one typed configuration. */

import type { CharBackendSpec } from '../../contract/index.ts';
import type { MachineActions, RamOptions } from '../../machine/index.ts';
import type { DriveDraft } from './disks.ts';
import type { LogItem } from './log-items.ts';

export interface ChardevConfig {
  readonly id: string;
  readonly backend:
    | CharBackendSpec
    | { readonly kind: 'null' }
    | { readonly kind: 'ringbuf'; readonly sizeBytes: number };
  /** Several may use it; Ctrl-A c changes who. */
  readonly mux: boolean;
}

export interface MonitorConfig {
  readonly chardev: string;
  readonly mode: 'control' | 'readline';
  readonly pretty: boolean;
}

/** A node of the block graph, as -blockdev and -drive make it. */
export interface BlockNodeConfig {
  readonly nodeName: string;
  /** What is nested with dots; `image-name` is a file's name or a URI. */
  readonly options: readonly (readonly [key: string, value: string])[];
}

/** A disk of the guest and where its content is. */
export interface DiskConfig {
  /** The id of its -drive; '' for one that was made with -blockdev. */
  readonly drive: string;
  /** Undefined: the drive is empty. */
  readonly node: string | undefined;
  readonly device: DeviceConfig;
  readonly media: 'disk' | 'cdrom';
  /** Bytes and requests a second. */
  readonly limits: Readonly<Record<string, { readonly perSecond: number; readonly burst?: number }>>;
}

export interface NetdevConfig {
  readonly id: string;
  readonly kind: 'user';
  readonly hostForwards: readonly string[];
  readonly restrict: boolean;
}

/** A folder of the host, and the device by which the guest mounts it. */
export interface ShareConfig {
  readonly folder: string;
  readonly tag: string;
  readonly security: 'none' | 'mapped-xattr' | 'mapped-file';
  readonly readOnly: boolean;
  readonly device: DeviceConfig;
}

/** A device that was placed; its properties as they were given. */
export interface DeviceConfig {
  readonly driver: string;
  /** '' when it has none: it is then among the anonymous ones. */
  readonly id: string;
  readonly properties: Readonly<Record<string, string>>;
  /** Device number on its PCI bus, if it was given. */
  readonly slot?: number;
  /** The bridge or root port that it is behind; on the root bus without it. */
  readonly behind?: string;
  /** Of a virtio device: which interfaces it has. */
  readonly virtio?: 'modern' | 'transitional';
}

/** A file for the guest's firmware interface, from a file or as it is. */
export interface FwCfgConfig {
  readonly name: string;
  readonly content: { readonly file: string } | { readonly text: string };
}

/** What -smbios says. */
export interface SmbiosConfig {
  readonly fields: Readonly<Record<number, Readonly<Record<string, string>>>>;
  readonly oemStrings: readonly string[];
  /** Files with whole structures. */
  readonly files: readonly string[];
}

/** One -acpitable. */
export interface AcpiTableConfig {
  readonly files: readonly string[];
  /** The files hold a table with its header. */
  readonly isWhole: boolean;
  readonly text: {
    readonly sig?: string;
    readonly rev?: number;
    readonly oemId?: string;
    readonly oemTableId?: string;
    readonly oemRev?: number;
    readonly aslCompilerId?: string;
    readonly aslCompilerRev?: number;
  };
}

/** A port of the virtio console. */
export interface ConsolePortConfig {
  readonly device: DeviceConfig;
  readonly chardev: string | undefined;
  readonly name?: string;
  readonly isConsole: boolean;
}

export interface ObjectConfig {
  readonly type: string;
  readonly id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

export interface SmpConfig {
  readonly cpus: number;
  readonly maxCpus: number;
  readonly sockets: number;
  readonly dies: number;
  readonly cores: number;
  readonly threads: number;
}

export interface SystemConfig {
  readonly name: string | undefined;
  readonly uuid: string | undefined;
  readonly machine: string;
  /** In the order in which they are to be tried. */
  readonly accelerators: readonly string[];
  /** Where interrupt controllers are with KVM. */
  readonly kernelIrqchip?: 'on' | 'off' | 'split';
  /** How the host keeps the guest's memory, with KVM: what was said of it. */
  readonly ram?: RamOptions;
  readonly cpu: string;
  readonly smp: SmpConfig;
  readonly memoryBytes: number;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly chardevs: readonly ChardevConfig[];
  readonly monitors: readonly MonitorConfig[];
  /** COM1 to COM4: the chardev of each, or undefined where the port leads nowhere. */
  readonly serial: readonly (string | undefined)[];
  readonly blockNodes: readonly BlockNodeConfig[];
  readonly disks: readonly DiskConfig[];
  /** Every -drive. */
  readonly drives: readonly DriveDraft[];
  readonly netdevs: readonly NetdevConfig[];
  /** Network cards in order, and the netdev of each. */
  readonly nics: readonly { readonly device: DeviceConfig; readonly netdev: string; readonly mac?: string }[];
  readonly shares: readonly ShareConfig[];
  readonly balloon: DeviceConfig | undefined;
  readonly rng: DeviceConfig | undefined;
  /** Bridges, root ports, input devices and others that are nothing but themselves. */
  readonly others: readonly DeviceConfig[];
  /** The device that has the console ports. */
  readonly console: DeviceConfig | undefined;
  readonly consolePorts: readonly ConsolePortConfig[];
  readonly fwCfg: readonly FwCfgConfig[];
  readonly smbios: SmbiosConfig;
  readonly acpiTables: readonly AcpiTableConfig[];
  /** Every device, the disks and cards too, in the order in which they were given. */
  readonly devices: readonly DeviceConfig[];
  readonly objects: readonly ObjectConfig[];
  readonly fdsets: readonly { readonly set: number; readonly fd: number; readonly opaque?: string }[];
  /** The chardev on which gdb may connect. */
  readonly gdb: string | undefined;
  readonly startPaused: boolean;
  /** Where the machine comes from; `defer`: a command will say. */
  readonly incoming?: string;
  /** The snapshot in its disks that the machine begins as. */
  readonly loadVm?: string;
  readonly noReboot: boolean;
  readonly actions: Partial<MachineActions>;
  readonly pidFile?: string;
  readonly daemonize: boolean;
  readonly logFile?: string;
  /** Of -d. */
  readonly logItems: readonly LogItem[];
  /** Who the process becomes once everything is open. */
  readonly runAs?: string;
  /** Messages begin with the time. */
  readonly timestamps: boolean;
  /** Things that were asked for and are done otherwise, one line each. */
  readonly warnings: readonly string[];
}
