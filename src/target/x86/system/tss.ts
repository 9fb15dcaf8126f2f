/** What a change of privilege takes from the task-state segment (SDM vol. 3, 7.2.1, 7.6 and 7.7). */
import { tr, vector } from '../state.ts';
import { inLongMode, isCanonical, rightsBits, type SystemContext } from './context.ts';
import { isNull, selectorError } from './descriptor.ts';
import { raise } from './fault.ts';
import { rights } from './ports.ts';
import { checkStackDescriptor } from './segment.ts';

/** Reads a 32-bit word of the TSS; #TS(TR) beyond its limit. */
function tssWord(s: SystemContext, offset: number, size: 2 | 4, ext: number): number {
  const { cpu, ports } = s;
  if (offset + size - 1 > cpu.get(tr.limit) >>> 0) raise(vector.TS, selectorError(cpu.get(tr.selector), ext));
  const low = (cpu.get(tr.base) + offset) | 0;
  let high = 0;
  if (inLongMode(cpu)) high = low >>> 0 < offset ? cpu.high(tr.base) + 1 : cpu.high(tr.base);
  return size === 4 ? ports.read32(low, high, rights.implicit) : ports.read16(low, high, rights.implicit);
}

/** Opens `s.stack` on RSP0–2 (`slot` = privilege level) or IST1–7 (`slot` = 3 + number) of a 64-bit TSS, with that CPL. */
export function openTssStack64(s: SystemContext, slot: number, level: number, ext: number): void {
  // RSP0 lies at 4, IST1 at 36 = 4 + 8 * 4.
  const offset = 4 + 8 * slot;
  const low = tssWord(s, offset, 4, ext);
  const high = tssWord(s, offset + 4, 4, ext);
  if (!isCanonical(s.cpu, high)) raise(vector.SS, ext);
  s.stack.openFlat(low, high, level, ext);
}

/**
 * Opens `s.stack` on SSn:ESPn of a 32- or 16-bit TSS and leaves the stack segment's descriptor in
 * `s.stackDescriptor`; returns its selector.
 */
export function openTssStack(s: SystemContext, level: number, ext: number): number {
  const is32 = (s.cpu.get(tr.rights) & rightsBits.code) !== 0;
  const pointer = is32 ? tssWord(s, 4 + 8 * level, 4, ext) : tssWord(s, 2 + 4 * level, 2, ext);
  const selector = tssWord(s, is32 ? 8 + 8 * level : 4 + 4 * level, 2, ext);
  const d = s.stackDescriptor;
  if (isNull(selector)) raise(vector.TS, ext);
  d.read(selector, vector.TS, ext);
  checkStackDescriptor(d, selector, level, vector.TS, ext);
  d.markAccessed();
  s.stack.openNew(d.base, d.limit, d.rights, pointer, level, selectorError(selector, ext));
  return selector;
}
