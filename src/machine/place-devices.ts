/** Disks, networks and shared folders of the configuration as devices on the PCI bus. */
import type { SharedNode } from '../contract/index.ts';
import { type ScsiUnitOptions, virtio9p, virtioBlk, virtioNet, virtioScsi } from '../hw/index.ts';
import { DISKS_MAX, type DiskOptions, type MachineConfig, NETWORKS_MAX, parseMac, SHARES_MAX } from './config.ts';
import type { DiskRow, Hotplug, NetworkRow } from './hotplug.ts';
import type { IoWatch } from './io-watch.ts';
import type { PciPlaces } from './pci-places.ts';

/** PCI device numbers on the root bus; the chipset has 0 and 31. */
export const SLOT = {
  rng: 1,
  firstDisk: 2,
  firstNetwork: 2 + DISKS_MAX,
  scsi: 2 + DISKS_MAX + NETWORKS_MAX,
  firstShare: 3 + DISKS_MAX + NETWORKS_MAX,
  balloon: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  console: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  input: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  vsock: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
  extra: 3 + DISKS_MAX + NETWORKS_MAX + SHARES_MAX,
};
const FIRST_MAC = '52:54:00:12:34:56';

/** @returns the SCSI host, which may have requests under way */
export function addDisks(
  disks: readonly DiskRow[],
  places: PciPlaces,
  { hotplug, gather }: { readonly hotplug: Hotplug; readonly gather?: (work: () => void) => void },
): { idle(): Promise<void> }[] {
  const units: ScsiUnitOptions[] = [];
  for (const [index, row] of disks.entries()) {
    const { options, counted: node } = row;
    const name = `disk${index}`;
    const serial = options.serial ?? name;
    if (isOnScsi(options)) units.push({ kind: options.media ?? 'disk', node, serial });
    else {
      const device = virtioBlk({ name, node, serial, queueCount: options.queues, gather });
      row.onChange = () => device.resized();
      row.idle = () => device.idle();
      hotplug.keepDisk(row, places.add(device, options, SLOT.firstDisk));
    }
  }
  if (units.length === 0) return [];
  const device = virtioScsi({ name: 'scsi0', units, gather });
  places.add(device, {}, SLOT.scsi);
  return [device];
}

function isOnScsi({ bus, media }: DiskOptions): boolean {
  return bus === 'scsi' || media === 'cdrom';
}

export function addNetworks(networks: readonly NetworkRow[], places: PciPlaces, hotplug: Hotplug): void {
  for (const [index, row] of networks.entries()) {
    const { mac: given, queues, ...place } = row.options;
    const mac = parseMac(given ?? FIRST_MAC);
    if (given === undefined) mac[5] += index;
    const device = virtioNet({ name: `net${index}`, link: row.link, mac, pairs: queues });
    hotplug.keepNetwork(row, places.add(device, place, SLOT.firstNetwork));
  }
}

/** Returns what closes them. */
export function addShares(
  { shares }: MachineConfig,
  roots: readonly SharedNode[],
  places: PciPlaces,
  io: IoWatch,
): () => void {
  const onWork = (work: Promise<unknown>) => io.watch(work);
  const devices = shares.map(({ tag, readOnly, security, ...place }, index) => {
    const device = virtio9p({ name: `share${index}`, root: roots[index], tag, readOnly, security, onWork });
    places.add(device, place, SLOT.firstShare);
    return device;
  });
  return () => {
    for (const device of devices) device.close();
  };
}
