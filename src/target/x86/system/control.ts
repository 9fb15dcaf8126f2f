/** Control registers, EFER and XCR0: every legal write and the #GP of every other (SDM vol. 3, 2.5 and 4.1). */
import { a20Mask, arg, cr0, cr2, cr3, cr4, cs, efer, gpr, tr, xcr0 } from '../state.ts';
import {
  cr0Bits,
  cr4Bits,
  eferBits,
  type HelperResult,
  in64,
  inLongMode,
  outcome,
  privilege,
  rightsBits,
  type SystemContext,
} from './context.ts';
import { raiseGp, raiseUd } from './fault.ts';
import { requireSupervisor, requireUmip, systemType } from './segment.ts';
import { componentsInUse } from './xsave.ts';

const cr0Known =
  cr0Bits.PE |
  cr0Bits.MP |
  cr0Bits.EM |
  cr0Bits.TS |
  cr0Bits.NE |
  cr0Bits.WP |
  cr0Bits.AM |
  cr0Bits.NW |
  cr0Bits.CD |
  cr0Bits.PG;
/** Changes of these make cached translations wrong. */
const cr0Paging = cr0Bits.PE | cr0Bits.PG | cr0Bits.WP;
const cr4Paging = cr4Bits.PSE | cr4Bits.PAE | cr4Bits.PGE | cr4Bits.LA57 | cr4Bits.PCIDE | cr4Bits.SMEP | cr4Bits.SMAP;

/** MOV CRn, r: arg0 = n, arg1 = value. */
export function moveToCr(s: SystemContext): HelperResult {
  const { cpu } = s;
  const low = cpu.get(arg[1]);
  const high = in64(cpu) ? cpu.high(arg[1]) : 0;
  const number = cpu.get(arg[0]);
  if (![0, 2, 3, 4, 8].includes(number)) raiseUd();
  requireSupervisor(cpu);
  switch (number) {
    case 0:
      if (high !== 0) raiseGp();
      writeCr0(s, low);
      break;
    case 2:
      cpu.setPair(cr2, low, high);
      break;
    case 3:
      writeCr3(s, low, high);
      break;
    case 4:
      if (high !== 0) raiseGp();
      writeCr4(s, low);
      break;
    default:
      if (high !== 0 || low >>> 0 > 15) raiseGp();
      s.ports.apic.writeTpr(low);
  }
  return outcome.next;
}

/** MOV r, CRn: arg0 = n; result in arg1. */
export function moveFromCr(s: SystemContext): HelperResult {
  const { cpu } = s;
  const number = cpu.get(arg[0]);
  if (![0, 2, 3, 4, 8].includes(number)) raiseUd();
  requireSupervisor(cpu);
  if (number === 0) cpu.setLow(arg[1], cpu.get(cr0));
  else if (number === 2) cpu.copy(arg[1], cr2);
  else if (number === 3) cpu.copy(arg[1], cr3);
  else if (number === 4) cpu.setLow(arg[1], cpu.get(cr4));
  else cpu.setLow(arg[1], s.ports.apic.readTpr());
  return outcome.next;
}

export function writeCr0(s: SystemContext, value: number): void {
  const { cpu } = s;
  const old = cpu.get(cr0);
  const now = (value & cr0Known) | cr0Bits.ET;
  if ((now & cr0Bits.PG) !== 0 && (now & cr0Bits.PE) === 0) raiseGp();
  if ((now & cr0Bits.NW) !== 0 && (now & cr0Bits.CD) === 0) raiseGp();
  const changed = old ^ now;
  if (changed & cr0Bits.PG) {
    if (now & cr0Bits.PG) enablePaging(s);
    else disablePaging(s);
  }
  cpu.set(cr0, now);
  if (changed & cr0Paging) s.ports.flushTlb(false);
  if (changed) s.ports.modeChanged();
}

function enablePaging(s: SystemContext): void {
  const { cpu } = s;
  if (cpu.get(efer) & eferBits.LME) {
    const is16BitTask =
      (cpu.get(tr.rights) & 0x1d) === systemType.tss16 && (cpu.get(tr.rights) & rightsBits.unusable) === 0;
    if ((cpu.get(cr4) & cr4Bits.PAE) === 0 || cpu.get(cs.rights) & rightsBits.L || is16BitTask) raiseGp();
    cpu.set(efer, cpu.get(efer) | eferBits.LMA);
  } else if (cpu.get(cr4) & cr4Bits.PAE) {
    checkPointers(s, cpu.get(cr3));
  }
}

function disablePaging(s: SystemContext): void {
  const { cpu } = s;
  if (in64(cpu) || cpu.get(cr4) & cr4Bits.PCIDE) raiseGp();
  cpu.set(efer, cpu.get(efer) & ~eferBits.LMA);
}

/** Bits 63:32 of a physical address that the CPU does not have. */
function beyondPhysical(s: SystemContext): number {
  const { physicalBits } = s.model;
  return physicalBits <= 32 ? -1 : ~((1 << (physicalBits - 32)) - 1);
}

/** PAE: loading CR3 loads four page-directory pointers, whose reserved bits must be 0 (SDM vol. 3, 4.4.1). */
function checkPointers(s: SystemContext, low: number): void {
  for (let i = 0; i < 4; i++) {
    const address = (((low & 0xffff_ffe0) + i * 8) & s.cpu.get(a20Mask)) >>> 0;
    const entry = s.ports.readPhysical32(address);
    if (entry & 1 && (entry & 0x1e6 || s.ports.readPhysical32(address + 4) & beyondPhysical(s))) raiseGp();
  }
}

function usesPointers(s: SystemContext): boolean {
  const { cpu } = s;
  return (cpu.get(cr0) & cr0Bits.PG) !== 0 && (cpu.get(cr4) & cr4Bits.PAE) !== 0 && !inLongMode(cpu);
}

export function writeCr3(s: SystemContext, low: number, high: number): void {
  const { cpu } = s;
  const hasPcids = (cpu.get(cr4) & cr4Bits.PCIDE) !== 0;
  // Bit 63 with PCIDs: keep what is cached of this one. It is not stored.
  const stored = hasPcids ? high & 0x7fff_ffff : high;
  if (stored & beyondPhysical(s)) raiseGp();
  if (usesPointers(s)) checkPointers(s, low);
  cpu.setPair(cr3, low, stored);
  s.ports.enterContext(hasPcids ? low & 0xfff : 0, hasPcids && high < 0);
}

export function writeCr4(s: SystemContext, value: number): void {
  const { cpu } = s;
  const old = cpu.get(cr4);
  if (value & ~s.model.cr4Mask) raiseGp();
  const changed = old ^ value;
  if (inLongMode(cpu) && ((value & cr4Bits.PAE) === 0 || changed & cr4Bits.LA57)) raiseGp();
  if (changed & value & cr4Bits.PCIDE && (!inLongMode(cpu) || cpu.get(cr3) & 0xfff)) raiseGp();
  const startsPointers = (cpu.get(cr0) & cr0Bits.PG) !== 0 && !inLongMode(cpu) && (value & cr4Bits.PAE) !== 0;
  if (startsPointers && changed & (cr4Bits.PAE | cr4Bits.PGE | cr4Bits.PSE | cr4Bits.SMEP))
    checkPointers(s, cpu.get(cr3));
  cpu.set(cr4, value);
  if (changed & cr4Paging) s.ports.flushTlb(false);
  if (changed) s.ports.modeChanged();
}

/** WRMSR to EFER. LMA is not writable. */
export function writeEfer(s: SystemContext, low: number, high: number): void {
  const { cpu } = s;
  const old = cpu.get(efer);
  if (high !== 0 || low & ~s.model.eferMask) raiseGp();
  if ((old ^ low) & eferBits.LME && cpu.get(cr0) & cr0Bits.PG) raiseGp();
  cpu.setLow(efer, (low & ~eferBits.LMA) | (old & eferBits.LMA));
  if ((old ^ low) & eferBits.NXE) s.ports.flushTlb(false);
  s.ports.modeChanged();
}

/** LMSW: arg0 = value; PE can be set but not cleared. */
export function lmsw(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireSupervisor(cpu);
  const old = cpu.get(cr0);
  writeCr0(s, (old & ~0xe) | (cpu.get(arg[0]) & 0xf));
  return outcome.next;
}

export function clts(s: SystemContext): HelperResult {
  requireSupervisor(s.cpu);
  writeCr0(s, s.cpu.get(cr0) & ~cr0Bits.TS);
  return outcome.next;
}

/** SMSW: CR0 in arg1. */
export function smsw(s: SystemContext): HelperResult {
  requireUmip(s.cpu);
  s.cpu.setLow(arg[1], s.cpu.get(cr0));
  return outcome.next;
}

function requireOsxsave(s: SystemContext): void {
  if ((s.cpu.get(cr4) & cr4Bits.OSXSAVE) === 0) raiseUd();
}

/** XGETBV: ECX 0 gives XCR0, 1 the components in use. */
export function xgetbv(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireOsxsave(s);
  const index = cpu.get(gpr[1]);
  if (index !== 0 && !(index === 1 && s.model.has('xgetbv1'))) raiseGp();
  cpu.setLow(gpr[0], index === 0 ? cpu.get(xcr0) : cpu.get(xcr0) & componentsInUse(s));
  cpu.setLow(gpr[2], 0);
  return outcome.next;
}

export function xsetbv(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireOsxsave(s);
  const value = cpu.get(gpr[0]);
  if (privilege(cpu) !== 0 || cpu.get(gpr[1]) !== 0 || cpu.get(gpr[2]) !== 0) raiseGp();
  if ((value & 1) === 0 || value & ~s.model.xcr0Mask || (value & 6) === 4) raiseGp();
  cpu.setLow(xcr0, value);
  s.ports.modeChanged();
  return outcome.next;
}
