/** What every part of the system side works on, and the questions all of them ask. */
import type { Field } from '../../ir/index.ts';
import {
  cpl,
  cr0,
  cr4,
  cs,
  efer,
  eflags,
  flag,
  gpr,
  interruptShadow,
  linear,
  nextIp,
  shadowed,
  shadows,
} from '../state.ts';
import type { X86State } from './cpu.ts';
import type { Descriptor } from './descriptor.ts';
import type { CpuModel } from './models.ts';
import type { SystemPorts } from './ports.ts';
import type { Stack } from './stack.ts';
import type { Stepper } from './stepper.ts';
import type { XsaveImage } from './xsave.ts';

export interface SystemContext {
  readonly cpu: X86State;
  readonly ports: SystemPorts;
  readonly model: CpuModel;
  /** Reused by whoever builds or takes apart a stack frame. */
  readonly stack: Stack;
  /** Scratch: the descriptor of the code segment (or other main object), and of a new stack segment. */
  readonly descriptor: Descriptor;
  readonly stackDescriptor: Descriptor;
  /** Scratch: the image of FXSAVE and XSAVE. */
  readonly xsaveImage: XsaveImage;
  readonly stepper: Stepper;
}

/**
 * What a helper tells the engine: go on with the next instruction; control was
 * transferred to `linear`; or leave to the engine's loop (`activity` says why,
 * `linear` where to go on).
 */
export const outcome = { next: 0, jumped: 1, leave: 2 } as const;
export type HelperResult = (typeof outcome)[keyof typeof outcome];

export const cr0Bits = {
  PE: 1,
  MP: 2,
  EM: 4,
  TS: 8,
  ET: 16,
  NE: 32,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 1 << 31,
} as const;
export const cr4Bits = {
  VME: 1,
  PVI: 2,
  TSD: 4,
  DE: 8,
  PSE: 16,
  PAE: 32,
  MCE: 64,
  PGE: 128,
  PCE: 256,
  OSFXSR: 512,
  OSXMMEXCPT: 1024,
  UMIP: 1 << 11,
  LA57: 1 << 12,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
} as const;
export const eferBits = { SCE: 1, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11, FFXSR: 1 << 14 } as const;
/** Bits of a segment's `rights`. */
export const rightsBits = {
  accessed: 1,
  writable: 2,
  conforming: 4,
  code: 8,
  S: 16,
  P: 1 << 7,
  L: 1 << 13,
  D: 1 << 14,
  G: 1 << 15,
  unusable: 1 << 16,
} as const;

export const RSP: Field = gpr[4];

export function inRealMode(cpu: X86State): boolean {
  return (cpu.get(cr0) & cr0Bits.PE) === 0;
}

export function inV86(cpu: X86State): boolean {
  return (cpu.get(eflags) & flag.VM) !== 0;
}

/** Protected mode, virtual-8086 mode excluded; long mode included. */
export function inProtected(cpu: X86State): boolean {
  return (cpu.get(cr0) & cr0Bits.PE) !== 0 && (cpu.get(eflags) & flag.VM) === 0;
}

/** EFER.LMA: 64-bit or compatibility mode. */
export function inLongMode(cpu: X86State): boolean {
  return (cpu.get(efer) & eferBits.LMA) !== 0;
}

/** 64-bit mode. */
export function in64(cpu: X86State): boolean {
  return (cpu.get(efer) & eferBits.LMA) !== 0 && (cpu.get(cs.rights) & rightsBits.L) !== 0;
}

export function iopl(cpu: X86State): number {
  return (cpu.get(eflags) >>> 12) & 3;
}

/** Whether the CPU's width of linear addresses (48 bits, 57 with CR4.LA57) gives this one. */
export function isCanonical(cpu: X86State, high: number): boolean {
  return (cpu.get(cr4) & cr4Bits.LA57) !== 0 ? (high << 7) >> 7 === high : (high << 16) >> 16 === high;
}

/** Points `linear` at offset (low, high) of the CS now loaded. */
export function setLinear(cpu: X86State, low: number, high: number): void {
  if (in64(cpu)) cpu.setPair(linear, low, high);
  else cpu.setPair(linear, cpu.get(cs.base) + low, 0);
}

/** Continues at offset (low, high) of the CS now loaded. */
export function jumpTo(cpu: X86State, low: number, high: number): HelperResult {
  setLinear(cpu, low, high);
  return outcome.jumped;
}

/** Holds interrupts back until the next instruction is done. */
export function castShadow(cpu: X86State, kind: number): void {
  cpu.set(interruptShadow, kind);
  const [low, high] = [cpu.get(nextIp), cpu.high(nextIp)];
  if (in64(cpu)) cpu.setPair(shadowed, low, high);
  else cpu.setPair(shadowed, cpu.get(cs.base) + low, 0);
}

/** What holds interrupts back from the instruction at `linear`: one of `shadows`. */
export function shadowAtLinear(cpu: X86State): number {
  const isHere = cpu.get(shadowed) === cpu.get(linear) && cpu.high(shadowed) === cpu.high(linear);
  return isHere ? cpu.get(interruptShadow) : shadows.none;
}

/** Leaves to the engine's loop; execution will go on after this instruction. */
export function leaveAfter(cpu: X86State): HelperResult {
  setLinear(cpu, cpu.get(nextIp), cpu.high(nextIp));
  return outcome.leave;
}

export function privilege(cpu: X86State): number {
  return cpu.get(cpl);
}
