/**
 * Delivery of page faults in 64-bit mode as generated code, for what an operating system sets up: an interrupt gate
 * without IST to flat 64-bit code at CPL 0. Everything else is system/interrupt.ts's, which does all of them.
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  leU,
  or,
  shl,
  shrU,
  sub,
  toI32,
  toI64,
} from '../../ir/index.ts';
import { modeBits } from '../mode.ts';
import {
  cpl,
  cr2,
  cs,
  eflags,
  faultAddress,
  faultError,
  faultVector,
  flag,
  gpr,
  idtr,
  linear,
  mode,
  pendingDebug,
  ss,
  tlbBase,
  tr,
  vector,
} from '../state.ts';
import { rightsBits } from '../system/context.ts';
import {
  both,
  codeDescriptor,
  codeRights,
  descriptorAddress,
  isCanonical,
  isClear,
  isInGdt,
  putFlat,
  systemFlags,
  userLevel,
} from './privilege.ts';

const frameBytes = 48;
/** Offset of RSP0 in the TSS. */
const rsp0 = 4;
/** Bits 47:32 of a gate's first half: present, of DPL 0, an interrupt gate, no IST. */
const gateType = 0x8e00;
const clearedFlags = flag.TF | flag.NT | flag.RF | flag.VM | flag.IF;

/**
 * Delivers the pending page fault of the instruction at `ip`: the CPU goes on at state `linear`. `giveUp` leaves, before
 * anything has changed; accesses of `b` have CPL 0's rights and give up by themselves where the TLB does not have the page.
 */
export function deliverPageFault(
  b: Builder,
  ip: Expr,
  kernel: { readonly base: Expr; readonly ready: Expr },
  giveUp: () => void,
): void {
  const need = (...conditions: readonly Expr[]): void => b.if(eqz(both(...conditions)), giveUp);
  const flags = b.get(eflags);
  const level = b.get(cpl);
  const fromUser = b.let(eq(level, i32(userLevel)));
  const gate = b.let(add(b.get(idtr.base), i64(16 * vector.PF)));
  need(
    eq(b.get(faultVector), i32(vector.PF)),
    eq(and(b.get(mode), i32(modeBits.long64 | modeBits.step)), i32(modeBits.long64)),
    isClear(flags, flag.AC),
    eqz(b.get(pendingDebug)),
    or(fromUser, eqz(level)),
    leU(i32(16 * vector.PF + 15), b.get(idtr.limit)),
    leU(i32(rsp0 + 7), b.get(tr.limit)),
    kernel.ready,
  );
  const low = b.load(gate, 8);
  const high = b.load(add(gate, i64(8)), 8);
  const selector = b.let(and(toI32(shrU(low, i64(16))), i32(0xffff)));
  const offset = or(and(low, i64(0xffff)), shl(shrU(low, i64(48)), i64(16)));
  const target = b.let(or(offset, shl(high, i64(32))));
  const type = and(toI32(shrU(low, i64(32))), i32(0xff07));
  need(eq(type, i32(gateType)), isInGdt(b, selector), isCanonical(target));
  const descriptor = b.load(descriptorAddress(b, selector), 8);
  need(eq(descriptor, i64(codeDescriptor)));

  const old = b.get(gpr[4]);
  const top = b.variable(old);
  b.if(fromUser, () => b.set(top, b.load(add(b.get(tr.base), i64(rsp0)), 8)));
  const frame = b.let(sub(and(top, i64(-16)), i64(frameBytes)));
  need(isCanonical(top), isCanonical(frame));
  b.probeWrite(frame, frameBytes);
  const image = or(or(and(flags, i32(systemFlags)), b.call('flags_all')), i32(flag.RF | 2));
  const words = [toI64(b.get(faultError)), ip, toI64(b.get(cs.selector)), toI64(image), old, toI64(b.get(ss.selector))];
  words.forEach((word, i) => {
    b.store(add(frame, i64(8 * i)), 8, b.let(word));
  });
  b.put(cr2, b.get(faultAddress));
  b.if(fromUser, () => {
    b.put(ss.selector, i32(0));
    b.put(ss.rights, i32(rightsBits.unusable));
    b.put(ss.limit, i32(0));
    b.put(ss.base, i64(0));
  });
  putFlat(b, cs, and(selector, i32(0xfffc)), i32(codeRights));
  b.put(cpl, i32(0));
  b.put(gpr[4], frame);
  b.put(eflags, and(flags, i32(~clearedFlags)));
  b.put(tlbBase, kernel.base);
  b.put(linear, target);
}
