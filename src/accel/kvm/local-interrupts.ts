/** Interrupts of a CPU whose local APIC is a device of the machine's: KVM takes them one by one (KVM_INTERRUPT). */
import type { ExternalInterrupts, LocalApic } from '../../contract/index.ts';
import { runHead } from './structures.ts';
import type { KvmVcpu } from './vcpu.ts';

const { requestInterruptWindow, readyForInterruptInjection, ifFlag, cr8, apicBase } = runHead.offsets;

export class LocalInterrupts {
  /** HLT was executed: the CPU waits for an interrupt that it lets in, or an NMI. */
  isHalted = false;
  nmiPending = false;
  readonly #apic: LocalApic;
  readonly #vcpu: KvmVcpu;

  constructor(apic: LocalApic, vcpu: KvmVcpu) {
    this.#apic = apic;
    this.#vcpu = vcpu;
  }

  reset(): void {
    this.isHalted = this.nmiPending = false;
    this.#vcpu.runView.setBigUint64(cr8, 0n, true);
    this.#vcpu.runView.setUint8(readyForInterruptInjection, 0);
  }

  /** Before the CPU goes into the guest, with what waits for it; false when it is halted and goes nowhere. */
  enter(): boolean {
    const { runView } = this.#vcpu;
    this.#takeRegisters();
    if (this.nmiPending) {
      this.nmiPending = this.isHalted = false;
      this.#vcpu.nmi();
    }
    const waits = this.#apic.pendingVector() >= 0;
    const letsIn = runView.getUint8(readyForInterruptInjection) !== 0;
    if (this.isHalted && !(waits && runView.getUint8(ifFlag) !== 0)) return false;
    this.isHalted = false;
    if (waits && letsIn) {
      this.#vcpu.interrupt(this.#apic.acknowledge());
      runView.setUint8(readyForInterruptInjection, 0);
    }
    runView.setUint8(requestInterruptWindow, this.#apic.pendingVector() >= 0 ? 1 : 0);
    const { low, high } = this.#apic.readBase();
    runView.setUint32(apicBase, low, true);
    runView.setUint32(apicBase + 4, high, true);
    runView.setBigUint64(cr8, BigInt(this.#apic.readTpr()), true);
    return true;
  }

  /** What the guest did to CR8 and IA32_APIC_BASE, which KVM keeps for itself. */
  #takeRegisters(): void {
    const { runView } = this.#vcpu;
    const priority = runView.getUint8(cr8) & 0xf;
    if (priority !== this.#apic.readTpr()) this.#apic.writeTpr(priority);
    const low = runView.getUint32(apicBase, true);
    if (low !== 0 && low !== this.#apic.readBase().low)
      this.#apic.writeBase(low, runView.getUint32(apicBase + 4, true));
  }
}

/** Interrupts of 8259s outside the kernel for a CPU whose local APIC is in it. */
export class ExternalInjector {
  readonly #external: ExternalInterrupts;
  readonly #vcpu: KvmVcpu;

  constructor(external: ExternalInterrupts, vcpu: KvmVcpu) {
    this.#external = external;
    this.#vcpu = vcpu;
  }

  /** Before the CPU goes into the guest. */
  enter(): void {
    const { runView } = this.#vcpu;
    if (this.#external.pending() && runView.getUint8(readyForInterruptInjection) !== 0) {
      this.#vcpu.interrupt(this.#external.acknowledge());
      runView.setUint8(readyForInterruptInjection, 0);
    }
    runView.setUint8(requestInterruptWindow, this.#external.pending() ? 1 : 0);
  }
}
