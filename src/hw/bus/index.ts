export { MmioBus, PortBus } from './bus.ts';
export type { RegisterSpec } from './registers.ts';
export { registerWindow } from './registers.ts';
export type { ByteRegisters, DwordRegisters } from './widths.ts';
export { byteWide, dwordWide } from './widths.ts';
