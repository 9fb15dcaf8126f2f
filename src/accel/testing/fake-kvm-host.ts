/** A host whose /dev/kvm answers as it is told to, and that can do nothing else. */
import type { KvmHost } from '../kvm/host.ts';
import { API_VERSION, CAP, SYSTEM } from '../kvm/ioctls.ts';

export interface FakeKvm {
  /** -errno for what /dev/kvm answers when it is opened. */
  readonly open?: number;
  readonly apiVersion?: number;
  /** Capabilities that are not there. */
  readonly without?: readonly number[];
  readonly createVm?: number;
  readonly isPvm?: boolean;
}

export function fakeKvmHost({
  open = 3,
  apiVersion = API_VERSION,
  without = [],
  createVm = 4,
  isPvm,
}: FakeKvm): KvmHost {
  const refused = () => {
    throw new Error('this host only answers /dev/kvm');
  };
  return {
    open: () => open,
    close() {},
    ioctl(_fd, request, argument) {
      if (request === SYSTEM.GET_API_VERSION) return apiVersion;
      if (request === SYSTEM.CHECK_EXTENSION) return without.includes(argument) ? 0 : CAP.MAX_VCPUS;
      if (request === SYSTEM.CREATE_VM) return createVm;
      return 0;
    },
    ioctlStruct: () => 0,
    addressOf: refused,
    allocate: refused,
    allocateRam: refused,
    mapOver: refused,
    discard: refused,
    giveBack: refused,
    eventfd: refused,
    signalEvent: refused,
    takeEvent: refused,
    kick: refused,
    startVcpuThreads: refused,
    createWait: refused,
    monotonicNanos: () => 0n,
    isPvm: isPvm ?? false,
  };
}
