/** The registers as text, laid out as QEMU's `info registers`. */

import type { Field } from '../../ir/index.ts';
import {
  activities,
  activity,
  cpl,
  cr0,
  cr2,
  cr3,
  cr4,
  cs,
  dr,
  efer,
  fprExponent,
  fprSignificand,
  fpuControl,
  fpuStatus,
  fpuTags,
  fpuTop,
  gdtr,
  gpr,
  idtr,
  ldtr,
  linear,
  mxcsr,
  type SegmentFields,
  segments,
  tr,
  xmm,
  ymmHigh,
} from '../state.ts';
import { in64, inLongMode, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import { readFlags } from './rflags.ts';

const names64 = [
  'RAX',
  'RBX',
  'RCX',
  'RDX',
  'RSI',
  'RDI',
  'RBP',
  'RSP',
  'R8 ',
  'R9 ',
  'R10',
  'R11',
  'R12',
  'R13',
  'R14',
  'R15',
];
/** Encoding numbers of the registers in the order above. */
const order = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

const hex = (value: number | bigint, digits: number): string =>
  (typeof value === 'number' ? value >>> 0 : value).toString(16).padStart(digits, '0');

export function describe(s: SystemContext): string {
  const { cpu } = s;
  const long = inLongMode(cpu);
  const digits = long ? 16 : 8;
  const wide = (f: Field): string => hex(long ? cpu.getBig(f) : cpu.get(f), digits);
  const names = long ? names64 : names64.slice(0, 8).map((name) => `E${name.slice(1)}`);
  const registers = names.map((name, i) => `${name}=${wide(gpr[order[i]])}`);
  const width = in64(cpu) ? 16 : 8;
  const base = cpu.getBig(cs.base);
  const ip = in64(cpu) ? cpu.getBig(linear) : BigInt.asUintN(32, cpu.getBig(linear) - base);
  const halted = cpu.get(activity) === activities.halted ? 1 : 0;
  return [
    ...rows(registers, 4),
    `${long ? 'RIP' : 'EIP'}=${hex(ip, digits)} ${long ? 'RFL' : 'EFL'}=${hex(readFlags(cpu), 8)} [${flagLetters(readFlags(cpu))}] CPL=${cpu.get(cpl)} HLT=${halted}`,
    ...segments.map((segment) => segmentLine(cpu, segment, width)),
    segmentLine(cpu, ldtr, width),
    segmentLine(cpu, tr, width),
    `GDT=     ${wide(gdtr.base)} ${hex(cpu.get(gdtr.limit), 8)}`,
    `IDT=     ${wide(idtr.base)} ${hex(cpu.get(idtr.limit), 8)}`,
    `CR0=${hex(cpu.get(cr0), 8)} CR2=${wide(cr2)} CR3=${wide(cr3)} CR4=${hex(cpu.get(cr4), 8)}`,
    ...rows(
      [0, 1, 2, 3].map((i) => `DR${i}=${wide(dr[i])}`),
      4,
    ),
    `DR6=${wide(dr[6])} DR7=${wide(dr[7])}`,
    `EFER=${hex(cpu.getBig(efer), 16)}`,
    ...describeFpu(cpu, long ? 16 : 8),
  ].join('\n');
}

function rows(items: readonly string[], perRow: number): string[] {
  return Array.from({ length: Math.ceil(items.length / perRow) }, (_, i) =>
    items.slice(i * perRow, (i + 1) * perRow).join(' '),
  );
}

const letters: readonly (readonly [string, number])[] = [
  ['D', 10],
  ['O', 11],
  ['S', 7],
  ['Z', 6],
  ['A', 4],
  ['P', 2],
  ['C', 0],
];

function flagLetters(flags: number): string {
  return letters.map(([letter, bit]) => ((flags >>> bit) & 1 ? letter : '-')).join('');
}

function segmentLine(cpu: X86State, segment: SegmentFields, digits: number): string {
  const name = (segment.name === 'ldtr' ? 'ldt' : segment.name).toUpperCase().padEnd(3);
  return `${name}=${hex(cpu.get(segment.selector), 4)} ${hex(cpu.getBig(segment.base), digits)} ${hex(cpu.get(segment.limit), 8)} ${hex(cpu.get(segment.rights) << 8, 8)}`;
}

function describeFpu(cpu: X86State, vectors: number): string[] {
  const st = fprSignificand.map(
    (f, i) => `FPR${i}=${hex(cpu.getBig(f), 16)} ${hex(cpu.get(fprExponent[i]) & 0xffff, 4)}`,
  );
  const vector = (i: number): string =>
    [ymmHigh[i], xmm[i]].map((f) => [12, 8, 4, 0].map((at) => hex(cpu.word(f.offset + at), 8)).join('')).join('');
  const status = (cpu.get(fpuStatus) & ~0x3800) | (cpu.get(fpuTop) << 11);
  return [
    `FCW=${hex(cpu.get(fpuControl), 4)} FSW=${hex(status, 4)} [ST=${cpu.get(fpuTop)}] FTW=${hex(cpu.get(fpuTags), 2)} MXCSR=${hex(cpu.get(mxcsr), 8)}`,
    ...rows(st, 2),
    ...Array.from({ length: vectors }, (_, i) => `YMM${String(i).padStart(2, '0')}=${vector(i)}`),
  ];
}
