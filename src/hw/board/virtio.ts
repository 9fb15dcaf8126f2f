/** Virtio devices on a PCI bus. */
import type { Bus, Device, GuestMemory, IrqLine, MsiSink } from '../../contract/index.ts';
import type { VirtioPciMode } from '../names.ts';
import type { PciFunction } from '../pci/index.ts';
import { VirtioCore, type VirtioDevice, virtioPci } from '../virtio/index.ts';

export interface VirtioPlacement {
  readonly memory: GuestMemory;
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly msi: MsiSink;
  readonly intx: IrqLine;
  readonly mayMaster: () => boolean;
  readonly mode?: VirtioPciMode;
  readonly onGuestError?: (message: string) => void;
}

/** Makes a virtio device a PCI function; `devices` is what has state, in the order of restoring. */
export function virtioFunction(
  device: VirtioDevice,
  placement: VirtioPlacement,
): { pciFunction: PciFunction; devices: Device[] } {
  const core = new VirtioCore({ device, memory: placement.memory, onGuestError: placement.onGuestError });
  const { pciFunction, parts } = virtioPci({ core, ...placement });
  return { pciFunction, devices: [pciFunction, ...parts] };
}
