/** Port I/O and its permission (SDM vol. 1, 18.5). */
import type { AccessSize } from '../../../contract/index.ts';
import { arg, pendingDebug, tr } from '../state.ts';
import {
  type HelperResult,
  inRealMode,
  inV86,
  iopl,
  outcome,
  privilege,
  rightsBits,
  type SystemContext,
} from './context.ts';
import { portBreakpoints } from './debug.ts';
import { raiseGp } from './fault.ts';
import { rights } from './ports.ts';

const bitmapBaseOffset = 0x66;

/** #GP(0) unless CPL <= IOPL or the TSS's bitmap allows all bytes of the access. */
function checkPort(s: SystemContext, port: number, size: number): void {
  const { cpu, ports } = s;
  if (inRealMode(cpu) || (!inV86(cpu) && privilege(cpu) <= iopl(cpu))) return;
  const limit = cpu.get(tr.limit) >>> 0;
  const is32 = (cpu.get(tr.rights) & (rightsBits.code | rightsBits.unusable)) === rightsBits.code;
  if (!is32 || limit < bitmapBaseOffset + 1) raiseGp();
  const at = (offset: number): number => {
    const low = (cpu.get(tr.base) + offset) | 0;
    return ports.read16(low, low >>> 0 < offset ? cpu.high(tr.base) + 1 : cpu.high(tr.base), rights.implicit);
  };
  const offset = at(bitmapBaseOffset) + (port >>> 3);
  if (offset + 1 > limit) raiseGp();
  if ((at(offset) >>> (port & 7)) & ((1 << size) - 1)) raiseGp();
}

/** arg0 = port, arg1 = size. */
export function ioCheck(s: SystemContext): HelperResult {
  checkPort(s, s.cpu.get(arg[0]) & 0xffff, s.cpu.get(arg[1]));
  return outcome.next;
}

/** After `ioCheck`: arg0 = port, arg1 = size; result in arg2. */
export function portIn(s: SystemContext): HelperResult {
  const { cpu } = s;
  const port = cpu.get(arg[0]) & 0xffff;
  const size = cpu.get(arg[1]) as AccessSize;
  cpu.setLow(arg[2], s.ports.portIn(port, size));
  noteBreakpoints(s, port, size);
  return outcome.next;
}

/** After `ioCheck`: arg0 = port, arg1 = size, arg2 = value. */
export function portOut(s: SystemContext): HelperResult {
  const { cpu } = s;
  const port = cpu.get(arg[0]) & 0xffff;
  const size = cpu.get(arg[1]) as AccessSize;
  const value = cpu.get(arg[2]);
  s.ports.portOut(port, size, size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1));
  noteBreakpoints(s, port, size);
  return outcome.next;
}

function noteBreakpoints(s: SystemContext, port: number, size: number): void {
  const met = portBreakpoints(s.cpu, port, size);
  if (met) s.cpu.set(pendingDebug, s.cpu.get(pendingDebug) | met);
}
