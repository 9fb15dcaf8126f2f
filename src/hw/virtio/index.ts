/** Virtio devices over PCI and MMIO: VIRTIO 1.2. */
export { type ShareOptions, type Virtio9p, virtio9p } from './9p/9p.ts';
export {
  BALLOON_STATISTICS,
  type BalloonOptions,
  type BalloonStatistics,
  type HintReceiver,
  type VirtioBalloon,
  virtioBalloon,
} from './balloon.ts';
export { type BlkOptions, type VirtioBlk, virtioBlk } from './blk/blk.ts';
export { type ConsoleOptions, type ConsolePort, type VirtioConsole, virtioConsole } from './console.ts';
export { VirtioCore, type VirtioCoreOptions } from './core.ts';
export type { DevicePort, Negotiated, QueueSpec, VirtioDevice } from './device.ts';
export { INPUT_EVENT, type InputEvent, type InputOptions, type VirtioInput, virtioInput } from './input.ts';
export { inputDevice, TABLET_MAX } from './input-devices.ts';
export { VIRTIO_MMIO_BYTES, VirtioMmio } from './mmio-transport.ts';
export { type NetOptions, type VirtioNet, virtioNet } from './net/net.ts';
export {
  type VirtioPci,
  type VirtioPciOptions,
  virtioPci,
} from './pci-transport.ts';
export { type RngOptions, virtioRng } from './rng.ts';
export { type ScsiOptions, type VirtioScsi, virtioScsi } from './scsi/scsi.ts';
export type { ScsiUnitOptions } from './scsi/unit.ts';
export { openVsockHost, type VsockHost } from './vsock/unix-sockets.ts';
export { CONNECTIONS_MAX, type VirtioVsock, type VsockOptions, virtioVsock } from './vsock/vsock.ts';
