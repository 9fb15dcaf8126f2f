/** Virtio devices over PCI and MMIO: VIRTIO 1.2. */
export { type BlkOptions, type VirtioBlk, virtioBlk } from './blk/blk.ts';
export { VirtioCore, type VirtioCoreOptions } from './core.ts';
export type { DevicePort, Negotiated, QueueSpec, VirtioDevice } from './device.ts';
export { VIRTIO_MMIO_BYTES, VirtioMmio } from './mmio-transport.ts';
export { type VirtioPci, type VirtioPciOptions, virtioPci } from './pci-transport.ts';
export { type RngOptions, virtioRng } from './rng.ts';
