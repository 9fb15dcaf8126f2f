/** SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM vol. 2). */
import {
  arg,
  cpl,
  cs,
  cstar,
  efer,
  flag,
  gpr,
  lstar,
  nextIp,
  type SegmentFields,
  sfmask,
  ss,
  star,
  sysenterCs,
  sysenterEip,
  sysenterEsp,
} from '../state.ts';
import {
  eferBits,
  type HelperResult,
  in64,
  inLongMode,
  inRealMode,
  isCanonical,
  jumpTo,
  privilege,
  RSP,
  type SystemContext,
} from './context.ts';
import type { X86State } from './cpu.ts';
import { raiseGp, raiseUd } from './fault.ts';
import { readFlags, writeFlags } from './rflags.ts';
import { requireSupervisor } from './segment.ts';

const RCX = gpr[1];
const RDX = gpr[2];
const R11 = gpr[11];

/** Rights of the flat segments that these instructions load: present, accessed, 4 GiB; DPL is added. */
const code64Rights = 0xa09b;
const code32Rights = 0xc09b;
const dataRights = 0xc093;

function loadFlat(cpu: X86State, segment: SegmentFields, selector: number, segmentRights: number, level: number): void {
  cpu.set(segment.selector, selector);
  cpu.set(segment.rights, segmentRights | (level << 5));
  cpu.set(segment.limit, -1);
  cpu.setLow(segment.base, 0);
}

export function syscall(s: SystemContext): HelperResult {
  const { cpu } = s;
  if ((cpu.get(efer) & eferBits.SCE) === 0 || inRealMode(cpu)) raiseUd();
  const selector = cpu.high(star) & 0xfffc;
  if (!inLongMode(cpu)) return syscallLegacy(s, selector);
  const target = in64(cpu) ? lstar : cstar;
  cpu.copy(RCX, nextIp);
  cpu.setLow(R11, readFlags(cpu) & ~flag.RF);
  loadFlat(cpu, cs, selector, code64Rights, 0);
  loadFlat(cpu, ss, (selector + 8) & 0xffff, dataRights, 0);
  cpu.set(cpl, 0);
  writeFlags(s, 0, cpu.get(sfmask) | flag.RF);
  if (cpu.get(sfmask) & flag.TF) s.stepper.cancel();
  s.ports.modeChanged();
  return jumpTo(cpu, cpu.get(target), cpu.high(target));
}

/** Outside long mode only AMD's CPUs have SYSCALL: EIP from STAR (AMD64 manual vol. 3). */
function syscallLegacy(s: SystemContext, selector: number): HelperResult {
  const { cpu } = s;
  if (s.model.vendor !== 'AuthenticAMD') raiseUd();
  cpu.setLow(RCX, cpu.get(nextIp));
  loadFlat(cpu, cs, selector, code32Rights, 0);
  loadFlat(cpu, ss, (selector + 8) & 0xffff, dataRights, 0);
  cpu.set(cpl, 0);
  writeFlags(s, 0, flag.IF | flag.RF | flag.VM);
  s.ports.modeChanged();
  return jumpTo(cpu, cpu.get(star), 0);
}

/** arg0 = operand size: 8 returns to 64-bit code, 4 to compatibility mode. */
export function sysret(s: SystemContext): HelperResult {
  const { cpu } = s;
  if ((cpu.get(efer) & eferBits.SCE) === 0 || inRealMode(cpu)) raiseUd();
  requireSupervisor(cpu);
  const selectors = cpu.high(star) >>> 16;
  const isLong = inLongMode(cpu);
  if (!isLong && s.model.vendor !== 'AuthenticAMD') raiseUd();
  const to64 = isLong && cpu.get(arg[0]) === 8;
  if (to64 && !isCanonical(cpu, cpu.high(RCX))) raiseGp();
  loadFlat(cpu, cs, ((to64 ? selectors + 16 : selectors) & 0xffff) | 3, to64 ? code64Rights : code32Rights, 3);
  loadFlat(cpu, ss, ((selectors + 8) & 0xffff) | 3, dataRights, 3);
  cpu.set(cpl, 3);
  if (isLong) writeFlags(s, cpu.get(R11), ~(flag.RF | flag.VM));
  else writeFlags(s, flag.IF, flag.IF);
  s.ports.modeChanged();
  return jumpTo(cpu, cpu.get(RCX), to64 ? cpu.high(RCX) : 0);
}

export function sysenter(s: SystemContext): HelperResult {
  const { cpu } = s;
  const selector = cpu.get(sysenterCs) & 0xfffc;
  if (inRealMode(cpu) || selector === 0) raiseGp();
  const isLong = inLongMode(cpu);
  writeFlags(s, 0, flag.VM | flag.IF | flag.RF);
  loadFlat(cpu, cs, selector, isLong ? code64Rights : code32Rights, 0);
  loadFlat(cpu, ss, (selector + 8) & 0xffff, dataRights, 0);
  cpu.set(cpl, 0);
  cpu.setPair(RSP, cpu.get(sysenterEsp), isLong ? cpu.high(sysenterEsp) : 0);
  s.ports.modeChanged();
  return jumpTo(cpu, cpu.get(sysenterEip), isLong ? cpu.high(sysenterEip) : 0);
}

/** arg0 = operand size: 8 returns to 64-bit code. */
export function sysexit(s: SystemContext): HelperResult {
  const { cpu } = s;
  const selector = cpu.get(sysenterCs) & 0xfffc;
  if (inRealMode(cpu) || selector === 0 || privilege(cpu) !== 0) raiseGp();
  const to64 = cpu.get(arg[0]) === 8 && inLongMode(cpu);
  if (to64 && !(isCanonical(cpu, cpu.high(RCX)) && isCanonical(cpu, cpu.high(RDX)))) raiseGp();
  loadFlat(cpu, cs, ((selector + (to64 ? 32 : 16)) & 0xffff) | 3, to64 ? code64Rights : code32Rights, 3);
  loadFlat(cpu, ss, ((selector + (to64 ? 40 : 24)) & 0xffff) | 3, dataRights, 3);
  cpu.set(cpl, 3);
  cpu.setPair(RSP, cpu.get(RCX), to64 ? cpu.high(RCX) : 0);
  s.ports.modeChanged();
  return jumpTo(cpu, cpu.get(RDX), to64 ? cpu.high(RDX) : 0);
}
