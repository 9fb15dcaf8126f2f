/** Debug registers, breakpoints and what #DB does to them (SDM vol. 3, 17.2 and 17.3). */
import { arg, cr4, dr, pendingDebug, vector } from '../state.ts';
import { cr4Bits, type HelperResult, outcome, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import { raise, raiseGp, raiseUd } from './fault.ts';
import { requireSupervisor } from './segment.ts';

const dr6 = dr[6];
const dr7 = dr[7];
export const dr6Bits = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15 } as const;
const generalDetect = 1 << 13;
/** Bits that always read as 1. */
export const dr6Fixed = 0xffff_0ff0 | 0;
export const dr7Fixed = 0x400;
const dr6Writable = 0xe00f;
const dr7Writable = 0xffff_23ff | 0;

/** Kinds of breakpoint in DR7's R/W fields. */
const onExecute = 0;
const onWrite = 1;
const onPort = 2;

function conditionOf(dr7Value: number, i: number): number {
  return (dr7Value >>> (16 + 4 * i)) & 3;
}

function lengthOf(dr7Value: number, i: number): number {
  return [1, 2, 8, 4][(dr7Value >>> (18 + 4 * i)) & 3];
}

function isEnabled(dr7Value: number, i: number): boolean {
  return ((dr7Value >>> (2 * i)) & 3) !== 0;
}

export function hasCodeBreakpoint(cpu: X86State): boolean {
  const value = cpu.get(dr7);
  if ((value & 0xff) === 0) return false;
  return [0, 1, 2, 3].some((i) => isEnabled(value, i) && conditionOf(value, i) === onExecute);
}

/** Whether any breakpoint is armed: the engine then looks at each instruction and access. */
export function hasBreakpoints(cpu: X86State): boolean {
  return (cpu.get(dr7) & 0xff) !== 0;
}

function matches(cpu: X86State, i: number, low: number, high: number, size: number, length: number): boolean {
  const start = cpu.getBig(dr[i]) & ~BigInt(length - 1);
  const first = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return first < start + BigInt(length) && start < first + BigInt(size);
}

/** DR6 bits of instruction breakpoints at a linear address. */
export function codeBreakpoints(cpu: X86State, low: number, high: number): number {
  const value = cpu.get(dr7);
  let bits = 0;
  for (let i = 0; i < 4; i++) {
    if (isEnabled(value, i) && conditionOf(value, i) === onExecute && matches(cpu, i, low, high, 1, 1)) bits |= 1 << i;
  }
  return bits;
}

/** DR6 bits of data breakpoints that an access meets; the trap comes after the instruction. */
export function dataBreakpoints(cpu: X86State, low: number, high: number, size: number, isWrite: boolean): number {
  const value = cpu.get(dr7);
  if ((value & 0xff) === 0) return 0;
  let bits = 0;
  for (let i = 0; i < 4; i++) {
    const condition = conditionOf(value, i);
    const applies = condition === 3 || (condition === onWrite && isWrite);
    if (isEnabled(value, i) && applies && matches(cpu, i, low, high, size, lengthOf(value, i))) bits |= 1 << i;
  }
  return bits;
}

/** DR6 bits of I/O breakpoints (CR4.DE) that a port access meets. */
export function portBreakpoints(cpu: X86State, port: number, size: number): number {
  const value = cpu.get(dr7);
  if ((value & 0xff) === 0 || (cpu.get(cr4) & cr4Bits.DE) === 0) return 0;
  let bits = 0;
  for (let i = 0; i < 4; i++) {
    if (isEnabled(value, i) && conditionOf(value, i) === onPort && matches(cpu, i, port, 0, size, lengthOf(value, i)))
      bits |= 1 << i;
  }
  return bits;
}

/** Called when #DB is delivered: the causes collected in `pendingDebug` go to DR6, and general detect is switched off. */
export function noteDebugException(cpu: X86State): void {
  const causes = cpu.get(pendingDebug);
  cpu.set(pendingDebug, 0);
  if (causes & 0xf) cpu.setLow(dr6, cpu.get(dr6) & ~0xf);
  cpu.setLow(dr6, cpu.get(dr6) | causes);
  cpu.setLow(dr7, cpu.get(dr7) & ~generalDetect);
}

/** Checks an access to debug register `number`; returns the register that is meant. */
function checkAccess(cpu: X86State, number: number): number {
  let meant = number;
  if (number > 7) raiseUd();
  if (number === 4 || number === 5) {
    if (cpu.get(cr4) & cr4Bits.DE) raiseUd();
    meant = number + 2;
  }
  requireSupervisor(cpu);
  if (cpu.get(dr7) & generalDetect) {
    cpu.set(pendingDebug, dr6Bits.BD);
    raise(vector.DB);
  }
  return meant;
}

/** MOV DRn, r: arg0 = n, arg1 = value. */
export function moveToDr(s: SystemContext): HelperResult {
  const { cpu } = s;
  const number = checkAccess(cpu, cpu.get(arg[0]));
  // Translations of watched pages are special.
  const watched = hasBreakpoints(cpu);
  if (number < 4) {
    cpu.copy(dr[number], arg[1]);
    if (watched) s.ports.flushTlb(false);
    return outcome.next;
  }
  if (cpu.high(arg[1]) !== 0) raiseGp();
  const value = cpu.get(arg[1]);
  if (number === 6) cpu.setLow(dr6, (value & dr6Writable) | dr6Fixed);
  else cpu.setLow(dr7, (value & dr7Writable) | dr7Fixed);
  if (watched || hasBreakpoints(cpu)) s.ports.flushTlb(false);
  s.ports.modeChanged();
  return outcome.next;
}

/** MOV r, DRn: arg0 = n; result in arg1. */
export function moveFromDr(s: SystemContext): HelperResult {
  const { cpu } = s;
  cpu.copy(arg[1], dr[checkAccess(cpu, cpu.get(arg[0]))]);
  return outcome.next;
}
