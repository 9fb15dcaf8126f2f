/** Helpers that belong to no larger part: halting, TLB control, FS and GS bases, random numbers, ENTER and BOUND. */
import { activities, activity, arg, cr4, fs, gpr, gs, tscAux, vector } from '../state.ts';
import {
  cr4Bits,
  type HelperResult,
  in64,
  isCanonical,
  leaveAfter,
  outcome,
  privilege,
  type SystemContext,
} from './context.ts';
import { raise, raiseGp, raiseUd } from './fault.ts';
import { rights } from './ports.ts';
import { requireSupervisor } from './segment.ts';

export function hlt(s: SystemContext): HelperResult {
  requireSupervisor(s.cpu);
  s.cpu.set(activity, activities.halted);
  return leaveAfter(s.cpu);
}

/** No CPU model has MONITOR, MWAIT, system management or performance counters here. */
export function undefinedInstruction(): HelperResult {
  raiseUd();
}

/** No performance counter exists, so every index is wrong. */
export function rdpmc(): HelperResult {
  raiseGp();
}

/** Caches are not modelled. */
export function wbinvd(s: SystemContext): HelperResult {
  requireSupervisor(s.cpu);
  return outcome.next;
}

/** arg0 = linear address; a non-canonical one does nothing. */
export function invlpg(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireSupervisor(cpu);
  if (!in64(cpu) || isCanonical(cpu, cpu.high(arg[0]))) s.ports.flushPage(cpu.get(arg[0]), cpu.high(arg[0]));
  return outcome.next;
}

/** arg0 = type, arg1 = linear address of {PCID, linear address} (SDM vol. 2, INVPCID). */
export function invpcid(s: SystemContext): HelperResult {
  const { cpu, ports } = s;
  requireSupervisor(cpu);
  const type = cpu.get(arg[0]);
  const words = new Int32Array(4);
  ports.readBytes(cpu.get(arg[1]), cpu.high(arg[1]), rights.supervisor, new Uint8Array(words.buffer), 16);
  if (cpu.high(arg[0]) !== 0 || type >>> 0 > 3 || words[0] & ~0xfff || words[1] !== 0) raiseGp();
  if (type < 2 && words[0] !== 0 && (cpu.get(cr4) & cr4Bits.PCIDE) === 0) raiseGp();
  if (type === 0) {
    if (!isCanonical(cpu, words[3])) raiseGp();
    ports.flushPage(words[2], words[3]);
  } else if (type === 1) {
    ports.flushContext(words[0]);
  } else {
    // Type 2 includes global translations; 3 spares them.
    ports.flushTlb(type === 3);
  }
  return outcome.next;
}

function baseOf(s: SystemContext): typeof fs.base {
  const { cpu } = s;
  if (!in64(cpu) || (cpu.get(cr4) & cr4Bits.FSGSBASE) === 0) raiseUd();
  return cpu.get(arg[0]) === 0 ? fs.base : gs.base;
}

/** arg0 = 0 FS, 1 GS; result in arg1. */
export function rdfsbase(s: SystemContext): HelperResult {
  s.cpu.copy(arg[1], baseOf(s));
  return outcome.next;
}

/** arg0 = 0 FS, 1 GS; arg1 = value. */
export function wrfsbase(s: SystemContext): HelperResult {
  const { cpu } = s;
  const base = baseOf(s);
  if (!isCanonical(cpu, cpu.high(arg[1]))) raiseGp();
  cpu.copy(base, arg[1]);
  return outcome.next;
}

/** IA32_TSC_AUX in arg1. */
export function rdpid(s: SystemContext): HelperResult {
  s.cpu.setLow(arg[1], s.cpu.get(tscAux));
  return outcome.next;
}

/** RDRAND and RDSEED: 64 random bits in arg1. */
export function rdrand(s: SystemContext): HelperResult {
  s.cpu.setPair(arg[1], s.ports.random(), s.ports.random());
  return outcome.next;
}

const RBP = gpr[5];

/** ENTER: arg0 = allocation size, arg1 = nesting level, arg2 = operand size (SDM vol. 2, ENTER). */
export function enter(s: SystemContext): HelperResult {
  const { cpu, stack } = s;
  const level = cpu.get(arg[1]) & 31;
  const size = cpu.get(arg[2]) as 2 | 4 | 8;
  stack.openCurrent();
  stack.push(size, cpu.get(RBP), cpu.high(RBP));
  const frameLow = stack.low;
  const frameHigh = stack.high;
  let outerLow = cpu.get(RBP);
  let outerHigh = cpu.high(RBP);
  for (let i = 1; i < level; i++) {
    const topLow = stack.low;
    const topHigh = stack.high;
    stack.low = outerLow;
    stack.high = outerHigh;
    stack.move(-size);
    outerLow = stack.low;
    outerHigh = stack.high;
    stack.peek(size);
    stack.low = topLow;
    stack.high = topHigh;
    stack.push(size, stack.valueLow, stack.valueHigh);
  }
  if (level > 0) stack.push(size, frameLow, frameHigh);
  stack.move(-(cpu.get(arg[0]) & 0xffff));
  // The new top must be writable, though nothing is stored there.
  stack.probe(size);
  if (size === 8) cpu.setPair(RBP, frameLow, frameHigh);
  else if (size === 4) cpu.setLow(RBP, frameLow);
  else cpu.set(RBP, (cpu.get(RBP) & ~0xffff) | (frameLow & 0xffff));
  stack.commit();
  return outcome.next;
}

/** BOUND: arg0 = index (sign-extended), arg1 = linear address of the two bounds, arg2 = operand size. */
export function bound(s: SystemContext): HelperResult {
  const { cpu, ports } = s;
  const by = privilege(cpu) === 3 ? rights.user : rights.supervisor;
  const index = cpu.get(arg[0]);
  const at = cpu.get(arg[1]);
  const size = cpu.get(arg[2]);
  const read = (offset: number): number => {
    const low = (at + offset) | 0;
    return size === 2 ? (ports.read16(low, 0, by) << 16) >> 16 : ports.read32(low, 0, by);
  };
  const [first, last] = [read(0), read(size)];
  if (index < first || index > last) raise(vector.BR);
  return outcome.next;
}
