/** Hardware task switches through TSSs and task gates (SDM vol. 3, 7.3), 32- and 16-bit; long mode has none. */
import {
  cpl,
  cr0,
  cr3,
  cs,
  currentIp,
  ds,
  eflags,
  es,
  flag,
  fs,
  gpr,
  gs,
  ldtr,
  linear,
  nextIp,
  pendingDebug,
  type SegmentFields,
  ss,
  tr,
  vector,
} from '../state.ts';
import {
  cr0Bits,
  type HelperResult,
  inProtected,
  jumpTo,
  privilege,
  rightsBits,
  type SystemContext,
} from './context.ts';
import { writeCr0, writeCr3 } from './control.ts';
import { dr6Bits } from './debug.ts';
import { type Descriptor, isNull, selectorError } from './descriptor.ts';
import { raise, raiseGp } from './fault.ts';
import { rights } from './ports.ts';
import { readFlags, writeFlags } from './rflags.ts';
import { checkStackDescriptor, loadNull, loadV86Segment, systemType } from './segment.ts';

/** How a task is entered. `call` covers interrupts: it nests. */
type Entry = 'jump' | 'call' | 'return';

/** Where things lie in a TSS. */
interface TssLayout {
  readonly size: 2 | 4;
  readonly minLimit: number;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly selectors: number;
  readonly segments: readonly SegmentFields[];
  readonly ldt: number;
}

const tss32: TssLayout = {
  size: 4,
  minLimit: 0x67,
  cr3: 0x1c,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  selectors: 0x48,
  segments: [es, cs, ss, ds, fs, gs],
  ldt: 0x60,
};
const tss16: TssLayout = {
  size: 2,
  minLimit: 0x2b,
  cr3: -1,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  selectors: 0x22,
  segments: [es, cs, ss, ds],
  ldt: 0x2a,
};
const trapFlagOffset = 0x64;

/** CALL or JMP to a TSS selector whose descriptor is in `s.descriptor`. */
export function farToTask(s: SystemContext, selector: number, entry: 'jump' | 'call'): HelperResult {
  if (s.descriptor.dpl < Math.max(privilege(s.cpu), selector & 3)) raiseGp(selectorError(selector));
  return switchTask(s, selector, entry, s.cpu.get(nextIp), vector.GP, 0);
}

/** CALL or JMP through the task gate in `s.descriptor`. */
export function farToTaskGate(s: SystemContext, gateSelector: number, entry: 'jump' | 'call'): HelperResult {
  const { descriptor } = s;
  if (descriptor.dpl < Math.max(privilege(s.cpu), gateSelector & 3)) raiseGp(selectorError(gateSelector));
  if (!descriptor.isPresent) raise(vector.NP, selectorError(gateSelector));
  return readAndSwitch(s, descriptor.low >>> 16, entry, s.cpu.get(nextIp), vector.GP, 0);
}

/** An interrupt or exception through a task gate; its error code goes onto the new task's stack. */
export function enterTaskGate(
  s: SystemContext,
  selector: number,
  error: number | undefined,
  ext: number,
  ip: number,
): HelperResult {
  const result = readAndSwitch(s, selector, 'call', ip, vector.GP, ext);
  if (error === undefined) return result;
  s.cpu.setLow(currentIp, s.cpu.get(linear) - s.cpu.get(cs.base));
  s.stack.openCurrent(ext);
  s.stack.push(s.cpu.get(tr.rights) & rightsBits.code ? 4 : 2, error);
  s.stack.commit();
  return result;
}

/** IRET with NT: back to the task in the back link. */
export function returnFromTask(s: SystemContext): HelperResult {
  const { cpu, ports } = s;
  const link = ports.read16(cpu.get(tr.base), 0, rights.implicit);
  return readAndSwitch(s, link, 'return', cpu.get(nextIp), vector.TS, 0);
}

function readAndSwitch(
  s: SystemContext,
  selector: number,
  entry: Entry,
  ip: number,
  faultVector: number,
  ext: number,
): HelperResult {
  if (isNull(selector) || selector & 4) raise(faultVector, selectorError(selector, ext));
  s.descriptor.read(selector, faultVector, ext);
  return switchTask(s, selector, entry, ip, faultVector, ext);
}

function layoutOf(d: Descriptor, wanted: number): TssLayout | undefined {
  if (d.type === wanted) return tss16;
  return d.type === (wanted | 8) ? tss32 : undefined;
}

function switchTask(
  s: SystemContext,
  selector: number,
  entry: Entry,
  ip: number,
  faultVector: number,
  ext: number,
): HelperResult {
  const { cpu, descriptor: d } = s;
  const layout = layoutOf(d, entry === 'return' ? systemType.tss16Busy : systemType.tss16);
  const error = selectorError(selector, ext);
  if (!layout) raise(faultVector, error);
  if (!d.isPresent) raise(vector.NP, error);
  if (d.limit >>> 0 < layout.minLimit) raise(vector.TS, error);
  const words = readTss(s, d.base, d.limit >>> 0, layout);
  const oldSelector = cpu.get(tr.selector);
  saveTask(s, ip, entry);
  if (entry === 'call') s.ports.write16(d.base, 0, rights.implicit, oldSelector);
  if (entry !== 'call') {
    s.stackDescriptor.read(oldSelector, vector.TS, ext);
    s.stackDescriptor.setBusy(false);
  }
  if (entry !== 'return') d.setBusy(true);
  d.loadInto(cpu, tr, selector);
  return loadTask(s, words, layout, entry);
}

/** What the new task's TSS holds, read before anything changes. */
interface TaskImage {
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: readonly number[];
  readonly selectors: readonly number[];
  readonly ldt: number;
  readonly trap: boolean;
}

function readTss(s: SystemContext, base: number, limit: number, layout: TssLayout): TaskImage {
  const { ports } = s;
  const word = (offset: number, size: 2 | 4): number => {
    const at = (base + offset) | 0;
    return size === 4 ? ports.read32(at, 0, rights.implicit) : ports.read16(at, 0, rights.implicit);
  };
  const { size } = layout;
  return {
    cr3: layout.cr3 < 0 ? 0 : word(layout.cr3, 4),
    ip: word(layout.ip, size),
    flags: word(layout.flags, size),
    registers: Array.from({ length: 8 }, (_, i) => word(layout.registers + i * size, size)),
    selectors: layout.segments.map((_, i) => word(layout.selectors + i * size, 2)),
    ldt: word(layout.ldt, 2),
    trap: size === 4 && limit >= trapFlagOffset && (word(trapFlagOffset, 2) & 1) !== 0,
  };
}

/** Saves the outgoing task; it would go on at `ip`. */
function saveTask(s: SystemContext, ip: number, entry: Entry): void {
  const { cpu, ports } = s;
  const layout = cpu.get(tr.rights) & rightsBits.code ? tss32 : tss16;
  const base = cpu.get(tr.base);
  const { size } = layout;
  ports.probeWrite(base, 0, rights.implicit, layout.minLimit + 1);
  const put = (offset: number, value: number): void => {
    const at = (base + offset) | 0;
    if (size === 4) ports.write32(at, 0, rights.implicit, value);
    else ports.write16(at, 0, rights.implicit, value & 0xffff);
  };
  put(layout.ip, ip);
  put(layout.flags, readFlags(cpu) & ~(entry === 'return' ? flag.NT : 0));
  for (let i = 0; i < 8; i++) put(layout.registers + i * size, cpu.get(gpr[i]));
  layout.segments.forEach((segment, i) => {
    ports.write16((base + layout.selectors + i * size) | 0, 0, rights.implicit, cpu.get(segment.selector));
  });
}

/** Loads the incoming task. From here on faults belong to it: they are raised at its first instruction. */
function loadTask(s: SystemContext, task: TaskImage, layout: TssLayout, entry: Entry): HelperResult {
  const { cpu } = s;
  writeCr0(s, cpu.get(cr0) | cr0Bits.TS);
  if (layout.size === 4 && cpu.get(cr0) & cr0Bits.PG && task.cr3 !== cpu.get(cr3)) writeCr3(s, task.cr3, 0);
  const keeps = layout.size === 2 ? 0xffff_0000 : 0;
  task.registers.forEach((value, i) => {
    cpu.setLow(gpr[i], (cpu.get(gpr[i]) & keeps) | value);
  });
  const image = layout.size === 2 ? task.flags & 0xffff : task.flags;
  writeFlags(s, image | (entry === 'call' ? flag.NT : 0), -1);
  cpu.setLow(currentIp, task.ip);
  for (const segment of [es, cs, ss, ds, fs, gs, ldtr]) loadNull(cpu, segment, 0);
  layout.segments.forEach((segment, i) => {
    cpu.set(segment.selector, task.selectors[i]);
  });
  cpu.set(ldtr.selector, task.ldt);
  cpu.set(cpl, cpu.get(eflags) & flag.VM ? 3 : task.selectors[1] & 3);
  loadTaskLdt(s, task.ldt);
  if (inProtected(cpu)) loadTaskSegments(s, layout, task.selectors);
  else for (const [i, segment] of layout.segments.entries()) loadV86Segment(cpu, segment, task.selectors[i]);
  s.ports.modeChanged();
  if (inProtected(cpu) && task.ip >>> 0 > cpu.get(cs.limit) >>> 0) raiseGp();
  if (task.trap) cpu.set(pendingDebug, cpu.get(pendingDebug) | dr6Bits.BT);
  return jumpTo(cpu, task.ip, 0);
}

function loadTaskLdt(s: SystemContext, selector: number): void {
  const { cpu, descriptor: d } = s;
  if (isNull(selector)) return;
  const error = selectorError(selector);
  if (selector & 4) raise(vector.TS, error);
  d.read(selector, vector.TS);
  if (d.type !== systemType.ldt || !d.isPresent) raise(vector.TS, error);
  d.loadInto(cpu, ldtr, selector);
}

/** CS first, for the CPL; then SS and the data segments, all with #TS for what does not fit. */
function loadTaskSegments(s: SystemContext, layout: TssLayout, selectors: readonly number[]): void {
  const { cpu, descriptor: d } = s;
  const level = privilege(cpu);
  const codeSelector = selectors[1];
  const stackSelector = selectors[2];
  if (isNull(codeSelector)) raise(vector.TS, selectorError(codeSelector));
  d.read(codeSelector, vector.TS);
  if (!d.isCode || (d.isConforming ? d.dpl > level : d.dpl !== level)) raise(vector.TS, selectorError(codeSelector));
  if (!d.isPresent) raise(vector.NP, selectorError(codeSelector));
  d.markAccessed();
  d.loadInto(cpu, cs, codeSelector);
  if (isNull(stackSelector)) raise(vector.TS, selectorError(stackSelector));
  d.read(stackSelector, vector.TS);
  checkStackDescriptor(d, stackSelector, level, vector.TS, 0);
  d.markAccessed();
  d.loadInto(cpu, ss, stackSelector);
  layout.segments.forEach((segment, i) => {
    if (segment !== cs && segment !== ss) loadTaskData(s, segment, selectors[i], level);
  });
}

function loadTaskData(s: SystemContext, segment: SegmentFields, selector: number, level: number): void {
  const { cpu, descriptor: d } = s;
  if (isNull(selector)) return;
  d.read(selector, vector.TS);
  const isAllowed = d.isConforming || Math.max(level, selector & 3) <= d.dpl;
  if (!d.isReadable || !isAllowed) raise(vector.TS, selectorError(selector));
  if (!d.isPresent) raise(vector.NP, selectorError(selector));
  d.markAccessed();
  d.loadInto(cpu, segment, selector);
}
