/** /dev/kvm itself: can it be used, and what can it do; VMs come from here. */
import { UserError } from '../../base/index.ts';
import { ERRNO, errnoName, type KvmHost } from './host.ts';
import { API_VERSION, CAP, SYSTEM } from './ioctls.ts';
import { viewOf } from './struct.ts';
import { type CpuidEntry, cpuidEntry, listHead } from './structures.ts';
import { KvmVm } from './vm.ts';

const CPUID_ENTRIES_MAX = 256;

export interface KvmSystem {
  readonly host: KvmHost;
  readonly fd: number;
  readonly runSizeBytes: number;
  /** What a capability is, 0 when it is not there. */
  capability(number: number): number;
  supportedCpuid(): CpuidEntry[];
  /** MSRs that a vCPU's state consists of. */
  msrIndices(): number[];
  /** Throws KvmUnavailable when another hypervisor has the processor, or the host has no room. */
  createVm(): KvmVm;
  close(): void;
}

/** This host has no KVM for us now; another accelerator may do. */
export class KvmUnavailable extends UserError {}

/** Opens /dev/kvm. Throws KvmUnavailable that says why it cannot be used and what mends it. */
export function openKvm(host: KvmHost): KvmSystem {
  const fd = host.open();
  if (fd < 0) throw new KvmUnavailable(`KVM cannot be used: ${openFailure(-fd)}`);
  const version = host.ioctl(fd, SYSTEM.GET_API_VERSION, 0);
  const capability = (number: number) => Math.max(0, host.ioctl(fd, SYSTEM.CHECK_EXTENSION, number));
  const missing = missingOf(version, capability);
  if (missing !== undefined) {
    host.close(fd);
    throw new KvmUnavailable(`KVM cannot be used: ${missing}`);
  }
  return {
    host,
    fd,
    runSizeBytes: host.ioctl(fd, SYSTEM.GET_VCPU_MMAP_SIZE, 0),
    capability,
    supportedCpuid: () => supportedCpuid(host, fd),
    msrIndices: () => msrIndices(host, fd),
    createVm() {
      const vm = host.ioctl(fd, SYSTEM.CREATE_VM, 0);
      if (vm < 0) throw new KvmUnavailable(`KVM cannot make a VM: ${createFailure(-vm)}`);
      return new KvmVm(this, vm);
    },
    close: () => host.close(fd),
  };
}

function openFailure(errno: number): string {
  switch (errno) {
    case ERRNO.ENOENT:
      return 'there is no /dev/kvm: load its module with modprobe kvm_intel or kvm_amd, and turn virtualization on in the firmware';
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return 'no permission for /dev/kvm: join the group kvm with sudo usermod -aG kvm "$USER", then log in again';
    case ERRNO.ENODEV:
    case ERRNO.ENXIO:
      return '/dev/kvm has no module behind it: load it with modprobe kvm_intel or kvm_amd';
    case ERRNO.EBUSY:
      return '/dev/kvm is in use by another hypervisor: end its machines first';
    case ERRNO.EMFILE:
    case ERRNO.ENFILE:
      return 'there are too many open files: raise ulimit -n';
    default:
      return `/dev/kvm does not open (${errnoName(errno)})`;
  }
}

function createFailure(errno: number): string {
  if (errno === ERRNO.EBUSY)
    return 'the processor is in use by another hypervisor (VirtualBox, VMware): end its machines first';
  if (errno === ERRNO.ENOMEM) return 'the host has not enough memory';
  if (errno === ERRNO.EMFILE || errno === ERRNO.ENFILE) return 'there are too many open files: raise ulimit -n';
  return errnoName(errno);
}

const NEEDED = {
  IRQCHIP: CAP.IRQCHIP,
  IRQ_ROUTING: CAP.IRQ_ROUTING,
  SIGNAL_MSI: CAP.SIGNAL_MSI,
  IMMEDIATE_EXIT: CAP.IMMEDIATE_EXIT,
};

function missingOf(version: number, capability: (number: number) => number): string | undefined {
  if (version !== API_VERSION) return `/dev/kvm speaks version ${version} of its interface, not ${API_VERSION}`;
  const missing = Object.entries(NEEDED).filter(([, number]) => capability(number) === 0);
  if (missing.length === 0) return undefined;
  return `the host's kernel is too old: it has no KVM_CAP_${missing.map(([name]) => name).join(', KVM_CAP_')}`;
}

export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const { count } = listHead.decode(bytes);
  const view = viewOf(bytes);
  return Array.from({ length: count }, (_, i) => {
    const { padding: _padding, ...entry } = cpuidEntry.read(view, listHead.size + i * cpuidEntry.size);
    return entry;
  });
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(listHead.size + entries.length * cpuidEntry.size);
  const view = viewOf(bytes);
  listHead.write(view, 0, { count: entries.length });
  for (const [i, entry] of entries.entries()) cpuidEntry.write(view, listHead.size + i * cpuidEntry.size, entry);
  return bytes;
}

function supportedCpuid(host: KvmHost, fd: number): CpuidEntry[] {
  const bytes = new Uint8Array(listHead.size + CPUID_ENTRIES_MAX * cpuidEntry.size);
  listHead.write(viewOf(bytes), 0, { count: CPUID_ENTRIES_MAX });
  const result = host.ioctlStruct(fd, SYSTEM.GET_SUPPORTED_CPUID, bytes);
  if (result < 0) throw new UserError(`KVM does not say what its CPU can do (${errnoName(-result)})`);
  return decodeCpuid(bytes);
}

function msrIndices(host: KvmHost, fd: number): number[] {
  const MOST = 4096;
  const words = new Uint32Array(1 + MOST);
  words[0] = MOST;
  const result = host.ioctlStruct(fd, SYSTEM.GET_MSR_INDEX_LIST, new Uint8Array(words.buffer));
  if (result < 0) throw new UserError(`KVM does not say which MSRs it has (${errnoName(-result)})`);
  return [...words.subarray(1, 1 + words[0])];
}
