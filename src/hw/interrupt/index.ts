export type { EoiListener, MessageTarget } from './fabric.ts';
export { InterruptFabric } from './fabric.ts';
export { IoApic } from './ioapic.ts';
export { Lapic } from './lapic.ts';
export { fanOut, SharedLine } from './lines.ts';
export { Pic8259Pair } from './pic8259.ts';
