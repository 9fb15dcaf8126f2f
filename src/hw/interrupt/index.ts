export type { EoiListener, MessageTarget } from './fabric.ts';
export { InterruptFabric } from './fabric.ts';
export { IO_APIC_STATE, IoApic } from './ioapic.ts';
export { Lapic } from './lapic.ts';
export { LAPIC_STATE, type LapicState } from './lapic-registers.ts';
export { TIMER_MODE, timerDivisor } from './lapic-timer.ts';
export { fanOut, SharedLine } from './lines.ts';
export { PIC_STATE, Pic8259Pair } from './pic8259.ts';
