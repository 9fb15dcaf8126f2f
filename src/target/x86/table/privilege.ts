/**
 * Changes of privilege between 64-bit code at CPL 0 and 3 (SYSCALL, SYSRET, IRETQ) as generated code, for what an
 * operating system does all the time: flat segments, no single step, flags of no consequence to decoding. Everything
 * else, and every fault, is the helper's (system/fastcall.ts, system/iret.ts), before anything has changed.
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
  ne,
  or,
  select,
  shl,
  shrS,
  shrU,
  toI32,
  toI64,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import { modeBits } from '../mode.ts';
import {
  budget,
  cpl,
  cs,
  ds,
  efer,
  eflags,
  es,
  flag,
  fs,
  gdtr,
  gpr,
  gs,
  interruptPending,
  lstar,
  mode,
  nmiBlocked,
  pendingKinds,
  type SegmentFields,
  sfmask,
  ss,
  star,
  tlbBase,
} from '../state.ts';
import { eferBits, rightsBits } from '../system/context.ts';

/** Rights of flat segments at CPL 0: 64-bit code and data, present and accessed. */
export const codeRights = 0xa09b;
const dataRights = 0xc093;
/** Their descriptors. */
export const codeDescriptor = 0x00af_9b00_0000_ffffn;
const dataDescriptor = 0x00cf_9300_0000_ffffn;
export const userLevel = 3;
/** What CPL 3 adds to a segment's rights and to its descriptor. */
const userRights = userLevel << 5;
const userDescriptor = BigInt(userLevel) << 45n;
/** Flags that IRET at CPL 0 takes from its frame; RF and VM aside. */
const returnedFlags = flag.TF | flag.IF | flag.DF | flag.IOPL | flag.NT | flag.AC | flag.ID;
/** Flags that software can see apart from the arithmetic ones. */
export const systemFlags = returnedFlags | flag.RF | flag.VM | flag.VIF | flag.VIP;

const not = (e: Expr): Expr => xor(e, i32(-1));
export const both = (...conditions: readonly Expr[]): Expr => conditions.reduce((a, b) => and(a, b));
const isSet = (e: Expr, bit: number): Expr => ne(and(e, i32(bit)), i32(0));
export const isClear = (e: Expr, bits: number): Expr => eqz(and(e, i32(bits)));
/** Canonical with 48 bits, which is canonical with 57 too. */
export const isCanonical = (e: Expr): Expr => eq(shrS(shl(e, i64(16)), i64(16)), e);

export function putFlat(b: Builder, segment: SegmentFields, selector: Expr, rights: Expr): void {
  b.put(segment.selector, selector);
  b.put(segment.rights, rights);
  b.put(segment.limit, i32(-1));
  b.put(segment.base, i64(0));
}

/** Less than a budget that was used up: where it ends does not tell what is hot. */
const budgetTaken = -8;

const notStepping = (b: X86Builder): Expr => isClear(b.get(mode), modeBits.step);

/** Goes on at `ip`; an interrupt that waited for the flags or the privilege is seen there. */
function leaveTo(b: X86Builder, ip: Expr): void {
  const pending = b.get(interruptPending);
  const isOpen = or(and(pending, i32(pendingKinds.nmi)), and(b.get(eflags), i32(flag.IF)));
  b.if(pending, () => b.if(isOpen, () => b.put(budget, i32(budgetTaken))));
  b.jump(ip);
}

export const syscall: Semantics = (b) => {
  const slowly = () => b.helper('syscall', i64(b.osize));
  if (!b.long64) return slowly();
  const kernel = b.privilegeTlb('kernel');
  const old = b.get(eflags);
  const keep = b.let(not(toI32(b.get(sfmask))));
  const isSimple = both(
    isSet(toI32(b.get(efer)), eferBits.SCE),
    isClear(old, flag.TF),
    // AC that stays set wants another TLB set.
    isClear(and(old, keep), flag.AC),
    notStepping(b),
    kernel.ready,
  );
  b.if(eqz(isSimple), slowly);
  const image = b.let(or(or(and(old, i32(systemFlags & ~flag.RF)), b.getFlags()), i32(2)));
  const selector = b.let(and(toI32(shrU(b.get(star), i64(32))), i32(0xfffc)));
  b.put(gpr[1], b.nextIp());
  b.put(gpr[11], toI64(image));
  putFlat(b, cs, selector, i32(codeRights));
  putFlat(b, ss, and(add(selector, i32(8)), i32(0xffff)), i32(dataRights));
  b.put(cpl, i32(0));
  const kept = b.let(and(image, keep));
  b.putFlags(kept);
  b.put(eflags, or(and(kept, i32(systemFlags)), i32(2)));
  b.put(tlbBase, kernel.base);
  b.jump(b.get(lstar));
};

export const sysret: Semantics = (b) => {
  const slowly = () => b.helper('sysret', i64(b.osize));
  if (!b.long64 || b.osize !== 8) return slowly();
  const user = b.privilegeTlb('user');
  const ip = b.get(gpr[1]);
  const image = b.let(toI32(b.get(gpr[11])));
  const isSimple = both(
    isSet(toI32(b.get(efer)), eferBits.SCE),
    eqz(b.get(cpl)),
    isCanonical(ip),
    isClear(or(image, b.get(eflags)), flag.TF),
    notStepping(b),
    user.ready,
  );
  b.if(eqz(isSimple), slowly);
  const selector = b.let(toI32(shrU(b.get(star), i64(48))));
  const third = (offset: number) => or(and(add(selector, i32(offset)), i32(0xffff)), i32(userLevel));
  putFlat(b, cs, third(16), i32(codeRights | userRights));
  putFlat(b, ss, third(8), i32(dataRights | userRights));
  b.put(cpl, i32(userLevel));
  b.putFlags(image);
  b.put(eflags, or(and(image, i32(systemFlags & ~(flag.RF | flag.VM))), i32(2)));
  b.put(tlbBase, user.base);
  leaveTo(b, ip);
};

/** Linear address of the GDT's descriptor for a selector of which `isInGdt` holds. */
export const descriptorAddress = (b: Builder, selector: Expr): Expr =>
  add(b.get(gdtr.base), toI64(and(selector, i32(0xfff8))));

export const isInGdt = (b: Builder, selector: Expr): Expr =>
  and(isClear(selector, 4), leU(or(selector, i32(7)), b.get(gdtr.limit)));

/** RET to CPL 3 keeps the data segments when they are null or of CPL 3. */
function dataSegmentsStay(b: X86Builder): Expr {
  return both(
    ...[es, ds, fs, gs].map((segment) => {
      const rights = b.get(segment.rights);
      return or(isSet(rights, rightsBits.unusable), eq(and(rights, i32(userRights)), i32(userRights)));
    }),
  );
}

/** IRETQ from CPL 0 to itself or to CPL 3. */
export const iret: Semantics = (b) => {
  const slowly = () => b.helper('iret', i64(b.osize));
  if (!b.long64 || b.osize !== 8) return slowly();
  const old = b.get(eflags);
  const frame = b.get(gpr[4]);
  const mayRead = both(
    eqz(b.get(cpl)),
    isClear(old, flag.NT | flag.AC | flag.TF),
    isCanonical(frame),
    isCanonical(add(frame, i64(39))),
    notStepping(b),
  );
  b.if(eqz(mayRead), slowly);
  const word = (i: number) => b.load(add(frame, i64(8 * i)), 8);
  const ip = word(0);
  const code = b.let(and(toI32(word(1)), i32(0xffff)));
  const image = b.let(toI32(word(2)));
  const stack = word(3);
  const data = b.let(and(toI32(word(4)), i32(0xffff)));
  const toUser = b.let(eq(and(code, i32(3)), i32(userLevel)));
  b.if(eqz(both(isInGdt(b, code), isInGdt(b, data))), slowly);
  const added = b.let(select(toUser, i64(userDescriptor), i64(0)));
  const codeIs = b.load(descriptorAddress(b, code), 8);
  const dataIs = b.load(descriptorAddress(b, data), 8);
  const nullStack = b.let(eqz(data));
  const user = b.privilegeTlb('user');
  const kernel = b.privilegeTlb('kernel');
  const isSimple = both(
    or(toUser, isClear(code, 3)),
    eq(codeIs, or(i64(codeDescriptor), added)),
    // SS is null in the kernel after an interrupt from CPL 3.
    or(
      and(nullStack, eqz(toUser)),
      both(eq(dataIs, or(i64(dataDescriptor), added)), eq(and(code, i32(3)), and(data, i32(3))), isSet(data, 0xfffc)),
    ),
    isCanonical(ip),
    isClear(image, flag.TF),
    or(toUser, isClear(image, flag.AC)),
    or(eqz(toUser), dataSegmentsStay(b)),
    select(toUser, user.ready, kernel.ready),
  );
  b.if(eqz(isSimple), slowly);
  const level = b.let(select(toUser, i32(userLevel), i32(0)));
  const levelRights = b.let(select(toUser, i32(userRights), i32(0)));
  putFlat(b, cs, code, or(i32(codeRights), levelRights));
  b.put(ss.selector, data);
  b.put(ss.rights, select(nullStack, i32(rightsBits.unusable), or(i32(dataRights), levelRights)));
  b.put(ss.limit, select(nullStack, i32(0), i32(-1)));
  b.put(ss.base, i64(0));
  b.put(cpl, level);
  b.put(gpr[4], stack);
  b.putFlags(image);
  b.put(eflags, or(and(old, i32(~returnedFlags)), and(image, i32(returnedFlags))));
  b.put(nmiBlocked, i32(0));
  b.put(tlbBase, select(toUser, user.base, kernel.base));
  leaveTo(b, ip);
};

/** STAC (1) and CLAC (0). */
export const setAc =
  (value: 0 | 1): Semantics =>
  (b) => {
    const { base, ready } = b.privilegeTlb(value ? 'kernelAc' : 'kernel');
    b.if(eqz(and(eqz(b.get(cpl)), ready)), () => b.helper(value ? 'stac' : 'clac'));
    const others = and(b.get(eflags), i32(~flag.AC));
    b.put(eflags, value ? or(others, i32(flag.AC)) : others);
    b.put(tlbBase, base);
  };
