/** Guests on the real CPU: the KVM API of Linux (Documentation/virt/kvm/api.rst). */

export { createKvm, type KvmAccelerator, type KvmBoard, type KvmOptions, unfitForGuests } from './accelerator.ts';
export { type DirtyPage, DirtyRing, enableDirtyRings } from './dirty-ring.ts';
export { describeExit, EXIT, exitName, failedInstruction } from './exits.ts';
export type { EventWait, GuestRam, KvmHost, RamOptions, SharedMemory } from './host.ts';
export { ERRNO, errnoName } from './host.ts';
export { CAP } from './ioctls.ts';
export * as kvmStructures from './structures.ts';
export { type KvmSystem, KvmUnavailable, openKvm } from './system.ts';
export { KvmThreads } from './threads.ts';
export { type HardwareBreakpoint, KvmVcpu, MP_STATE, type Msrs } from './vcpu.ts';
export { type IoPlace, KvmVm, type MemorySlot, type Route } from './vm.ts';
