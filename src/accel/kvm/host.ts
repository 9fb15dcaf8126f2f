/** What the KVM accelerator needs of the host: calls of the kernel, injected. */
import type { THREAD_LAYOUT } from './mailbox.ts';

/** Memory that all threads of the process share, page-aligned. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  /** Where the first used byte lies in the buffer; the address below is of that byte. */
  readonly offset: number;
  /** Address in this process. */
  readonly address: bigint;
  readonly sizeBytes: number;
}

/** How guest RAM is backed and treated. */
export interface RamOptions {
  /**
   * `anonymous` (default); `memfd`: memory that another process can be given; `hugepages`: 2-MiB pages that the
   * administrator reserved (memfd with MFD_HUGETLB).
   */
  readonly backing?: 'anonymous' | 'memfd' | 'hugepages';
  /** Advises the kernel to share equal pages between guests (KSM). */
  readonly merge?: boolean;
  /** Advises for or against transparent huge pages; the system's own choice when absent. */
  readonly transparentHugepages?: boolean;
  /** Takes all memory at the start. */
  readonly preallocate?: boolean;
  /** Keeps all memory from being swapped out. */
  readonly lock?: boolean;
}

export interface GuestRam extends SharedMemory {
  /** The file descriptor behind it, or -1. */
  readonly fd: number;
}

/** Every call returns what the kernel returned; negative: an error number. */
export interface KvmHost {
  /** Opens /dev/kvm. */
  open(): number;
  close(fd: number): void;
  /** `argument` is a number below 2^53. */
  ioctl(fd: number, request: number, argument: number): number;
  /** `argument` is read and written in place. */
  ioctlStruct(fd: number, request: number, argument: Uint8Array): number;
  /** Where a typed array's memory is; it must be kept while the kernel may use it. */
  addressOf(bytes: Uint8Array): bigint;
  /** Memory of whole pages, zeros. Throws UserError when there is not enough. */
  allocate(sizeBytes: number): SharedMemory;
  /** Guest RAM, aligned to 2 MiB. Throws UserError that names the option when the host cannot. */
  allocateRam(sizeBytes: number, options: RamOptions): GuestRam;
  /** Puts a mapping of `fd` over part of allocated memory. */
  mapOver(memory: SharedMemory, offset: number, length: number, fd: number, fdOffset: number): number;
  /** Gives back what was mapped over it: zeros again. */
  discard(memory: SharedMemory, offset: number, length: number): number;
  /** Lets the host use these pages of guest RAM for something else; the guest will find zeros there. */
  giveBack(ram: GuestRam, offset: number, length: number): void;
  /** A new event counter, non-blocking. */
  eventfd(): number;
  /** Adds 1 to an event counter. */
  signalEvent(fd: number): void;
  /** Takes an event counter's count; 0 when nothing happened. */
  takeEvent(fd: number): number;
  /** Interrupts a thread that is, or is about to be, in KVM_RUN. */
  kick(threadId: number): void;
  /** Starts a thread for each vCPU. Throws UserError when the host has no room for them. */
  startVcpuThreads(data: VcpuThreadsData): VcpuThreadGroup;
  createWait(): EventWait;
  /** The clock by which the kernel tells times (CLOCK_MONOTONIC). */
  monotonicNanos(): bigint;
  /** True while a PVM module, not hardware, stands behind /dev/kvm. */
  readonly isPvm: boolean;
}

/** What the threads of vCPUs are given. */
export interface VcpuThreadsData {
  readonly layout: typeof THREAD_LAYOUT;
  readonly vcpuFds: readonly number[];
  /** An event counter, rung when the machine's thread sleeps and a vCPU asks for something. */
  readonly doorbellFd: number;
  readonly requests: { readonly run: number; readonly setSignalMask: number };
}

/** They end at the turn `end`, and are out of the guest before the memory of the thread that started them goes. */
export interface VcpuThreadGroup {
  /** Laid out as mailbox.ts says, for all threads. */
  readonly words: Int32Array;
  /** Wakes a vCPU's thread that sleeps until its turn comes. */
  wake(index: number): void;
  /** Returns when all have ended, after their turns are `end`. */
  join(): void;
}

/** Waits for several things at once, in the thread of a machine on KVM. */
export interface EventWait {
  /** Wakes the wait when the counter is signalled, until it is taken. */
  add(fd: number): void;
  remove(fd: number): void;
  /**
   * Blocks this thread until a counter is signalled, the thread's event loop has something to do, or `nanos` have passed.
   * @param onEvent called with each counter that is signalled, which it must take
   * @returns true when the event loop must have its turn
   */
  wait(nanos: number, onEvent: (fd: number) => void): boolean;
  close(): void;
}

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  ENXIO: 6,
  E2BIG: 7,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
} as const;

export function errnoName(errno: number): string {
  return Object.entries(ERRNO).find(([, value]) => value === errno)?.[0] ?? `error ${errno}`;
}
