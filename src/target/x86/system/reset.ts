/** RESET, INIT, startup IPI (SDM vol. 3, 9.1 and 8.4), and the states that boot protocols ask for. */
import { UserError } from '../../../base/index.ts';
import type { BootEntry } from '../../../contract/index.ts';
import {
  a20Mask,
  activities,
  activity,
  cpl,
  cr0,
  cr2,
  cr3,
  cr4,
  cs,
  currentIp,
  dr,
  ds,
  efer,
  eflags,
  es,
  faultVector,
  flagsKind,
  flagsResult,
  flagsSource,
  fs,
  gdtr,
  gpr,
  gprNames,
  gs,
  idtr,
  interruptShadow,
  ldtr,
  linear,
  miscEnable,
  mtrrDefault,
  mtrrFixed,
  mxcsr,
  nextIp,
  nmiBlocked,
  pat,
  pendingDebug,
  type SegmentFields,
  segments,
  ss,
  tr,
  xcr0,
} from '../state.ts';
import { cr0Bits, cr4Bits, eferBits, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import { signature } from './cpuid.ts';
import { dr6Fixed, dr7Fixed } from './debug.ts';
import { loadRealSegment } from './segment.ts';
import { initX87, mxcsrInitial } from './xsave.ts';

const initialPat = { low: 0x0007_0406, high: 0x0007_0406 };
const wordSize = 0x1_0000_0000;

/** RESET: power-up state, at FFFF_FFF0. Every field not set here is 0, the engine's own included. */
export function reset(s: SystemContext): void {
  const { cpu } = s;
  cpu.bytes.fill(0);
  cpu.setLow(xcr0, 1);
  cpu.setLow(miscEnable, 1);
  cpu.setPair(pat, initialPat.low, initialPat.high);
  cpu.set(a20Mask, -1);
  initX87(cpu);
  cpu.set(mxcsr, mxcsrInitial);
  cpu.set(cr0, cr0Bits.CD | cr0Bits.NW | cr0Bits.ET);
  initialize(s);
}

/** INIT: as RESET, but x87, SSE, the cache bits of CR0, the TSC and the MSRs stay. */
export function initialize(s: SystemContext): void {
  const { cpu } = s;
  gpr.forEach((f, i) => {
    cpu.setLow(f, i === 2 ? signature(s.model) : 0);
  });
  setFlagsImage(cpu, 2);
  cpu.set(cr0, (cpu.get(cr0) & (cr0Bits.CD | cr0Bits.NW)) | cr0Bits.ET);
  for (const f of [cr2, cr3, efer]) cpu.setLow(f, 0);
  for (const f of [cr4, cpl, interruptShadow, nmiBlocked, pendingDebug]) cpu.set(f, 0);
  for (const f of dr) cpu.setLow(f, 0);
  cpu.setLow(dr[6], dr6Fixed);
  cpu.setLow(dr[7], dr7Fixed);
  for (const segment of segments) setSegment(cpu, segment, 0, 0x93, 0xffff);
  setSegment(cpu, cs, 0xf000, 0x9b, 0xffff);
  cpu.setLow(cs.base, 0xffff_0000 | 0);
  setSegment(cpu, ldtr, 0, 0x82, 0xffff);
  setSegment(cpu, tr, 0, 0x8b, 0xffff);
  for (const table of [gdtr, idtr]) {
    cpu.setLow(table.base, 0);
    cpu.set(table.limit, 0xffff);
  }
  cpu.set(faultVector, -1);
  cpu.set(activity, activities.running);
  start(s, 0xffff_fff0);
}

/** A startup IPI: real mode at `vector << 12`. */
export function startup(s: SystemContext, vector: number): void {
  loadRealSegment(s.cpu, cs, vector << 8);
  s.cpu.set(activity, activities.running);
  start(s, vector << 12);
}

function setFlagsImage(cpu: X86State, other: number): void {
  cpu.set(flagsKind, 0);
  cpu.setLow(flagsResult, 0);
  cpu.setLow(flagsSource, 0);
  cpu.set(eflags, other);
}

function setSegment(cpu: X86State, segment: SegmentFields, selector: number, rights: number, limit: number): void {
  cpu.set(segment.selector, selector);
  cpu.set(segment.rights, rights);
  cpu.set(segment.limit, limit);
  cpu.setLow(segment.base, 0);
}

function setNumber(cpu: X86State, f: typeof linear, value: number): void {
  cpu.setPair(f, (value % wordSize) | 0, Math.floor(value / wordSize) | 0);
}

/** Goes on at linear address `address`, with all translations forgotten. */
function start(s: SystemContext, address: number): void {
  const { cpu } = s;
  setNumber(cpu, linear, address);
  for (const f of [currentIp, nextIp]) setNumber(cpu, f, address - (cpu.get(cs.base) >>> 0));
  s.ports.flushTlb(false);
  s.ports.modeChanged();
}

/** Rights of the flat segments that boot protocols ask for. */
const flatCode64 = 0xa09b;
const flatCode32 = 0xc09b;
const flatData = 0xc093;
const busyTss = 0x8b;

/** Loads the state at a kernel's entry, as firmware would have left it: memory types set up, caches on. */
export function setEntry(s: SystemContext, entry: BootEntry): void {
  const { cpu } = s;
  reset(s);
  enableMemoryTypes(cpu);
  cpu.setLow(gpr[2], 0);
  for (const [name, value] of Object.entries(entry.registers)) setRegister(cpu, name, value);
  const { code, data, task } = entry.selectors ?? { code: 0x10, data: 0x18 };
  if (entry.mode === 'real16') {
    cpu.set(cr0, cr0Bits.ET);
    cpu.setLow(cs.base, entry.rip & 0xffff_0000);
    cpu.set(cs.selector, (entry.rip >>> 4) & 0xf000);
  } else {
    for (const segment of [ds, es, fs, gs, ss]) setSegment(cpu, segment, data, flatData, -1);
    setSegment(cpu, cs, code, entry.mode === 'long64' ? flatCode64 : flatCode32, -1);
    setSegment(cpu, tr, task ?? 0, busyTss, 0x67);
    cpu.set(cr0, cr0Bits.PE | cr0Bits.ET);
  }
  if (entry.gdt) {
    setNumber(cpu, gdtr.base, entry.gdt.base);
    cpu.set(gdtr.limit, entry.gdt.limit);
  }
  if (entry.mode === 'long64') enterLongMode(s, entry.cr3 ?? 0);
  start(s, entry.rip);
}

function enterLongMode(s: SystemContext, tables: number): void {
  const { cpu } = s;
  if (!s.model.has('lm'))
    throw new UserError(
      `CPU model '${s.model.name}' has no 64-bit mode; a 64-bit kernel needs one that has, such as qemu64`,
    );
  setNumber(cpu, cr3, tables);
  cpu.set(cr4, cr4Bits.PAE);
  cpu.setLow(efer, eferBits.LME | eferBits.LMA);
  cpu.set(cr0, cr0Bits.PE | cr0Bits.ET | cr0Bits.NE | cr0Bits.PG);
}

function setRegister(cpu: X86State, name: string, value: number): void {
  const index = gprNames.indexOf(name as (typeof gprNames)[number]);
  if (index < 0)
    throw new UserError(`unknown register '${name}' in the boot entry; general registers are ${gprNames.join(', ')}`);
  setNumber(cpu, gpr[index], value);
}

/** MTRRs as firmware leaves them: write-back by default, the video window uncached; without them Linux also gives up PAT. */
function enableMemoryTypes(cpu: X86State): void {
  const writeBack = 0x0606_0606;
  cpu.setLow(mtrrDefault, 0xc06);
  mtrrFixed.forEach((f, i) => {
    // Register 2 covers A_0000 to B_FFFF.
    const type = i === 2 ? 0 : writeBack;
    cpu.setPair(f, type, type);
  });
}
