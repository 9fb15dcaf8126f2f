/** The requests of the KVM API (linux/kvm.h), with the numbers that _IO, _IOR, _IOW and _IOWR make of them. */
import * as s from './structures.ts';

const KVMIO = 0xae00;
const SIZE_SHIFT = 16;
const io = (number: number) => KVMIO | number;
/** The kernel reads `size` bytes. */
const iow = (number: number, size: number) => (0x4000_0000 | (size << SIZE_SHIFT) | KVMIO | number) >>> 0;
/** The kernel writes `size` bytes. */
const ior = (number: number, size: number) => (0x8000_0000 | (size << SIZE_SHIFT) | KVMIO | number) >>> 0;
const iowr = (number: number, size: number) => (0xc000_0000 | (size << SIZE_SHIFT) | KVMIO | number) >>> 0;

/** On /dev/kvm. */
export const SYSTEM = {
  GET_API_VERSION: io(0x00),
  CREATE_VM: io(0x01),
  GET_MSR_INDEX_LIST: iowr(0x02, 4),
  CHECK_EXTENSION: io(0x03),
  GET_VCPU_MMAP_SIZE: io(0x04),
  GET_SUPPORTED_CPUID: iowr(0x05, 8),
} as const;

/** On a VM. */
export const VM = {
  CHECK_EXTENSION: SYSTEM.CHECK_EXTENSION,
  CREATE_VCPU: io(0x41),
  GET_DIRTY_LOG: iow(0x42, s.dirtyLog.size),
  SET_USER_MEMORY_REGION: iow(0x46, s.userspaceMemoryRegion.size),
  SET_TSS_ADDR: io(0x47),
  SET_IDENTITY_MAP_ADDR: iow(0x48, 8),
  CREATE_IRQCHIP: io(0x60),
  IRQ_LINE: iow(0x61, s.irqLevel.size),
  GET_IRQCHIP: iowr(0x62, s.irqchip.size),
  SET_IRQCHIP: ior(0x63, s.irqchip.size),
  REGISTER_COALESCED_MMIO: iow(0x67, s.coalescedZone.size),
  UNREGISTER_COALESCED_MMIO: iow(0x68, s.coalescedZone.size),
  SET_GSI_ROUTING: iow(0x6a, s.listHead.size),
  IRQFD: iow(0x76, s.irqfd.size),
  CREATE_PIT2: iow(0x77, s.pitConfig.size),
  SET_BOOT_CPU_ID: io(0x78),
  IOEVENTFD: iow(0x79, s.ioeventfd.size),
  SET_CLOCK: iow(0x7b, s.clockData.size),
  GET_CLOCK: ior(0x7c, s.clockData.size),
  GET_PIT2: ior(0x9f, s.pitState2.size),
  SET_PIT2: iow(0xa0, s.pitState2.size),
  ENABLE_CAP: iow(0xa3, s.enableCap.size),
  SIGNAL_MSI: iow(0xa5, s.msi.size),
  X86_SET_MSR_FILTER: iow(0xc6, s.msrFilter.size),
  RESET_DIRTY_RINGS: io(0xc7),
} as const;

/** On a vCPU. */
export const VCPU = {
  RUN: io(0x80),
  GET_REGS: ior(0x81, s.regs.size),
  SET_REGS: iow(0x82, s.regs.size),
  GET_SREGS: ior(0x83, s.sregs.size),
  SET_SREGS: iow(0x84, s.sregs.size),
  INTERRUPT: iow(0x86, s.interrupt.size),
  GET_MSRS: iowr(0x88, s.listHead.size),
  SET_MSRS: iow(0x89, s.listHead.size),
  SET_SIGNAL_MASK: iow(0x8b, 4),
  GET_FPU: ior(0x8c, s.fpu.size),
  SET_FPU: iow(0x8d, s.fpu.size),
  GET_LAPIC: ior(0x8e, s.lapicState.size),
  SET_LAPIC: iow(0x8f, s.lapicState.size),
  SET_CPUID2: iow(0x90, s.listHead.size),
  GET_CPUID2: iowr(0x91, s.listHead.size),
  GET_MP_STATE: ior(0x98, s.mpState.size),
  SET_MP_STATE: iow(0x99, s.mpState.size),
  NMI: io(0x9a),
  SET_GUEST_DEBUG: iow(0x9b, s.guestDebug.size),
  GET_VCPU_EVENTS: ior(0x9f, s.vcpuEvents.size),
  SET_VCPU_EVENTS: iow(0xa0, s.vcpuEvents.size),
  GET_DEBUGREGS: ior(0xa1, s.debugregs.size),
  SET_DEBUGREGS: iow(0xa2, s.debugregs.size),
  SET_TSC_KHZ: io(0xa2),
  GET_TSC_KHZ: io(0xa3),
  GET_XSAVE: ior(0xa4, s.xsave.size),
  SET_XSAVE: iow(0xa5, s.xsave.size),
  GET_XCRS: ior(0xa6, s.xcrs.size),
  SET_XCRS: iow(0xa7, s.xcrs.size),
  KVMCLOCK_CTRL: io(0xad),
} as const;

/** Capabilities by their numbers. */
export const CAP = {
  IRQCHIP: 0,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  COALESCED_MMIO: 15,
  IRQ_ROUTING: 25,
  IRQFD: 32,
  IOEVENTFD: 36,
  XCRS: 56,
  TSC_CONTROL: 60,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  SPLIT_IRQCHIP: 121,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
  COALESCED_PIO: 162,
  X86_USER_SPACE_MSR: 188,
  STEAL_TIME: 187,
  DIRTY_LOG_RING: 192,
  EXIT_HYPERCALL: 201,
  DIRTY_LOG_RING_ACQ_REL: 223,
} as const;

export const API_VERSION = 12;
