/** Breakpoints and single steps of a debugger (KVM_SET_GUEST_DEBUG), for vCPUs that stand still. */
import type { VcpuDebug } from '../../contract/index.ts';
import { EXIT } from './exits.ts';
import { exitDebug, RUN_DATA, runHead } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

const BREAKPOINT_VECTOR = 3;
const DEBUG_REGISTERS = 4;
/** Fields of KVM_SET_VCPU_EVENTS that need no flag: the exception's. */
const EXCEPTION_ONLY = 0;

export class GuestDebug implements VcpuDebug {
  readonly #vcpus: readonly KvmVcpu[];
  /** Calls `change` while no vCPU is in the guest. */
  readonly #whileStill: (change: () => void) => void;
  #isBreakpoint: VcpuDebug['isBreakpoint'] = () => false;
  #stepping = false;
  #software = false;
  #watched: readonly bigint[] = [];

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

  /**
   * The first of them are watched by the debug registers, which the guest does not have meanwhile: they are met also
   * where the guest wrote over the INT3, and where INT3 does not come out of the guest.
   */
  watch(addresses: readonly bigint[]): void {
    this.#watched = addresses.slice(0, DEBUG_REGISTERS);
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
   * A vCPU came out for its debugger, or because KVM cannot go on.
   * @returns false when it is not for the debugger; the guest gets its own INT3
   */
  stops(vcpu: KvmVcpu): boolean {
    if (vcpu.runView.getUint32(runHead.offsets.exitReason, true) !== EXIT.debug) {
      // A PVM does not execute INT3 in ring 0.
      if (!this.#software || !this.#isBreakpointAt(vcpu.regs().rip)) return false;
    } else {
      const { exception, pc } = exitDebug.read(vcpu.runView, RUN_DATA);
      if (exception === BREAKPOINT_VECTOR && !this.#isBreakpointAt(pc)) {
        const events = vcpu.vcpuEvents();
        const injected = { exceptionInjected: 1, exceptionVector: BREAKPOINT_VECTOR, exceptionHasErrorCode: 0 };
        vcpu.setVcpuEvents({ ...events, ...injected, flags: EXCEPTION_ONLY });
        return false;
      }
    }
    if (this.#stepping) {
      this.#stepping = false;
      this.#set();
    }
    return true;
  }

  #isBreakpointAt(address: bigint): boolean {
    return this.#isBreakpoint(Number(address & 0xffff_ffffn), Number(address >> 32n));
  }

  #apply(): void {
    this.#whileStill(() => this.#set());
  }

  #set(): void {
    // A step begins at the breakpoint where its CPU stands.
    const breakpoints = this.#stepping
      ? []
      : this.#watched.map((address) => ({ address, kind: 'execute', length: 1 }) as const);
    for (const [index, vcpu] of this.#vcpus.entries()) {
      vcpu.setGuestDebug({ software: this.#software, singleStep: this.#stepping && index === 0, breakpoints });
    }
  }
}
