/** Segment registers: loads with all their checks, and the instructions that ask about descriptors. */
import {
  arg,
  cr4,
  cs,
  es,
  fs,
  gdtr,
  gs,
  idtr,
  ldtr,
  type SegmentFields,
  segments,
  shadows,
  ss,
  tr,
  vector,
} from '../state.ts';
import {
  castShadow,
  cr4Bits,
  type HelperResult,
  in64,
  inLongMode,
  inProtected,
  inRealMode,
  inV86,
  isCanonical,
  outcome,
  privilege,
  rightsBits,
  type SystemContext,
} from './context.ts';
import type { X86State } from './cpu.ts';
import { type Descriptor, isNull, selectorError } from './descriptor.ts';
import { raise, raiseGp, raiseUd } from './fault.ts';

const csNumber = 1;
const ssNumber = 2;

/** Types of system descriptors. */
export const systemType = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss32: 9,
  tss32Busy: 11,
  callGate32: 12,
  interruptGate32: 14,
  trapGate32: 15,
} as const;

/** MOV Sreg, POP Sreg, LDS…: arg0 = register number, arg1 = selector. */
export function loadSegment(s: SystemContext): HelperResult {
  const { cpu } = s;
  const number = cpu.get(arg[0]);
  const selector = cpu.get(arg[1]) & 0xffff;
  if (number === csNumber || number > 5) raiseUd();
  if (inProtected(cpu)) {
    if (number === ssNumber) loadStackSegment(s, selector);
    else loadDataSegment(s, segments[number], selector);
  } else {
    loadRealSegment(cpu, segments[number], selector);
  }
  if (number === ssNumber) castShadow(cpu, shadows.stackSegment);
  if (!in64(cpu)) s.ports.modeChanged();
  return outcome.next;
}

/** Real mode keeps limit and rights (big real mode); virtual-8086 mode has them from its entry. */
export function loadRealSegment(cpu: X86State, segment: SegmentFields, selector: number): void {
  cpu.set(segment.selector, selector);
  cpu.setLow(segment.base, selector << 4);
}

/** The hidden part that virtual-8086 mode gives each segment. */
export function loadV86Segment(cpu: X86State, segment: SegmentFields, selector: number): void {
  loadRealSegment(cpu, segment, selector);
  cpu.set(segment.limit, 0xffff);
  cpu.set(segment.rights, 0xf3);
}

function loadStackSegment(s: SystemContext, selector: number): void {
  const { cpu, descriptor } = s;
  const level = privilege(cpu);
  if (isNull(selector)) {
    if (!in64(cpu) || level === 3 || (selector & 3) !== level) raiseGp();
    loadNullStack(cpu, selector, level);
    return;
  }
  descriptor.read(selector);
  checkStackDescriptor(descriptor, selector, level, vector.GP, 0);
  descriptor.markAccessed();
  descriptor.loadInto(cpu, ss, selector);
}

/** A stack segment for CPL `level`: writable data with that RPL and DPL, else `faultVector`; present, else #SS. */
export function checkStackDescriptor(
  d: Descriptor,
  selector: number,
  level: number,
  faultVector: number,
  ext: number,
): void {
  if ((selector & 3) !== level || !d.isWritableData || d.dpl !== level)
    raise(faultVector, selectorError(selector, ext));
  if (!d.isPresent) raise(vector.SS, selectorError(selector, ext));
}

/** Null SS, as 64-bit mode allows it below CPL 3. */
export function loadNullStack(cpu: X86State, selector: number, level: number): void {
  cpu.set(ss.selector, selector);
  cpu.set(ss.rights, rightsBits.unusable | (level << 5));
  cpu.set(ss.limit, 0);
  cpu.setLow(ss.base, 0);
}

export function loadDataSegment(s: SystemContext, segment: SegmentFields, selector: number): void {
  const { cpu, descriptor } = s;
  if (isNull(selector)) {
    loadNull(cpu, segment, selector);
    return;
  }
  descriptor.read(selector);
  const isShared = descriptor.isConforming;
  if (!descriptor.isReadable) raiseGp(selectorError(selector));
  if (!isShared && Math.max(selector & 3, privilege(cpu)) > descriptor.dpl) raiseGp(selectorError(selector));
  if (!descriptor.isPresent) raise(vector.NP, selectorError(selector));
  descriptor.markAccessed();
  descriptor.loadInto(cpu, segment, selector);
}

export function loadNull(cpu: X86State, segment: SegmentFields, selector: number): void {
  cpu.set(segment.selector, selector);
  cpu.set(segment.rights, rightsBits.unusable);
  cpu.set(segment.limit, 0);
  cpu.setLow(segment.base, 0);
}

/** On a return to an outer level: data segments that the new CPL may not use become null (SDM vol. 2, RET). */
export function dropInnerSegments(cpu: X86State, level: number): void {
  for (const segment of [es, segments[3], fs, gs]) {
    const r = cpu.get(segment.rights);
    const isShared = (r & (rightsBits.code | rightsBits.conforming)) === (rightsBits.code | rightsBits.conforming);
    if (!(r & rightsBits.unusable) && !isShared && ((r >>> 5) & 3) < level) loadNull(cpu, segment, 0);
  }
}

/** LLDT: arg0 = selector. */
export function lldt(s: SystemContext): HelperResult {
  const { cpu, descriptor } = s;
  const selector = cpu.get(arg[0]) & 0xffff;
  requireSupervisor(cpu);
  if (isNull(selector)) {
    loadNull(cpu, ldtr, selector);
    return outcome.next;
  }
  readFromGdt(s, selector);
  if (descriptor.type !== systemType.ldt) raiseGp(selectorError(selector));
  if (!descriptor.isPresent) raise(vector.NP, selectorError(selector));
  descriptor.loadInto(cpu, ldtr, selector);
  return outcome.next;
}

/** LTR: arg0 = selector. Marks the TSS busy. */
export function ltr(s: SystemContext): HelperResult {
  const { cpu, descriptor } = s;
  const selector = cpu.get(arg[0]) & 0xffff;
  requireSupervisor(cpu);
  if (isNull(selector)) raiseGp();
  readFromGdt(s, selector);
  const { type } = descriptor;
  if (type !== systemType.tss32 && !(type === systemType.tss16 && !inLongMode(cpu))) raiseGp(selectorError(selector));
  if (!descriptor.isPresent) raise(vector.NP, selectorError(selector));
  descriptor.setBusy(true);
  descriptor.loadInto(cpu, tr, selector);
  return outcome.next;
}

/** A system descriptor for LDTR or TR: in the GDT, 16 bytes in long mode, with a canonical base. */
function readFromGdt(s: SystemContext, selector: number): void {
  const { cpu, descriptor } = s;
  if (selector & 4) raiseGp(selectorError(selector));
  descriptor.read(selector);
  if (!inLongMode(cpu)) return;
  descriptor.readUpper(selector);
  if (!isCanonical(cpu, descriptor.upper)) raiseGp(selectorError(selector));
}

export function sldt(s: SystemContext): HelperResult {
  return storeSelector(s, ldtr);
}

export function str(s: SystemContext): HelperResult {
  return storeSelector(s, tr);
}

function storeSelector(s: SystemContext, segment: SegmentFields): HelperResult {
  requireUmip(s.cpu);
  s.cpu.setLow(arg[1], s.cpu.get(segment.selector) & 0xffff);
  return outcome.next;
}

/** SGDT and SIDT: the check alone. */
export function checkUmip(s: SystemContext): HelperResult {
  requireUmip(s.cpu);
  return outcome.next;
}

export function requireUmip(cpu: X86State): void {
  if ((cpu.get(cr4) & cr4Bits.UMIP) !== 0 && privilege(cpu) !== 0) raiseGp();
}

export function requireSupervisor(cpu: X86State): void {
  if (privilege(cpu) !== 0) raiseGp();
}

/** LGDT: arg0 = limit, arg1 = base (cut by the caller to the operand size). */
export function lgdt(s: SystemContext): HelperResult {
  return loadTable(s, gdtr);
}

export function lidt(s: SystemContext): HelperResult {
  return loadTable(s, idtr);
}

function loadTable(s: SystemContext, table: typeof gdtr): HelperResult {
  const { cpu } = s;
  requireSupervisor(cpu);
  if (in64(cpu) && !isCanonical(cpu, cpu.high(arg[1]))) raiseGp();
  cpu.set(table.limit, cpu.get(arg[0]) & 0xffff);
  cpu.copy(table.base, arg[1]);
  return outcome.next;
}

/** Reads the descriptor of arg0 for LAR, LSL, VERR and VERW; false when there is none that CPL and RPL may see. */
function inspect(s: SystemContext): boolean {
  const { cpu, descriptor } = s;
  if (inRealMode(cpu) || inV86(cpu)) raiseUd();
  const selector = cpu.get(arg[0]) & 0xffff;
  cpu.setLow(arg[2], 0);
  if (isNull(selector) || !descriptor.tryRead(selector)) return false;
  return descriptor.isConforming || Math.max(privilege(cpu), selector & 3) <= descriptor.dpl;
}

/** System types that LAR and LSL accept (SDM vol. 2, LAR and LSL), by bit number. */
const larTypes = 0b1_1010_0011_1110;
const larTypesLong = 0b1_1010_0000_0100;
const lslTypes = 0b1010_0000_1110;
const lslTypesLong = 0b1010_0000_0100;

function acceptsType(s: SystemContext, legacyTypes: number, longTypes: number): boolean {
  const { descriptor } = s;
  if (descriptor.type & 0x10) return true;
  if ((((inLongMode(s.cpu) ? longTypes : legacyTypes) >>> descriptor.type) & 1) === 0) return false;
  return !inLongMode(s.cpu) || descriptor.tryReadUpper(s.cpu.get(arg[0]) & 0xffff);
}

/** LAR: arg1 = access rights, arg2 = 1 when valid. */
export function lar(s: SystemContext): HelperResult {
  if (!inspect(s) || !acceptsType(s, larTypes, larTypesLong)) return outcome.next;
  s.cpu.setLow(arg[1], s.descriptor.high & 0x00f0_ff00);
  s.cpu.setLow(arg[2], 1);
  return outcome.next;
}

/** LSL: arg1 = limit in bytes, arg2 = 1 when valid. */
export function lsl(s: SystemContext): HelperResult {
  if (!inspect(s) || !acceptsType(s, lslTypes, lslTypesLong)) return outcome.next;
  s.cpu.setLow(arg[1], s.descriptor.limit);
  s.cpu.setLow(arg[2], 1);
  return outcome.next;
}

export function verr(s: SystemContext): HelperResult {
  if (inspect(s) && s.descriptor.isReadable) s.cpu.setLow(arg[2], 1);
  return outcome.next;
}

export function verw(s: SystemContext): HelperResult {
  if (inspect(s) && s.descriptor.isWritableData) s.cpu.setLow(arg[2], 1);
  return outcome.next;
}

/** Loads CS from the checked main descriptor for CPL `level`; cannot fault. The caller says that the mode has changed. */
export function loadCode(s: SystemContext, selector: number, level: number): void {
  s.descriptor.loadInto(s.cpu, cs, (selector & 0xfffc) | level);
}
