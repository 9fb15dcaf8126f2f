/** Everything around the CPU: the PC board and its chips, buses, PCI, firmware tables and kernel loaders. */
export * from './board/memory-map.ts';
export type { PcBoard, PcOptions, PlacedDevice, VirtioPlace } from './board/pc.ts';
export { createPcBoard } from './board/pc.ts';
export { MmioBus, PortBus } from './bus/index.ts';
export { type Edu, edu } from './extra/edu.ts';
export { i6300esb } from './extra/i6300esb.ts';
export { PcTestdev } from './extra/pc-testdev.ts';
export { pciTestdev } from './extra/pci-testdev.ts';
export * from './firmware/index.ts';
export * from './names.ts';
export * from './pci/index.ts';
export type { FwCfg } from './platform/fw-cfg.ts';
export { type PanicEvent, pvpanic, pvpanicPci } from './platform/pvpanic.ts';
export { Vmcoreinfo } from './platform/vmcoreinfo.ts';
export * from './virtio/index.ts';
