/** The host of the KVM accelerator on Linux: memory, event counters, kicks. */
import { existsSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { type KvmLibc, kvmLibc } from './kvm-libc.ts';
import { allocateRam, allocateShared, PROT_READ_WRITE } from './kvm-memory.ts';

/** Above the signals that the C library keeps for itself; nobody handles it. */
export const KICK_SIGNAL = 44;

const O_RDWR_CLOEXEC = 0x8_0002;
const EFD_CLOEXEC_NONBLOCK = 0x8_0800;
const MAP_SHARED_FIXED = 0x11;
const MAP_PRIVATE_ANONYMOUS_FIXED = 0x32;
const SIGEV_THREAD_ID = 4;
const CLOCK_MONOTONIC = 1;
const TICK_NANOS = 200_000_000;
const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** Throws UserError where KVM cannot be called at all. */
export function nodeKvmHost(libc: KvmLibc = kvmLibc()) {
  const counter = new BigUint64Array(1);
  const counterBytes = new Uint8Array(counter.buffer);
  return {
    open: () => libc.open('/dev/kvm', O_RDWR_CLOEXEC),
    close: (fd: number) => void libc.close(fd),
    ioctl: (fd: number, request: number, argument: number) => libc.ioctl(fd, request, argument),
    ioctlStruct: (fd: number, request: number, argument: Uint8Array) => libc.ioctlStruct(fd, request, argument),
    addressOf: (bytes: Uint8Array) => libc.addressOf(bytes),
    allocate: (sizeBytes: number) => allocateShared(libc, sizeBytes),
    allocateRam: (sizeBytes: number, options: Parameters<typeof allocateRam>[2]) =>
      allocateRam(libc, sizeBytes, options),
    mapOver({ address }: { address: bigint }, offset: number, length: number, fd: number, fdOffset: number) {
      const at = address + BigInt(offset);
      const mapped = libc.mmap(at, length, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, fdOffset);
      return mapped === at ? 0 : Number(mapped);
    },
    discard({ address }: { address: bigint }, offset: number, length: number) {
      const at = address + BigInt(offset);
      const mapped = libc.mmap(at, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_FIXED, -1, 0);
      return mapped === at ? 0 : Number(mapped);
    },
    eventfd() {
      const fd = libc.eventfd(0, EFD_CLOEXEC_NONBLOCK);
      if (fd < 0) throw new UserError('KVM: the host has no event counters left (ulimit -n)');
      return fd;
    },
    signalEvent: (fd: number) => void libc.write(fd, ONE, 8),
    takeEvent: (fd: number) => (libc.read(fd, counterBytes, 8) === 8 ? Number(counter[0]) : 0),
    kick: (threadId: number) => void libc.threadKill(process.pid, threadId, KICK_SIGNAL),
    isPvm: existsSync('/sys/module/kvm_pvm'),
  };
}

/** The host of one vCPU's thread; call it in that thread. */
export function nodeVcpuThreadHost(libc: KvmLibc = kvmLibc()) {
  const signals = signalSet(KICK_SIGNAL);
  const noWait = new Uint8Array(16);
  const threadId = libc.threadId();
  return {
    ioctl: (fd: number, request: number, argument: number) => libc.ioctl(fd, request, argument),
    ioctlStruct: (fd: number, request: number, argument: Uint8Array) => libc.ioctlStruct(fd, request, argument),
    threadId,
    prepareKicks() {
      const before = new Uint8Array(128);
      libc.setSignalMask(0, signals, before);
      startTicks(libc, threadId);
      const allowed = before.slice(0, 8);
      allowed[(KICK_SIGNAL - 1) >> 3] &= ~(1 << ((KICK_SIGNAL - 1) & 7));
      return allowed;
    },
    takeKick() {
      while (libc.signalTimedWait(signals, 0n, noWait) > 0);
    },
    signalEvent: (fd: number) => void libc.write(fd, ONE, 8),
  };
}

/** A timer that sends this thread the kick signal again and again: a thread that nobody kicks any more can still end. */
function startTicks(libc: KvmLibc, threadId: number): void {
  const event = new DataView(new ArrayBuffer(64)); // struct sigevent
  event.setInt32(8, KICK_SIGNAL, true);
  event.setInt32(12, SIGEV_THREAD_ID, true);
  event.setInt32(16, threadId, true);
  const timer = new BigUint64Array(1);
  const created = libc.timerCreate(CLOCK_MONOTONIC, new Uint8Array(event.buffer), new Uint8Array(timer.buffer));
  if (created < 0) throw new UserError(`KVM: the host gives no timer (error ${-created})`);
  const period = BigInt(TICK_NANOS);
  libc.timerSet(timer[0], 0, new Uint8Array(BigInt64Array.of(0n, period, 0n, period).buffer), 0n);
}

function signalSet(signal: number): Uint8Array {
  const set = new Uint8Array(128);
  set[(signal - 1) >> 3] = 1 << ((signal - 1) & 7);
  return set;
}
