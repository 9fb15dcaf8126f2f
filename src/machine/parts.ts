/** The parts that a machine is assembled from, as the run loop sees them. */
import type {
  BlockNode,
  Clock,
  Device,
  GuestMemory,
  NetLink,
  SharedNode,
  Vcpu,
  VcpuEnvironment,
} from '../contract/index.ts';
import type { Region, VirtioBalloon } from '../hw/index.ts';
import type { VirtualClock } from './clock.ts';
import type { DiskState } from './commands.ts';
import type { DiskOptions, NetworkOptions, ShareOptions } from './config.ts';

/** Who executes guest code: owns RAM and makes vCPUs. */
export interface Accelerator {
  readonly memory: GuestMemory;
  createVcpu(environment: VcpuEnvironment): Vcpu;
}

/** Throws UserError for a CPU model that does not exist. */
export type CreateAccelerator = (options: {
  readonly cpuModel: string;
  readonly ramRanges: readonly Region[];
}) => Promise<Accelerator>;

/** What the host gives to a machine's devices, in the machine's thread. */
export interface MachineBackends {
  /** Throws UserError when there is no such image, or it is not what it should be. */
  openDisk(disk: DiskOptions): Promise<BlockNode>;
  /** @param clock the machine's. Throws UserError when an option is wrong or a port of the host is taken. */
  openNetwork(network: NetworkOptions, clock: Clock): Promise<Network>;
  /** Throws UserError when there is no such folder, or the host cannot share folders. */
  openShare(share: ShareOptions): Promise<SharedNode>;
  /** Random bytes fit for keys. */
  fillRandom(target: Uint8Array<ArrayBuffer>): void;
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
  | { readonly kind: 'debug-exit'; readonly code: number };

/** A machine ready to run. */
export interface AssembledMachine {
  readonly clock: VirtualClock;
  readonly vcpu: Vcpu;
  readonly memory: GuestMemory;
  readonly balloon: VirtioBalloon | undefined;
  /** Every device with state, in the order of restoring. */
  readonly devices: readonly Device[];
  /** Power-up state of everything, and the kernel in RAM again. */
  reset(): void;
  /** A short press: asks the guest to shut down. */
  pressPowerButton(): void;
  disks(): readonly DiskState[];
  /** Plugs in or unplugs the cable of a network card; throws UserError when there is no such card. */
  setLink(network: number, up: boolean): void;
  /** Hands over output that devices still hold. */
  flush(): void;
  /** Takes what the guest asked for since the last call. */
  takeRequest(): GuestRequest | undefined;
  /** Folders of the host are shared with the guest. */
  readonly hasShares: boolean;
  /** From here to `release` nothing but the host's answers to requests under way changes the machine. */
  hold(): void;
  release(): void;
  /** Resolves when no request of a device is under way; in a guest that stands still none is begun. */
  settled(): Promise<void>;
  /** True while the host is at work for a device: its completions come through the event loop. */
  ioPending(): boolean;
  /** Ends the devices' work and closes what they had open. */
  close(): Promise<void>;
}
