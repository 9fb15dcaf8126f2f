export { PciBus } from './bus.ts';
export type { ConfigRow } from './config-space.ts';
export type { PciBar, PciCapability, PciFunctionOptions, PciIdentity } from './function.ts';
export { PciFunction } from './function.ts';
export { Msix, type MsixOptions } from './msix.ts';
export { hostBridge, LpcBridge } from './q35.ts';
