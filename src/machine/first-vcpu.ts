/** The first of several vCPUs in threads of their own, where one vCPU is asked for. */
import { InternalError } from '../base/index.ts';
import type { Vcpu, VcpuThreads } from '../contract/index.ts';

/** INIT and startup come by the interrupt controllers beside the vCPUs. While paused, as the vCPUs' own methods. */
export function firstOf(vcpus: VcpuThreads): Vcpu {
  return {
    run() {
      throw new InternalError('vCPUs in threads of their own are not run in slices');
    },
    stop() {}, // there are no slices
    reset() {}, // setEntry does it
    get haltedForever() {
      return vcpus.haltedForever;
    },
    isWaitingForStartup: false,
    setEntry: (entry) => vcpus.reset(entry),
    nanosFromTsc: () => Number.POSITIVE_INFINITY,
    describe: () => vcpus.describe(),
    snapshot: () => vcpus.snapshot()[0],
    restore: (record) => vcpus.restore([record, ...vcpus.snapshot().slice(1)]),
    interruptRequest: () => vcpus.interruptRequest(),
    nmi: () => vcpus.nmi(),
    init() {},
    startup() {},
    setA20() {},
    debug: vcpus.debug,
  };
}
