/** Far JMP, CALL and RET: code segments, call gates of 16, 32 and 64 bits, tasks (SDM vol. 3, 5.8; vol. 2). */
import { arg, cpl, cs, nextIp, ss, vector } from '../state.ts';
import {
  type HelperResult,
  in64,
  inLongMode,
  inProtected,
  inV86,
  jumpTo,
  privilege,
  RSP,
  type SystemContext,
} from './context.ts';
import { isNull, selectorError } from './descriptor.ts';
import { raise, raiseGp } from './fault.ts';
import { checkReturnTarget, loadReturnStack, readReturnCode } from './iret.ts';
import { dropInnerSegments, loadCode, loadNullStack, loadRealSegment, loadV86Segment, systemType } from './segment.ts';
import { farToTask, farToTaskGate } from './task.ts';
import { openTssStack, openTssStack64 } from './tss.ts';

type Kind = 'jump' | 'call';
type Size = 2 | 4 | 8;

/** arg0 = selector, arg1 = offset, arg2 = operand size. */
export function farJump(s: SystemContext): HelperResult {
  return far(s, 'jump');
}

export function farCall(s: SystemContext): HelperResult {
  return far(s, 'call');
}

function far(s: SystemContext, kind: Kind): HelperResult {
  const { cpu, descriptor: d } = s;
  const selector = cpu.get(arg[0]) & 0xffff;
  const size = cpu.get(arg[2]) as Size;
  const low = cpu.get(arg[1]);
  const high = cpu.high(arg[1]);
  if (!inProtected(cpu)) return farReal(s, kind, selector, low, size as 2 | 4);
  if (isNull(selector)) raiseGp();
  d.read(selector);
  if (d.isCode) return farDirect(s, kind, selector, low, high, size);
  const isLong = inLongMode(cpu);
  if (d.type === systemType.callGate32 || (d.type === systemType.callGate16 && !isLong))
    return throughCallGate(s, kind, selector);
  if (isLong) raiseGp(selectorError(selector));
  if (d.type === systemType.taskGate) return farToTaskGate(s, selector, kind);
  if (d.type === systemType.tss16 || d.type === systemType.tss32) return farToTask(s, selector, kind);
  raiseGp(selectorError(selector));
}

function farReal(s: SystemContext, kind: Kind, selector: number, offset: number, size: 2 | 4): HelperResult {
  const { cpu, stack } = s;
  if (offset >>> 0 > (inV86(cpu) ? 0xffff : cpu.get(cs.limit) >>> 0)) raiseGp();
  if (kind === 'call') {
    stack.openCurrent();
    stack.push(size, cpu.get(cs.selector));
    stack.push(size, cpu.get(nextIp));
    stack.commit();
  }
  if (inV86(cpu)) loadV86Segment(cpu, cs, selector);
  else loadRealSegment(cpu, cs, selector);
  s.ports.modeChanged();
  return jumpTo(cpu, offset, 0);
}

/** Straight to a code segment of the same privilege, or a conforming one. */
function farDirect(
  s: SystemContext,
  kind: Kind,
  selector: number,
  low: number,
  high: number,
  size: Size,
): HelperResult {
  const { cpu, descriptor: d } = s;
  const level = privilege(cpu);
  const error = selectorError(selector);
  if (d.isConforming ? d.dpl > level : (selector & 3) > level || d.dpl !== level) raiseGp(error);
  if (!d.isPresent) raise(vector.NP, error);
  const to64 = inLongMode(cpu) && d.isLong;
  if (to64 && d.isBig) raiseGp(error);
  d.markAccessed();
  checkReturnTarget(s, low, high, to64);
  if (kind === 'call') {
    s.stack.openCurrent();
    pushReturn(s, size);
    s.stack.commit();
  }
  loadCode(s, selector, level);
  s.ports.modeChanged();
  return jumpTo(cpu, low, high);
}

function pushReturn(s: SystemContext, size: Size): void {
  const { cpu, stack } = s;
  stack.push(size, cpu.get(cs.selector));
  stack.push(size, cpu.get(nextIp), cpu.high(nextIp));
}

/** Through the call gate in `s.descriptor`. */
function throughCallGate(s: SystemContext, kind: Kind, gateSelector: number): HelperResult {
  const { cpu, descriptor: d } = s;
  const level = privilege(cpu);
  const gateError = selectorError(gateSelector);
  if (d.dpl < Math.max(level, gateSelector & 3)) raiseGp(gateError);
  if (!d.isPresent) raise(vector.NP, gateError);
  const isLong = inLongMode(cpu);
  const size: Size = isLong ? 8 : d.type === systemType.callGate32 ? 4 : 2;
  if (isLong) d.readUpper(gateSelector);
  const offset = size === 2 ? d.low & 0xffff : (d.low & 0xffff) | (d.high & 0xffff_0000);
  const offsetHigh = d.upper;
  const selector = d.low >>> 16;
  const parameters = isLong ? 0 : d.high & 31;
  if (isNull(selector)) raiseGp();
  d.read(selector);
  const error = selectorError(selector);
  if (!d.isCode || d.dpl > level || (kind === 'jump' && !d.isConforming && d.dpl !== level)) raiseGp(error);
  if (isLong && (!d.isLong || d.isBig)) raiseGp(error);
  if (!d.isPresent) raise(vector.NP, error);
  d.markAccessed();
  checkReturnTarget(s, offset, offsetHigh, isLong);
  const newLevel = d.isConforming ? level : d.dpl;
  if (kind === 'call') pushGateFrame(s, newLevel, size, parameters);
  loadCode(s, selector, newLevel);
  cpu.set(cpl, newLevel);
  s.ports.modeChanged();
  return jumpTo(cpu, offset, offsetHigh);
}

function pushGateFrame(s: SystemContext, newLevel: number, size: Size, parameters: number): void {
  const { cpu, stack, stackDescriptor } = s;
  if (newLevel === privilege(cpu)) {
    stack.openCurrent();
    pushReturn(s, size);
    stack.commit();
    return;
  }
  const copied = readParameters(s, size, parameters);
  const newSs = size === 8 ? newLevel : openTssStack(s, newLevel, 0);
  if (size === 8) openTssStack64(s, newLevel, newLevel, 0);
  stack.push(size, cpu.get(ss.selector));
  stack.push(size, cpu.get(RSP), cpu.high(RSP));
  for (const value of copied) stack.push(size, value);
  pushReturn(s, size);
  if (size === 8) loadNullStack(cpu, newSs, newLevel);
  else stackDescriptor.loadInto(cpu, ss, newSs);
  stack.commit();
}

/** The caller's parameters, deepest first, so that pushing them in order copies the block. */
function readParameters(s: SystemContext, size: Size, count: number): number[] {
  s.stack.openCurrent();
  return Array.from({ length: count }, () => s.stack.pop(size)).reverse();
}

/** RETF: arg0 = bytes to release, arg1 = operand size. */
export function farReturn(s: SystemContext): HelperResult {
  const { cpu, stack } = s;
  const release = cpu.get(arg[0]) & 0xffff;
  const size = cpu.get(arg[1]) as Size;
  stack.openCurrent();
  const low = stack.pop(size);
  const high = stack.valueHigh;
  const selector = stack.pop(size) & 0xffff;
  stack.move(release);
  if (!inProtected(cpu)) return returnReal(s, selector, low);
  const level = privilege(cpu);
  const newLevel = selector & 3;
  readReturnCode(s, selector, level);
  const from64 = in64(cpu);
  const to64 = inLongMode(cpu) && s.descriptor.isLong;
  checkReturnTarget(s, low, high, to64);
  if (newLevel === level) {
    stack.commit();
  } else {
    const spLow = stack.pop(size);
    const spHigh = stack.valueHigh;
    const newSs = stack.pop(size) & 0xffff;
    loadReturnStack(s, newSs, newLevel, to64, size, spLow, spHigh);
    stack.move(release);
    stack.commit();
  }
  loadCode(s, selector, newLevel);
  cpu.set(cpl, newLevel);
  if (newLevel !== level) dropInnerSegments(cpu, newLevel);
  if (newLevel !== level || !from64 || !to64) s.ports.modeChanged();
  return jumpTo(cpu, low, high);
}

function returnReal(s: SystemContext, selector: number, offset: number): HelperResult {
  const { cpu, stack } = s;
  if (offset >>> 0 > (inV86(cpu) ? 0xffff : cpu.get(cs.limit) >>> 0)) raiseGp();
  stack.commit();
  if (inV86(cpu)) loadV86Segment(cpu, cs, selector);
  else loadRealSegment(cpu, cs, selector);
  s.ports.modeChanged();
  return jumpTo(cpu, offset, 0);
}
