/** The host of the KVM accelerator on Linux: memory, event counters, kicks. */
import { existsSync } from 'node:fs';
import { UserError } from '../../base/index.ts';
import { KICK_SIGNAL, type KvmLibc, kvmLibc } from './kvm-libc.ts';
import { allocateRam, allocateShared, giveBack, PROT_READ_WRITE } from './kvm-memory.ts';
import { startVcpuThreads, type ThreadsData } from './kvm-vcpu-threads.ts';
import { nodeEventWait } from './kvm-wait.ts';

const O_RDWR_CLOEXEC = 0x8_0002;
const EFD_CLOEXEC_NONBLOCK = 0x8_0800;
const MAP_SHARED_FIXED = 0x11;
const MAP_PRIVATE_ANONYMOUS_FIXED = 0x32;
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
    giveBack({ address, fd }: { address: bigint; fd: number }, offset: number, length: number) {
      giveBack(libc, address + BigInt(offset), length, fd >= 0);
    },
    eventfd() {
      const fd = libc.eventfd(0, EFD_CLOEXEC_NONBLOCK);
      if (fd < 0) throw new UserError('KVM: the host has no event counters left (ulimit -n)');
      return fd;
    },
    signalEvent: (fd: number) => void libc.write(fd, ONE, 8),
    takeEvent: (fd: number) => (libc.read(fd, counterBytes, 8) === 8 ? Number(counter[0]) : 0),
    kick: (threadId: number) => void libc.threadKill(process.pid, threadId, KICK_SIGNAL),
    startVcpuThreads: (data: ThreadsData) => startVcpuThreads(libc, data),
    createWait: () => nodeEventWait(libc),
    monotonicNanos: () => process.hrtime.bigint(),
    isPvm: existsSync('/sys/module/kvm_pvm'),
  };
}
