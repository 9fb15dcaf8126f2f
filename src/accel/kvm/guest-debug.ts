/** Breakpoints and single steps of a debugger (KVM_SET_GUEST_DEBUG), for vCPUs that stand still. */
import type { VcpuDebug } from '../../contract/index.ts';
import { exitDebug, RUN_DATA } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

const BREAKPOINT_VECTOR = 3;
/** Fields of KVM_SET_VCPU_EVENTS that need no flag: the exception's. */
const EXCEPTION_ONLY = 0;

export class GuestDebug implements VcpuDebug {
  readonly #vcpus: readonly KvmVcpu[];
  /** Calls `change` while no vCPU is in the guest. */
  readonly #whileStill: (change: () => void) => void;
  #isBreakpoint: VcpuDebug['isBreakpoint'] = () => false;
  #stepping = false;
  #software = false;

  constructor(vcpus: readonly KvmVcpu[], whileStill: (change: () => void) => void) {
    this.#vcpus = vcpus;
    this.#whileStill = whileStill;
  }

  get isBreakpoint(): VcpuDebug['isBreakpoint'] {
    return this.#isBreakpoint;
  }

  /** From here on INT3 comes to us first. */
  set isBreakpoint(isBreakpoint: VcpuDebug['isBreakpoint']) {
    this.#isBreakpoint = isBreakpoint;
    this.#software = true;
    this.#apply();
  }

  /** The others stand still meanwhile. */
  step(): void {
    this.#stepping = true;
    this.#apply();
  }

  /** Only the first CPU runs. */
  get stepping(): boolean {
    return this.#stepping;
  }

  /**
   * A vCPU came out for its debugger.
   * @returns false when it is the guest's own INT3, which it gets
   */
  stops(vcpu: KvmVcpu): boolean {
    const { exception, pc } = exitDebug.read(vcpu.runView, RUN_DATA);
    const isOwn = exception === BREAKPOINT_VECTOR && !this.#isBreakpoint(Number(pc & 0xffff_ffffn), Number(pc >> 32n));
    if (isOwn) {
      const events = vcpu.vcpuEvents();
      const injected = { exceptionInjected: 1, exceptionVector: BREAKPOINT_VECTOR, exceptionHasErrorCode: 0 };
      vcpu.setVcpuEvents({ ...events, ...injected, flags: EXCEPTION_ONLY });
      return false;
    }
    if (this.#stepping) {
      this.#stepping = false;
      this.#set();
    }
    return true;
  }

  #apply(): void {
    this.#whileStill(() => this.#set());
  }

  #set(): void {
    for (const [index, vcpu] of this.#vcpus.entries()) {
      vcpu.setGuestDebug({ software: this.#software, singleStep: this.#stepping && index === 0 });
    }
  }
}
