/** The joints between the rooms: types only, no behaviour. */
export type * from './block.ts';
export type * from './bus.ts';
export type * from './char-backend.ts';
export type * from './chardev.ts';
export type * from './chips.ts';
export type * from './clock.ts';
export type * from './crypto.ts';
export type * from './device.ts';
export type * from './host.ts';
export type * from './irq.ts';
export type * from './memory.ts';
export type * from './net.ts';
export type * from './share.ts';
export type * from './sockets.ts';
export type * from './stream.ts';
export type * from './vcpu.ts';
export type * from './vcpu-threads.ts';
