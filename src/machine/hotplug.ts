/** Devices that come and go while the guest runs. */
import { UserError } from '../base/index.ts';
import { virtioBlk, virtioNet, virtioRng } from '../hw/index.ts';
import type { CountedNode } from './block-counters.ts';
import { type DiskOptions, type NetworkOptions, parseMac } from './config.ts';
import type { OwnedDisk } from './owned-disk.ts';
import type { Network } from './parts.ts';
import type { PciPlace } from './pci-options.ts';
import type { PciPlaces, PluggedDevice } from './pci-places.ts';
import type { SwitchedLink } from './switched-link.ts';

/** A device with an id in its place, by which it is unplugged. */
export type PlugRequest =
  | { readonly kind: 'disk'; readonly disk: DiskOptions & { readonly id: string } }
  | { readonly kind: 'network'; readonly network: NetworkOptions & { readonly id: string; readonly mac: string } }
  | { readonly kind: 'rng'; readonly rng: PciPlace & { readonly id: string } };

/** A disk of the machine. */
export interface DiskRow {
  readonly options: DiskOptions;
  readonly owned: OwnedDisk;
  readonly counted: CountedNode;
  /** The disk has another size or medium. */
  onChange: () => void;
  /** Resolves when no request is under way. */
  idle: () => Promise<void>;
}

/** A network card's far end. */
export interface NetworkRow {
  readonly options: NetworkOptions;
  readonly network: Network;
  readonly link: SwitchedLink;
}

export interface HotplugContext {
  readonly places: PciPlaces;
  /** What there is; changes with the devices. */
  readonly disks: DiskRow[];
  readonly networks: NetworkRow[];
  openDisk(options: DiskOptions): Promise<DiskRow>;
  openNetwork(options: NetworkOptions): Promise<NetworkRow>;
  fillRandom(target: Uint8Array<ArrayBuffer>): void;
  /** A device is out. */
  onGone(id: string): void;
}

/** Device numbers on the root bus where devices that are plugged in go, unless told. */
const FIRST_SLOT = 8;

export class Hotplug {
  readonly #context: HotplugContext;
  readonly #devices = new Map<string, PluggedDevice>();
  /** For names of devices, which are never used again. */
  #counter = 0;

  constructor(context: HotplugContext) {
    this.#context = context;
  }

  /** A device that is there from the start: with an id, it can be unplugged. */
  keepDisk(row: DiskRow, device: PluggedDevice): void {
    this.#keep(row.options.id, device, () => this.#dropDisk(row));
  }

  keepNetwork(row: NetworkRow, device: PluggedDevice): void {
    this.#keep(row.options.id, device, () => this.#dropNetwork(row));
  }

  keep({ id }: PciPlace, device: PluggedDevice): void {
    this.#keep(id, device, async () => {});
  }

  async plug(request: PlugRequest): Promise<void> {
    const { places, disks, networks } = this.#context;
    const { id } = placeOf(request);
    if (this.#devices.has(id)) throw new UserError(`Duplicate device ID '${id}'`);
    switch (request.kind) {
      case 'disk': {
        const row = await this.#context.openDisk(request.disk);
        const name = this.#name('disk', disks.length);
        const device = virtioBlk({ name, node: row.counted, serial: row.options.serial ?? name });
        row.onChange = () => device.resized();
        row.idle = () => device.idle();
        try {
          this.keepDisk(row, places.plug(device, request.disk, FIRST_SLOT));
        } catch (error) {
          await row.owned.close();
          throw error;
        }
        disks.push(row);
        return;
      }
      case 'network': {
        const row = await this.#context.openNetwork(request.network);
        const mac = parseMac(request.network.mac);
        const device = virtioNet({ name: this.#name('net', networks.length), link: row.link, mac });
        try {
          this.keepNetwork(row, places.plug(device, request.network, FIRST_SLOT));
        } catch (error) {
          row.network.close();
          throw error;
        }
        networks.push(row);
        return;
      }
      case 'rng': {
        const { fillRandom } = this.#context;
        const device = virtioRng({ name: this.#name('rng', 0), fillRandom });
        this.keep(request.rng, places.plug(device, request.rng, FIRST_SLOT));
        return;
      }
    }
  }

  unplug(id: string): void {
    const device = this.#devices.get(id);
    if (device === undefined) throw new UserError(`Device '${id}' can not be unplugged`);
    device.requestUnplug();
  }

  /** As a machine that was made with the device would call it, unless that name was in use. */
  #name(kind: string, count: number): string {
    this.#counter = Math.max(this.#counter + 1, count);
    return `${kind}${this.#counter}`;
  }

  #keep(id: string | undefined, device: PluggedDevice, drop: () => Promise<void>): void {
    if (id === undefined) return;
    this.#devices.set(id, device);
    device.onGone = () => {
      this.#devices.delete(id);
      void drop().finally(() => this.#context.onGone(id));
    };
  }

  async #dropDisk(row: DiskRow): Promise<void> {
    const { disks } = this.#context;
    await row.idle();
    disks.splice(disks.indexOf(row), 1);
    await row.owned.close().catch(() => {}); // the guest was told of each write that failed
  }

  async #dropNetwork(row: NetworkRow): Promise<void> {
    const { networks } = this.#context;
    networks.splice(networks.indexOf(row), 1);
    row.network.close();
  }
}

function placeOf(request: PlugRequest): { readonly id: string } {
  return request.kind === 'disk' ? request.disk : request.kind === 'network' ? request.network : request.rng;
}
