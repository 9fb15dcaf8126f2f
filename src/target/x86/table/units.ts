/** What an x87, MMX, SSE or AVX instruction checks before anything else (SDM vol. 3, 2.5, 13.1, tables 2-2 and 13-1). */
import { and, type Expr, i32, or, toI32, xor } from '../../ir/index.ts';
import type { X86Builder } from '../builder.ts';
import { cr0, cr4, fpuStatus, vector, xcr0 } from '../state.ts';
import type { RowOptions } from './row.ts';

const EM = 1 << 2;
const TS = 1 << 3;
const NE = 1 << 5;
const OSFXSR = 1 << 9;
const OSXSAVE = 1 << 18;
/** FSW.ES: an unmasked x87 exception is pending. */
const errorSummary = 1 << 7;

/** Raises #MF when an unmasked x87 exception is pending; with CR0.NE = 0 that is FERR#'s business, and it is not wired. */
export function emitPendingCheck(b: X86Builder): void {
  b.if(and(b.get(fpuStatus), i32(errorSummary)), () => b.if(and(b.get(cr0), i32(NE)), () => b.raise(vector.MF)));
}

/** Raises #UD where `forbidden` (i32) is not 0, else #NM while CR0.TS is set: one branch when all is well. */
function refuse(b: X86Builder, forbidden: Expr): void {
  const bad = b.let(forbidden);
  const task = b.let(and(b.get(cr0), i32(TS)));
  b.if(or(bad, task), () => {
    b.if(bad, () => b.raise(vector.UD));
    b.raise(vector.NM);
  });
}

/** Emits the checks of `unit`; entering the MMX state is left to the semantics, behind their memory accesses (vec.ts, `enterMmx`). */
export function emitUnitCheck(b: X86Builder, unit: NonNullable<RowOptions['unit']>): void {
  const emulation = () => and(b.get(cr0), i32(EM));
  switch (unit) {
    case 'x87':
    case 'x87-nowait':
      b.if(and(b.get(cr0), i32(EM | TS)), () => b.raise(vector.NM));
      if (unit === 'x87') emitPendingCheck(b);
      return;
    case 'mmx':
      refuse(b, emulation());
      emitPendingCheck(b);
      return;
    case 'sse':
      refuse(b, or(emulation(), xor(and(b.get(cr4), i32(OSFXSR)), i32(OSFXSR))));
      return;
    case 'avx':
      refuse(b, or(xor(and(b.get(cr4), i32(OSXSAVE)), i32(OSXSAVE)), xor(and(toI32(b.get(xcr0)), i32(6)), i32(6))));
      return;
  }
}
