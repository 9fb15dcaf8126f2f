/** The time-stamp counter: the engine's clock plus an offset. */
import { cr4, gpr, tscAdjust, tscAux, tscOffset } from '../state.ts';
import { cr4Bits, type HelperResult, outcome, privilege, type SystemContext } from './context.ts';
import { raiseGp } from './fault.ts';

const unit = 0x1_0000_0000;

/** Puts the TSC into EDX:EAX. */
export function readTsc(s: SystemContext): void {
  const { cpu } = s;
  const ticks = s.ports.readTsc();
  const high = Math.floor(ticks / unit);
  const low = ticks - high * unit + (cpu.get(tscOffset) >>> 0);
  cpu.setLow(gpr[0], low | 0);
  cpu.setLow(gpr[2], (high + cpu.high(tscOffset) + (low >= unit ? 1 : 0)) | 0);
}

/** Sets the TSC; IA32_TSC_ADJUST moves by the same amount (SDM vol. 3, 17.17.3). */
export function writeTsc(s: SystemContext, low: number, high: number): void {
  const { cpu } = s;
  const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const offset = value - BigInt(s.ports.readTsc());
  cpu.setBig(tscAdjust, cpu.getBig(tscAdjust) + offset - cpu.getBig(tscOffset));
  cpu.setBig(tscOffset, offset);
}

function requireTsc(s: SystemContext): void {
  if ((s.cpu.get(cr4) & cr4Bits.TSD) !== 0 && privilege(s.cpu) !== 0) raiseGp();
}

export function rdtsc(s: SystemContext): HelperResult {
  requireTsc(s);
  readTsc(s);
  return outcome.next;
}

export function rdtscp(s: SystemContext): HelperResult {
  requireTsc(s);
  readTsc(s);
  s.cpu.setLow(gpr[1], s.cpu.get(tscAux));
  return outcome.next;
}
