/**
 * Delivery of interrupts and exceptions through the vector table or the IDT
 * (SDM vol. 3, chapter 6; vol. 2, INT n). A delivery changes the CPU's state
 * only after all its memory accesses, so that a fault inside it can be handled.
 */
import {
  activities,
  activity,
  arg,
  cpl,
  cr2,
  cs,
  currentIp,
  ds,
  es,
  faultAddress,
  flag,
  fs,
  gs,
  idtr,
  nextIp,
  nmiBlocked,
  ss,
  vector,
  vectorsWithError,
} from '../state.ts';
import {
  type HelperResult,
  in64,
  inLongMode,
  inRealMode,
  inV86,
  iopl,
  isCanonical,
  jumpTo,
  outcome,
  privilege,
  RSP,
  type SystemContext,
} from './context.ts';
import { noteDebugException } from './debug.ts';
import { isNull, selectorError } from './descriptor.ts';
import { CpuFault, raise, raiseGp } from './fault.ts';
import { rights } from './ports.ts';
import { readFlags, writeFlags } from './rflags.ts';
import { loadCode, loadNull, loadNullStack, loadRealSegment, systemType } from './segment.ts';
import { enterTaskGate } from './task.ts';
import { openTssStack, openTssStack64 } from './tss.ts';

/** Where an event comes from: decides the EXT bit of nested error codes, the gate's privilege check and the flags pushed. */
export const source = {
  /** External interrupt or NMI. */
  external: 0,
  /** Exception of the fault class: RF is set in the pushed flags. */
  fault: 1,
  /** Exception of the trap class. */
  trap: 2,
  /** INT n. */
  software: 3,
  /** INT3 and INTO. */
  softwareException: 4,
  /** INT1 (ICEBP): no privilege check. */
  icebp: 5,
} as const;
export type Source = (typeof source)[keyof typeof source];

/** No error code is pushed. */
const noError = -1;

/** INT n, INT3, INTO, INT1: arg0 = vector, arg1 = 0 INT n, 1 INT3 and INTO, 2 INT1. */
export function interrupt(s: SystemContext): HelperResult {
  const { cpu } = s;
  const from = ([source.software, source.softwareException, source.icebp] as const)[cpu.get(arg[1])];
  if (from === source.software && inV86(cpu) && iopl(cpu) < 3) raiseGp();
  return enter(s, cpu.get(arg[0]) & 0xff, from, noError, cpu.get(nextIp), cpu.high(nextIp));
}

/** An external interrupt; the CPU would go on at `currentIp`. */
export function deliverInterrupt(s: SystemContext, vectorNumber: number): HelperResult {
  s.cpu.set(activity, activities.running);
  return deliver(s, vectorNumber, source.external, 0);
}

export function deliverNmi(s: SystemContext): HelperResult {
  s.cpu.set(activity, activities.running);
  s.cpu.set(nmiBlocked, 1);
  return deliver(s, vector.NMI, source.external, 0);
}

/** An exception of the fault class raised by the instruction at `currentIp`; #PF takes its address from `faultAddress`. */
export function deliverException(s: SystemContext, vectorNumber: number, error: number): HelperResult {
  return deliver(s, vectorNumber, source.fault, error);
}

/** #DB of the trap class: the CPU would go on at `currentIp`. */
export function deliverTrap(s: SystemContext, vectorNumber: number): HelperResult {
  return deliver(s, vectorNumber, source.trap, 0);
}

/** Delivers, and follows faults met on the way to the double fault and to shutdown (SDM vol. 3, 6.15, table 6-5). */
function deliver(s: SystemContext, vectorNumber: number, from: Source, error: number): HelperResult {
  const { cpu } = s;
  let current = vectorNumber;
  let currentFrom = from;
  let currentError = error;
  for (;;) {
    try {
      if (currentFrom !== source.external) {
        if (current === vector.PF) cpu.copy(cr2, faultAddress);
        if (current === vector.DB) noteDebugException(cpu);
      }
      const pushed = currentFrom !== source.external && vectorsWithError.has(current) ? currentError : noError;
      return enter(s, current, currentFrom, pushed, cpu.get(currentIp), cpu.high(currentIp));
    } catch (caught) {
      if (!(caught instanceof CpuFault)) throw caught;
      const next = currentFrom === source.external ? caught.vector : combine(current, caught.vector);
      if (next === shutdownVector) return shutDown(s);
      current = next;
      currentFrom = source.fault;
      currentError = next === vector.DF ? 0 : caught.error;
    }
  }
}

const shutdownVector = -1;

function isContributory(v: number): boolean {
  return v === vector.DE || (v >= vector.TS && v <= vector.GP) || v === 21;
}

/** The vector to deliver when delivering `first` raised `second`. */
function combine(first: number, second: number): number {
  if (first === vector.DF) return shutdownVector;
  const secondSerious = isContributory(second) || second === vector.PF;
  if ((first === vector.PF && secondSerious) || (isContributory(first) && isContributory(second))) return vector.DF;
  return second;
}

function shutDown(s: SystemContext): HelperResult {
  s.cpu.set(activity, activities.shutdown);
  jumpTo(s.cpu, s.cpu.get(currentIp), s.cpu.high(currentIp));
  return outcome.leave;
}

/** One delivery; the handler returns to (ipLow, ipHigh). Throws CpuFault. */
function enter(s: SystemContext, v: number, from: Source, error: number, ipLow: number, ipHigh: number): HelperResult {
  s.stepper.cancel();
  if (inRealMode(s.cpu)) return enterReal(s, v, ipLow);
  if (inLongMode(s.cpu)) return enterLong(s, v, from, error, ipLow, ipHigh);
  return enterProtected(s, v, from, error, ipLow);
}

function enterReal(s: SystemContext, v: number, ip: number): HelperResult {
  const { cpu, ports, stack } = s;
  if (v * 4 + 3 > cpu.get(idtr.limit) >>> 0) raiseGp();
  const target = ports.read32((cpu.get(idtr.base) + v * 4) | 0, 0, rights.implicit);
  stack.openCurrent();
  stack.push(2, readFlags(cpu));
  stack.push(2, cpu.get(cs.selector));
  stack.push(2, ip);
  stack.commit();
  writeFlags(s, 0, flag.IF | flag.TF | flag.AC | flag.RF);
  loadRealSegment(cpu, cs, target >>> 16);
  ports.modeChanged();
  return jumpTo(cpu, target & 0xffff, 0);
}

/** The flags image that is pushed. */
function pushedFlags(s: SystemContext, from: Source): number {
  const image = readFlags(s.cpu);
  return from === source.fault ? image | flag.RF : image & ~flag.RF;
}

function extOf(from: Source): number {
  return from === source.software || from === source.softwareException ? 0 : 1;
}

/** Checks what all IDT gates share; `word1` is the gate's second word. */
function checkGate(s: SystemContext, word1: number, from: Source, gateError: number): void {
  const checksDpl = from === source.software || from === source.softwareException;
  if (checksDpl && ((word1 >>> 13) & 3) < privilege(s.cpu)) raiseGp(gateError);
  if ((word1 & 0x8000) === 0) raise(vector.NP, gateError);
}

/** Reads the handler's code segment into the main descriptor and checks it; returns the handler's CPL. */
function handlerLevel(s: SystemContext, selector: number, ext: number): number {
  const { descriptor: d } = s;
  const level = privilege(s.cpu);
  if (isNull(selector)) raiseGp(ext);
  d.read(selector, vector.GP, ext);
  if (!d.isCode || d.dpl > level) raiseGp(selectorError(selector, ext));
  if (!d.isPresent) raise(vector.NP, selectorError(selector, ext));
  d.markAccessed();
  return d.isConforming ? level : d.dpl;
}

/** 64-bit mode delivery (SDM vol. 3, 6.14): 16-byte gates, IST, an aligned stack, SS:RSP always pushed. */
function enterLong(
  s: SystemContext,
  v: number,
  from: Source,
  error: number,
  ipLow: number,
  ipHigh: number,
): HelperResult {
  const { cpu, ports, stack } = s;
  const ext = extOf(from);
  const gateError = v * 8 + 2 + ext;
  if (v * 16 + 15 > cpu.get(idtr.limit) >>> 0) raiseGp(gateError);
  const gate = (cpu.get(idtr.base) + v * 16) | 0;
  const gateHigh = gate >>> 0 < v * 16 ? cpu.high(idtr.base) + 1 : cpu.high(idtr.base);
  const word0 = ports.read32(gate, gateHigh, rights.implicit);
  const word1 = ports.read32(gate + 4, gateHigh, rights.implicit);
  const word2 = ports.read32(gate + 8, gateHigh, rights.implicit);
  const type = (word1 >>> 8) & 0x1f;
  if (type !== systemType.interruptGate32 && type !== systemType.trapGate32) raiseGp(gateError);
  checkGate(s, word1, from, gateError);
  const selector = word0 >>> 16;
  const level = handlerLevel(s, selector, ext);
  if (!s.descriptor.isLong || s.descriptor.isBig) raiseGp(selectorError(selector, ext));
  if (!isCanonical(cpu, word2)) raiseGp(ext);
  const oldLevel = privilege(cpu);
  const ist = word1 & 7;
  if (ist !== 0) openTssStack64(s, 3 + ist, level, ext);
  else if (level !== oldLevel) openTssStack64(s, level, level, ext);
  else stack.openFlat(cpu.get(RSP), cpu.high(RSP), level, ext);
  stack.low &= ~15;
  stack.push(8, cpu.get(ss.selector));
  stack.push(8, cpu.get(RSP), cpu.high(RSP));
  stack.push(8, pushedFlags(s, from));
  stack.push(8, cpu.get(cs.selector));
  stack.push(8, ipLow, ipHigh);
  if (error !== noError) stack.push(8, error);
  const modeChanges = level !== oldLevel || !in64(cpu);
  if (level !== oldLevel) loadNullStack(cpu, level, level);
  loadCode(s, selector, level);
  cpu.set(cpl, level);
  stack.commit();
  clearFlags(s, type === systemType.interruptGate32);
  if (modeChanges) ports.modeChanged();
  return jumpTo(cpu, (word0 & 0xffff) | (word1 & 0xffff_0000), word2);
}

function clearFlags(s: SystemContext, isInterruptGate: boolean): void {
  writeFlags(s, 0, flag.TF | flag.NT | flag.RF | flag.VM | (isInterruptGate ? flag.IF : 0));
}

/** Protected and virtual-8086 mode delivery (SDM vol. 3, 6.12). */
function enterProtected(s: SystemContext, v: number, from: Source, error: number, ip: number): HelperResult {
  const { cpu, ports } = s;
  const ext = extOf(from);
  const gateError = v * 8 + 2 + ext;
  if (v * 8 + 7 > cpu.get(idtr.limit) >>> 0) raiseGp(gateError);
  const gate = (cpu.get(idtr.base) + v * 8) | 0;
  const word0 = ports.read32(gate, 0, rights.implicit);
  const word1 = ports.read32((gate + 4) | 0, 0, rights.implicit);
  const type = (word1 >>> 8) & 0x1f;
  const isTaskGate = type === systemType.taskGate;
  const is32 = type === systemType.interruptGate32 || type === systemType.trapGate32;
  if (!isTaskGate && !is32 && type !== systemType.interruptGate16 && type !== systemType.trapGate16) raiseGp(gateError);
  checkGate(s, word1, from, gateError);
  const selector = word0 >>> 16;
  if (isTaskGate) return enterTaskGate(s, selector, error === noError ? undefined : error, ext, ip);
  const offset = is32 ? (word0 & 0xffff) | (word1 & 0xffff_0000) : word0 & 0xffff;
  const level = handlerLevel(s, selector, ext);
  if (inV86(cpu) && level !== 0) raiseGp(selectorError(selector, ext));
  if (offset >>> 0 > s.descriptor.limit >>> 0) raiseGp(ext);
  pushFrame(s, level, is32 ? 4 : 2, from, error, ip, ext);
  const wasV86 = inV86(cpu);
  loadCode(s, selector, level);
  cpu.set(cpl, level);
  if (wasV86) for (const segment of [gs, fs, ds, es]) loadNull(cpu, segment, 0);
  clearFlags(s, (type & 1) === 0);
  ports.modeChanged();
  return jumpTo(cpu, offset, 0);
}

/** Pushes the frame on the handler's stack and loads SS:ESP when that is an inner one. */
function pushFrame(
  s: SystemContext,
  level: number,
  size: 2 | 4,
  from: Source,
  error: number,
  ip: number,
  ext: number,
): void {
  const { cpu, stack } = s;
  const switches = level !== privilege(cpu);
  let newSs = 0;
  if (switches) {
    newSs = openTssStack(s, level, ext);
    if (inV86(cpu)) for (const segment of [gs, fs, ds, es]) stack.push(size, cpu.get(segment.selector));
    stack.push(size, cpu.get(ss.selector));
    stack.push(size, cpu.get(RSP));
  } else {
    stack.openCurrent(ext);
  }
  stack.push(size, pushedFlags(s, from));
  stack.push(size, cpu.get(cs.selector));
  stack.push(size, ip);
  if (error !== noError) stack.push(size, error);
  if (switches) s.stackDescriptor.loadInto(cpu, ss, newSs);
  stack.commit();
}
