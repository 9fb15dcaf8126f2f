/**
 * Disk images as a library: formats, protocols, filters and jobs over one
 * interface, `BlockNode` of the contract room. Runs without Node.
 */

export * from './bochs/index.ts';
export * from './cloop/index.ts';
export * from './core.ts';
export * from './cow/index.ts';
export * from './dmg/index.ts';
export * from './filters/index.ts';
export * from './graph/index.ts';
export { type HttpNodeOptions, httpNode, type RangeSource } from './http/index.ts';
export * from './jobs/index.ts';
export { createLuks, LUKS_CREATE_OPTIONS, type LuksOptions, luks } from './luks/index.ts';
export { type MemoryNodeOptions, memoryNode } from './memory.ts';
export * from './nbd/index.ts';
export * from './parallels/index.ts';
export * from './qcow/index.ts';
export * from './vdi/index.ts';
export * from './vhd/index.ts';
export * from './vhdx/index.ts';
export * from './vmdk/index.ts';
