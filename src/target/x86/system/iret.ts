/** IRET in all modes (SDM vol. 2, IRET). */
import { arg, cpl, cs, ds, eflags, es, flag, fs, gs, nmiBlocked, ss, vector } from '../state.ts';
import {
  type HelperResult,
  in64,
  inLongMode,
  inRealMode,
  inV86,
  iopl,
  isCanonical,
  jumpTo,
  privilege,
  rightsBits,
  type SystemContext,
} from './context.ts';
import { hasCodeBreakpoint } from './debug.ts';
import { isNull, selectorError } from './descriptor.ts';
import { raise, raiseGp } from './fault.ts';
import { poppableFlags, writeFlags } from './rflags.ts';
import {
  checkStackDescriptor,
  dropInnerSegments,
  loadCode,
  loadNullStack,
  loadRealSegment,
  loadV86Segment,
} from './segment.ts';
import { returnFromTask } from './task.ts';

const alwaysPopped = flag.CF | flag.PF | flag.AF | flag.ZF | flag.SF | flag.OF | flag.TF | flag.DF | flag.NT;

/** arg0 = operand size. Unblocks NMIs once it cannot fault any more. */
export function iret(s: SystemContext): HelperResult {
  const { cpu } = s;
  const size = cpu.get(arg[0]) as 2 | 4 | 8;
  if (inRealMode(cpu)) return returnReal(s, size as 2 | 4);
  if (inV86(cpu)) return returnV86(s, size as 2 | 4);
  if (cpu.get(eflags) & flag.NT) {
    if (inLongMode(cpu)) raiseGp();
    const result = returnFromTask(s);
    cpu.set(nmiBlocked, 0);
    return result;
  }
  return returnProtected(s, size);
}

/** RF takes effect only where a code breakpoint is armed; the engine clears it after each instruction there. */
function resumeFlag(s: SystemContext, size: number): number {
  return size !== 2 && hasCodeBreakpoint(s.cpu) ? flag.RF : 0;
}

function returnReal(s: SystemContext, size: 2 | 4): HelperResult {
  const { cpu, stack } = s;
  stack.openCurrent();
  const ip = stack.pop(size);
  const selector = stack.pop(size) & 0xffff;
  const image = stack.pop(size);
  if (ip >>> 0 > cpu.get(cs.limit) >>> 0) raiseGp();
  stack.commit();
  loadRealSegment(cpu, cs, selector);
  const wide = size === 4 ? flag.AC | flag.ID | resumeFlag(s, size) : 0;
  writeFlags(s, image, alwaysPopped | flag.IF | flag.IOPL | wide);
  return finish(s, ip, 0);
}

function returnV86(s: SystemContext, size: 2 | 4): HelperResult {
  const { cpu, stack } = s;
  if (iopl(cpu) < 3) raiseGp();
  stack.openCurrent();
  const ip = stack.pop(size);
  const selector = stack.pop(size) & 0xffff;
  const image = stack.pop(size);
  if (ip >>> 0 > 0xffff) raiseGp();
  stack.commit();
  loadV86Segment(cpu, cs, selector);
  const wide = size === 4 ? flag.AC | flag.ID | resumeFlag(s, size) : 0;
  writeFlags(s, image, alwaysPopped | flag.IF | wide);
  return finish(s, ip, 0);
}

function finish(s: SystemContext, ipLow: number, ipHigh: number): HelperResult {
  s.cpu.set(nmiBlocked, 0);
  s.ports.modeChanged();
  return jumpTo(s.cpu, ipLow, ipHigh);
}

function returnProtected(s: SystemContext, size: 2 | 4 | 8): HelperResult {
  const { cpu, stack } = s;
  const level = privilege(cpu);
  const from64 = in64(cpu);
  stack.openCurrent();
  const ipLow = stack.pop(size);
  const ipHigh = stack.valueHigh;
  const selector = stack.pop(size) & 0xffff;
  const image = stack.pop(size);
  if (size === 4 && image & flag.VM && level === 0 && !inLongMode(cpu)) return returnToV86(s, ipLow, selector, image);
  const newLevel = selector & 3;
  readReturnCode(s, selector, level);
  const to64 = inLongMode(cpu) && s.descriptor.isLong;
  checkReturnTarget(s, ipLow, ipHigh, to64);
  const mask = returnFlags(s, size);
  if (newLevel === level && !from64) {
    stack.commit();
  } else {
    const spLow = stack.pop(size);
    const spHigh = stack.valueHigh;
    const newSs = stack.pop(size) & 0xffff;
    loadReturnStack(s, newSs, newLevel, to64, size, spLow, spHigh);
  }
  loadCode(s, selector, newLevel);
  cpu.set(cpl, newLevel);
  writeFlags(s, image, mask);
  if (newLevel !== level) dropInnerSegments(cpu, newLevel);
  cpu.set(nmiBlocked, 0);
  if (newLevel !== level || !from64 || !to64) s.ports.modeChanged();
  return jumpTo(cpu, ipLow, ipHigh);
}

function returnFlags(s: SystemContext, size: number): number {
  const mask = poppableFlags(s.cpu);
  return size === 2 ? mask & 0xffff : mask | resumeFlag(s, size);
}

/** Reads the code segment to return to into the main descriptor; IRET and far RET share this. */
export function readReturnCode(s: SystemContext, selector: number, level: number): void {
  const d = s.descriptor;
  if (isNull(selector)) raiseGp();
  d.read(selector);
  const newLevel = selector & 3;
  const error = selectorError(selector);
  if (!d.isCode || newLevel < level) raiseGp(error);
  if (d.isConforming ? d.dpl > newLevel : d.dpl !== newLevel) raiseGp(error);
  if (inLongMode(s.cpu) && d.isLong && d.isBig) raiseGp(error);
  if (!d.isPresent) raise(vector.NP, error);
  d.markAccessed();
}

/** The instruction pointer must be canonical in 64-bit code, else within the segment in the main descriptor. */
export function checkReturnTarget(s: SystemContext, ipLow: number, ipHigh: number, to64: boolean): void {
  if (to64 ? !isCanonical(s.cpu, ipHigh) : ipHigh !== 0 || ipLow >>> 0 > s.descriptor.limit >>> 0) raiseGp();
}

/** Loads SS:RSP of an outer (or, for IRETQ, the same) level; all checks come before the first change. */
export function loadReturnStack(
  s: SystemContext,
  selector: number,
  level: number,
  to64: boolean,
  size: 2 | 4 | 8,
  spLow: number,
  spHigh: number,
): void {
  const { cpu, stack, stackDescriptor: d } = s;
  if (isNull(selector)) {
    if (!to64 || level === 3 || (selector & 3) !== level) raiseGp();
    loadNullStack(cpu, selector, level);
  } else {
    d.read(selector);
    checkStackDescriptor(d, selector, level, vector.GP, 0);
    d.markAccessed();
    d.loadInto(cpu, ss, selector);
  }
  stack.width = to64 ? 8 : cpu.get(ss.rights) & rightsBits.D ? 4 : 2;
  stack.low = spLow;
  stack.high = to64 && size === 8 ? spHigh : 0;
  stack.commit();
}

function returnToV86(s: SystemContext, ip: number, codeSelector: number, image: number): HelperResult {
  const { cpu, stack } = s;
  const sp = stack.pop(4);
  const selectors = [ss, es, ds, fs, gs].map(() => stack.pop(4) & 0xffff);
  writeFlags(
    s,
    image,
    alwaysPopped | flag.IF | flag.IOPL | flag.VM | flag.AC | flag.ID | flag.VIF | flag.VIP | resumeFlag(s, 4),
  );
  loadV86Segment(cpu, cs, codeSelector);
  [ss, es, ds, fs, gs].forEach((segment, i) => {
    loadV86Segment(cpu, segment, selectors[i]);
  });
  cpu.set(cpl, 3);
  stack.width = 4;
  stack.low = sp;
  stack.commit();
  return finish(s, ip & 0xffff, 0);
}
