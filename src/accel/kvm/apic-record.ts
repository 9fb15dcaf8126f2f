/** A local APIC in the kernel as a record. */
import { array, bytes, list, type StateOf, stateTable, u64 } from '../../base/index.ts';
import type { DeviceRecord } from '../../contract/index.ts';
import type { KvmVcpu } from './vcpu.ts';
import { MSR, type VcpuState } from './vcpu-state.ts';

const APIC_BYTES = 0x400;
const CPUS_MAX = 255;

const APIC = stateTable({
  /** IA32_APIC_BASE, which says how the registers are to be read. */
  base: u64(),
  registers: bytes(APIC_BYTES),
  /** IA32_TSC_DEADLINE */
  deadline: u64(),
  /** Task priority as CR8 has it. */
  cr8: u64(),
});
export type ApicRecord = StateOf<typeof APIC>;
const STATE = stateTable({ apics: list(CPUS_MAX, APIC) });

export function saveApic(vcpu: KvmVcpu): DeviceRecord {
  const { apicBase, cr8 } = vcpu.sregs();
  const deadline = vcpu.msrs([MSR.tscDeadline]).get(MSR.tscDeadline) ?? 0n;
  return APIC.save({ base: apicBase, registers: vcpu.lapic(), deadline, cr8 });
}

/** Throws StateError unless there is one for each of `count` CPUs. */
export function loadApics(record: DeviceRecord, count: number): ApicRecord[] {
  const { apics } = STATE.load(record);
  array(count, APIC).load(apics.map(APIC.save), 'apics');
  return apics;
}

export function withApic(state: VcpuState, apic: ApicRecord | undefined): VcpuState {
  if (apic === undefined) return state;
  const msrs = new Map(state.msrs);
  if (msrs.has(MSR.tscDeadline)) msrs.set(MSR.tscDeadline, apic.deadline);
  if (msrs.has(MSR.apicBase)) msrs.set(MSR.apicBase, apic.base);
  return { ...state, msrs, lapic: apic.registers, sregs: { ...state.sregs, apicBase: apic.base, cr8: apic.cr8 } };
}
