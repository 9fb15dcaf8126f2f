/** Guests on the real CPU: the KVM API of Linux (Documentation/virt/kvm/api.rst). */
export { describeExit, EXIT, exitName, failedInstruction } from './exits.ts';
export type { EventWait, GuestRam, KvmHost, RamOptions, SharedMemory, VcpuThreadHost } from './host.ts';
export { ERRNO, errnoName } from './host.ts';
export { CAP } from './ioctls.ts';
export * as kvmStructures from './structures.ts';
export { type KvmSystem, openKvm } from './system.ts';
export { type HardwareBreakpoint, KvmVcpu, MP_STATE, type Msrs } from './vcpu.ts';
export { type IoPlace, KvmVm, type MemorySlot, type Route } from './vm.ts';
