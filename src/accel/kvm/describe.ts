/** A vCPU's registers as text, in the manner of the other accelerator. */
import type { Segment } from './structures.ts';
import { rightsOf, type VcpuState } from './vcpu-state.ts';

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');
const ORDER = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

export function describeState({ regs, sregs }: VcpuState): string {
  const general = ORDER.map((name) => `${name.toUpperCase().padEnd(3)}=${hex(regs[name], 16)}`);
  const segment = (name: string, { selector, base, limit, ...rest }: Segment) =>
    `${name.padEnd(3)}=${hex(selector, 4)} ${hex(base, 16)} ${hex(limit, 8)} ${hex(rightsOf({ selector, base, limit, ...rest }) << 8, 8)}`;
  const table = (name: string, { base, limit }: { base: bigint; limit: number }) =>
    `${name}=     ${hex(base, 16)} ${hex(limit, 8)}`;
  return [
    ...[0, 4, 8, 12].map((at) => general.slice(at, at + 4).join(' ')),
    `RIP=${hex(regs.rip, 16)} RFL=${hex(regs.rflags, 8)} CPL=${sregs.ss.dpl}`,
    ...(['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const).map((name) => segment(name.toUpperCase(), sregs[name])),
    segment('LDT', sregs.ldt),
    segment('TR', sregs.tr),
    table('GDT', sregs.gdt),
    table('IDT', sregs.idt),
    `CR0=${hex(sregs.cr0, 8)} CR2=${hex(sregs.cr2, 16)} CR3=${hex(sregs.cr3, 16)} CR4=${hex(sregs.cr4, 8)}`,
    `EFER=${hex(sregs.efer, 16)}`,
  ].join('\n');
}
