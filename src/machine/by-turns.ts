/** Several vCPUs of the machine's thread as one: each gets a slice in its turn. */
import type { DeviceRecord, RunExit, Vcpu, VcpuEnvironment } from '../contract/index.ts';
import type { PcBoard } from '../hw/index.ts';
import type { SlicedAccelerator } from './parts.ts';

export interface VcpusByTurns extends Vcpu {
  /** What the signals of one of them lead to has changed: nobody sleeps before all were asked again. */
  signalled(): void;
}

/** @param select called with the number of the vCPU that runs from now on */
export function byTurns(vcpus: readonly Vcpu[], select: (index: number) => void): VcpusByTurns {
  const [first] = vcpus;
  let next = 0;
  let isSignalled = false;

  /** Runs those that have something to do, one slice in all. */
  const run = (sliceNanos: number): RunExit => {
    isSignalled = false;
    for (let asked = 0; asked < vcpus.length; asked++) {
      const index = next;
      next = (next + 1) % vcpus.length;
      select(index);
      const exit = vcpus[index].run(sliceNanos);
      if (exit.kind !== 'halt') return exit;
    }
    // One that was asked early may have been woken by another since.
    return { kind: isSignalled ? 'slice' : 'halt' };
  };

  return {
    run,
    signalled() {
      isSignalled = true;
    },
    reset() {
      next = 0;
      for (const vcpu of vcpus) vcpu.reset();
    },
    get haltedForever() {
      return vcpus.every((vcpu, index) => vcpu.haltedForever || (index > 0 && vcpu.isWaitingForStartup));
    },
    isWaitingForStartup: false,
    setEntry: (entry) => first.setEntry(entry),
    nanosFromTsc: (low, high) => first.nanosFromTsc(low, high),
    describe: () => vcpus.map((vcpu, index) => `CPU#${index}\n${vcpu.describe()}`).join('\n'),
    snapshot: () => first.snapshot(),
    restore: (record: DeviceRecord) => first.restore(record),
    interruptRequest: () => first.interruptRequest(),
    nmi: () => first.nmi(),
    stop: () => first.stop(),
    init: () => first.init(),
    startup: (vector) => first.startup(vector),
    setA20(enabled) {
      for (const vcpu of vcpus) vcpu.setA20(enabled);
    },
  };
}

/** What an accelerator that runs in slices gives to a machine with these local APICs, one a CPU. */
export function slicedVcpus(
  accelerator: SlicedAccelerator,
  environment: Omit<VcpuEnvironment, 'apic' | 'index' | 'count'>,
  { apics, selectCpu }: Pick<PcBoard, 'apics' | 'selectCpu'>,
): { readonly vcpu: Vcpu; readonly members: readonly Vcpu[]; signalled(): void } {
  const count = apics.length;
  const members = apics.map((apic, index) => accelerator.createVcpu({ ...environment, apic, index, count }));
  if (count === 1) return { vcpu: members[0], members, signalled() {} };
  const vcpu = byTurns(members, selectCpu);
  return { vcpu, members, signalled: vcpu.signalled };
}
