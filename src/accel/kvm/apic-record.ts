/** Local APICs in the kernel, read from and written into their vCPUs' state. */
import type { LocalApicState } from '../../contract/index.ts';
import { fromKvmApic, toKvmApic } from './chips.ts';
import type { KvmVcpu } from './vcpu.ts';
import { MSR, type VcpuState } from './vcpu-state.ts';

export function readApic(vcpu: KvmVcpu): LocalApicState {
  const msrs = vcpu.msrs([MSR.tscDeadline, MSR.tsc]);
  const apic = {
    registers: vcpu.lapic(),
    base: vcpu.sregs().apicBase,
    deadline: msrs.get(MSR.tscDeadline) ?? 0n,
  };
  return fromKvmApic(apic, msrs.get(MSR.tsc) ?? 0n, vcpu.tscKhz());
}

/** @param vcpu whose registers have the APIC's number and version */
export function withApic(state: VcpuState, apic: LocalApicState | undefined, vcpu: KvmVcpu): VcpuState {
  if (apic === undefined) return state;
  const { registers, base, deadline } = toKvmApic(apic, vcpu.lapic());
  const msrs = new Map(state.msrs);
  if (msrs.has(MSR.tscDeadline)) msrs.set(MSR.tscDeadline, deadline);
  if (msrs.has(MSR.apicBase)) msrs.set(MSR.apicBase, base);
  const cr8 = BigInt(apic.taskPriority >> 4);
  return { ...state, msrs, lapic: registers, sregs: { ...state.sregs, apicBase: base, cr8 } };
}
