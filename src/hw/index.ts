/** Everything around the CPU: the PC board and its chips, buses, PCI, firmware tables and kernel loaders. */
export * from './board/memory-map.ts';
export type { BridgeKind, PcBoard, PcOptions, PlacedDevice, VirtioPlace } from './board/pc.ts';
export { createPcBoard } from './board/pc.ts';
export { MmioBus, PortBus } from './bus/index.ts';
export * from './firmware/index.ts';
export * from './pci/index.ts';
export type { FwCfg } from './platform/fw-cfg.ts';
export * from './virtio/index.ts';
