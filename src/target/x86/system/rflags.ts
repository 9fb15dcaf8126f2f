/** EFLAGS as a whole: the lazy arithmetic flags (flags.ts) and the ones in `eflags`. */
import type { Field } from '../../ir/index.ts';
import { flagsKinds } from '../flags.ts';
import {
  arg,
  arithmeticFlags,
  carryKind,
  carryResult,
  carrySource,
  eflags,
  flag,
  flagsKind,
  flagsOverride,
  flagsResult,
  flagsSource,
  shadows,
  vector,
} from '../state.ts';
import { castShadow, type HelperResult, inV86, iopl, outcome, privilege, type SystemContext } from './context.ts';
import type { X86State } from './cpu.ts';
import { raise, raiseGp } from './fault.ts';

/** Flags that decoding, paging rights or stepping depend on. */
const modeFlags = flag.VM | flag.AC | flag.TF;
/** All flags that software can see; the rest are fixed. */
const knownFlags =
  arithmeticFlags |
  flag.TF |
  flag.IF |
  flag.DF |
  flag.IOPL |
  flag.NT |
  flag.RF |
  flag.VM |
  flag.AC |
  flag.VIF |
  flag.VIP |
  flag.ID;

/** CF, PF, AF, ZF, SF and OF from the lazy state. */
export function readArithmetic(cpu: X86State): number {
  const code = cpu.get(flagsKind);
  let image = readLazy(cpu, own);
  if (isStep(code)) image = (image & ~flag.CF) | (readCarryBefore(cpu) & flag.CF);
  if (code & flagsOverride.carryValid) image = (image & ~flag.CF) | (code & flagsOverride.carry ? flag.CF : 0);
  if (code & flagsOverride.overflowValid) image = (image & ~flag.OF) | (code & flagsOverride.overflow ? flag.OF : 0);
  return image;
}

const isStep = (code: number): boolean =>
  (code & 0xff) >> 2 === flagsKinds.inc || (code & 0xff) >> 2 === flagsKinds.dec;

/** CF as it was before INC or DEC, with other flags. */
function readCarryBefore(cpu: X86State): number {
  const code = cpu.get(before.kind);
  if (code & flagsOverride.carryValid) return code & flagsOverride.carry ? flag.CF : 0;
  return readLazy(cpu, before);
}

/** Where the lazy state lies. */
interface LazyFields {
  readonly kind: Field;
  readonly result: Field;
  readonly source: Field;
}
const own: LazyFields = { kind: flagsKind, result: flagsResult, source: flagsSource };
const before: LazyFields = { kind: carryKind, result: carryResult, source: carrySource };

function readLazy(cpu: X86State, fields: LazyFields): number {
  const code = cpu.get(fields.kind) & 0xff;
  const kind = code >> 2;
  const source = cpu.get(fields.source);
  if (kind === flagsKinds.image) return source & arithmeticFlags;
  const wide = (code & 3) === 3;
  const top = (8 << (code & 3)) - 1;
  const result = cpu.get(fields.result);
  const resultHigh = cpu.high(fields.result);
  let image = ((wide ? result | resultHigh : result) === 0 ? flag.ZF : 0) | evenParity(result);
  if (wide ? resultHigh < 0 : (result >>> top) & 1) image |= flag.SF;
  if (kind === flagsKinds.result) return image | (source & (flag.CF | flag.AF | flag.OF));
  if (kind === flagsKinds.logic) return image;
  const isAdd = kind === flagsKinds.add || kind === flagsKinds.adc || kind === flagsKinds.inc;
  const carryIn = kind === flagsKinds.adc || kind === flagsKinds.sbb ? 1 : 0;
  const low = carries(isAdd, result, source, carryIn);
  if (low & 8) image |= flag.AF;
  if (!wide) return image | carryAndOverflow(low, top);
  return image | carryAndOverflow(carries(isAdd, resultHigh, cpu.high(fields.source), low >>> 31), 31);
}

/** Bit i: the carry (or borrow) out of bit i of one 32-bit word. */
function carries(isAdd: boolean, result: number, source: number, carryIn: number): number {
  if (isAdd) {
    const left = (result - source - carryIn) | 0;
    return (left & source) | ((left | source) & ~result);
  }
  const left = (result + source + carryIn) | 0;
  return (~left & source) | ((~left | source) & result);
}

function carryAndOverflow(carriesOut: number, top: number): number {
  const carry = (carriesOut >>> top) & 1;
  return carry | (carry !== ((carriesOut >>> (top - 1)) & 1) ? flag.OF : 0);
}

function evenParity(value: number): number {
  let v = value & 0xff;
  v ^= v >> 4;
  v ^= v >> 2;
  return (v ^ (v >> 1)) & 1 ? 0 : flag.PF;
}

/** RFLAGS (bits 63:32 are 0). */
export function readFlags(cpu: X86State): number {
  return (cpu.get(eflags) & knownFlags & ~arithmeticFlags) | readArithmetic(cpu) | 2;
}

/** Sets the flags in `mask` from `value`, and tells the engine when a mode flag changed. */
export function writeFlags(s: SystemContext, value: number, mask: number): void {
  const { cpu } = s;
  const old = cpu.get(eflags);
  if (mask & arithmeticFlags) {
    const image = (readArithmetic(cpu) & ~mask) | (value & mask);
    cpu.set(flagsKind, flagsKinds.image << 2);
    cpu.setLow(flagsSource, image & arithmeticFlags);
  }
  const now = (((old & ~mask) | (value & mask)) & knownFlags & ~arithmeticFlags) | 2;
  cpu.set(eflags, now);
  if ((old ^ now) & modeFlags) s.ports.modeChanged();
}

/** PUSHF: the image without VM and RF (SDM vol. 2, PUSHF). */
export function pushf(s: SystemContext): HelperResult {
  const { cpu } = s;
  if (inV86(cpu) && iopl(cpu) < 3) raiseGp();
  cpu.setLow(arg[1], readFlags(cpu) & ~(flag.VM | flag.RF));
  return outcome.next;
}

/** POPF: what may change depends on CPL and IOPL (SDM vol. 2, POPF). */
export function popf(s: SystemContext): HelperResult {
  const { cpu } = s;
  if (inV86(cpu) && iopl(cpu) < 3) raiseGp();
  let mask = poppableFlags(cpu);
  if (cpu.get(arg[1]) === 2) mask &= 0xffff;
  // RF is cleared by POPF whatever the image holds.
  writeFlags(s, cpu.get(arg[0]) & ~flag.RF, mask | (cpu.get(arg[1]) === 2 ? 0 : flag.RF));
  return outcome.next;
}

/** The flags that POPF, IRET to the same mode and task code may change at the CPL now. */
export function poppableFlags(cpu: X86State): number {
  const always = arithmeticFlags | flag.TF | flag.DF | flag.NT | flag.AC | flag.ID;
  const level = privilege(cpu);
  if (inV86(cpu)) return always | flag.IF;
  return always | (level <= iopl(cpu) ? flag.IF : 0) | (level === 0 ? flag.IOPL : 0);
}

export function cli(s: SystemContext): HelperResult {
  requireIopl(s.cpu);
  writeFlags(s, 0, flag.IF);
  return outcome.next;
}

/** STI; interrupts stay shadowed for one instruction if they were off (SDM vol. 2, STI). */
export function sti(s: SystemContext): HelperResult {
  const { cpu } = s;
  requireIopl(cpu);
  if ((cpu.get(eflags) & flag.IF) === 0) castShadow(cpu, shadows.sti);
  writeFlags(s, flag.IF, flag.IF);
  return outcome.next;
}

function requireIopl(cpu: X86State): void {
  if (privilege(cpu) > iopl(cpu)) raiseGp();
}

export function stac(s: SystemContext): HelperResult {
  return setAc(s, flag.AC);
}

export function clac(s: SystemContext): HelperResult {
  return setAc(s, 0);
}

function setAc(s: SystemContext, value: number): HelperResult {
  if (!s.model.has('smap') || privilege(s.cpu) !== 0) raise(vector.UD);
  writeFlags(s, value, flag.AC);
  return outcome.next;
}
