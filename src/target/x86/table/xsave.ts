/**
 * XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR and XRSTORS in 64-bit mode as generated code, as operating systems use them.
 * Everything that raises an exception, and XRSTOR of a compacted image, is the helper's (system/xsave.ts).
 */
import {
  add,
  and,
  type Builder,
  type Expr,
  eq,
  eqz,
  type Field,
  i32,
  i64,
  ne,
  op,
  or,
  select,
  shl,
  shrU,
  toI32,
  toI64,
  type Variable,
  xor,
} from '../../ir/index.ts';
import type { Semantics, X86Builder } from '../builder.ts';
import {
  cr0,
  cr4,
  fprExponent,
  fprSignificand,
  fprStride,
  fpuControl,
  fpuCs,
  fpuDp,
  fpuDs,
  fpuIp,
  fpuOpcode,
  fpuStatus,
  fpuTags,
  fpuTop,
  gpr,
  mxcsr,
  vectorStride,
  xcr0,
  xmm,
  xss,
  ymmHigh,
} from '../state.ts';
import { cr0Bits, cr4Bits } from '../system/context.ts';
import {
  compactedSize,
  components,
  forms,
  fpuControlInitial,
  headerSize,
  legacySize,
  mxcsrInitial,
  mxcsrMask,
  mxcsrOffset,
  stOffset,
  xmmOffset,
  ymmOffset,
} from '../system/xsave.ts';

const { x87, sse, avx } = components;
const vectors = 16;
const x87Registers = 8;
const compactedBit = 1 << 31;
/** Fields that are 0 in x87's initial state. */
const x87Zero: readonly Field[] = [fpuStatus, fpuTop, fpuTags, fpuOpcode, fpuCs, fpuDs];

const isSet = (e: Expr, bits: number): Expr => ne(and(e, i32(bits)), i32(0));
const when = (condition: Expr, bits: number): Expr => select(condition, i32(bits), i32(0));

/** Runs `body(i * stride)` for i = 0 … count - 1. */
function forEach(b: Builder, count: number, stride: number, body: (offset: Expr) => void): void {
  const offset = b.variable(i32(0));
  b.loop((again) => {
    body(offset);
    b.set(offset, add(offset, i32(stride)));
    b.if(ne(offset, i32(count * stride)), again);
  });
}

/** The place in memory that belongs to a register's offset in the state, both counted from the first register. */
const placeOf = (address: Expr, start: number, offset: Expr, halved: boolean): Expr =>
  add(add(address, i64(start)), toI64(halved ? shrU(offset, i32(1)) : offset));

/** Physical register of ST(i), as an offset from the first, from i times the stride. */
const physical = (b: Builder, offset: Expr): Expr =>
  and(add(shl(b.get(fpuTop), i32(Math.log2(fprStride))), offset), i32(x87Registers * fprStride - 1));

function anyVector(b: Builder, first: Field): Expr {
  const all = b.variable(b.getAt(i32(first.offset), 0, 'v128', 16));
  forEach(b, vectors, vectorStride, (offset) =>
    b.set(all, op('v128.or', all, b.getAt(offset, first.offset, 'v128', 16))),
  );
  return b.let(op('v128.any_true', all));
}

function isX87InUse(b: Builder): Expr {
  const words = b.variable(or(b.get(fpuIp), b.get(fpuDp)));
  b.set(words, or(words, toI64(xor(b.get(fpuControl), i32(fpuControlInitial)))));
  for (const field of x87Zero) b.set(words, or(words, toI64(b.get(field))));
  forEach(b, x87Registers, fprStride, (offset) => {
    b.set(words, or(words, b.getAt(offset, fprSignificand[0].offset, 'i64', 8)));
    b.set(words, or(words, b.getAt(offset, fprExponent[0].offset, 'i64', 4)));
  });
  return b.let(ne(words, i64(0)));
}

function storeVectors(b: Builder, address: Expr, start: number, first: Field): void {
  forEach(b, vectors, vectorStride, (offset) => {
    b.store128(b.let(placeOf(address, start, offset, true)), b.getAt(offset, first.offset, 'v128', 16));
  });
}

function loadVectors(b: Builder, load: Expr, address: Expr, start: number, first: Field): void {
  b.if(
    load,
    () =>
      forEach(b, vectors, vectorStride, (offset) => {
        b.putAt(offset, first.offset, b.load128(b.let(placeOf(address, start, offset, true))), 16);
      }),
    () =>
      forEach(b, vectors, vectorStride, (offset) => {
        b.putAt(offset, first.offset, op('i64x2.splat', i64(0)), 16);
      }),
  );
}

/** @param wide REX.W: the pointers are 64-bit */
function storeX87(b: Builder, address: Expr, wide: boolean): void {
  const status = or(and(b.get(fpuStatus), i32(~0x3800)), shl(b.get(fpuTop), i32(11)));
  b.store(address, 2, b.get(fpuControl));
  b.store(add(address, i64(2)), 2, b.let(status));
  b.store(add(address, i64(4)), 2, b.let(and(b.get(fpuTags), i32(0xff))));
  b.store(add(address, i64(6)), 2, b.let(and(b.get(fpuOpcode), i32(0x7ff))));
  const pointer = (offset: Field, selector: Field): Expr => {
    const low = and(b.get(offset), i64(0xffffffffn));
    return b.let(wide ? b.get(offset) : or(low, shl(toI64(and(b.get(selector), i32(0xffff))), i64(32))));
  };
  b.store(add(address, i64(8)), 8, pointer(fpuIp, fpuCs));
  b.store(add(address, i64(16)), 8, pointer(fpuDp, fpuDs));
  forEach(b, x87Registers, fprStride, (offset) => {
    const at = b.let(placeOf(address, stOffset, offset, false));
    const from = b.let(physical(b, offset));
    b.store(at, 8, b.getAt(from, fprSignificand[0].offset, 'i64', 8));
    b.store(add(at, i64(8)), 8, b.getAt(from, fprExponent[0].offset, 'i64', 2));
  });
}

function loadX87(b: Builder, address: Expr, wide: boolean): void {
  const control = b.load(address, 2);
  const status = b.let(b.load(add(address, i64(2)), 2));
  const summary = when(isSet(and(status, xor(control, i32(-1))), 0x3f), 0x8080);
  b.put(fpuControl, or(and(control, i32(0x1f7f)), i32(0x40)));
  b.put(fpuStatus, or(and(status, i32(~(0x3800 | 0x8080))), summary));
  b.put(fpuTop, and(shrU(status, i32(11)), i32(7)));
  b.put(fpuTags, b.load(add(address, i64(4)), 1));
  b.put(fpuOpcode, and(b.load(add(address, i64(6)), 2), i32(0x7ff)));
  const pointer = (at: number, offset: Field, selector: Field): void => {
    const word = b.load(add(address, i64(at)), 8);
    b.put(offset, wide ? word : and(word, i64(0xffffffffn)));
    b.put(selector, wide ? i32(0) : and(toI32(shrU(word, i64(32))), i32(0xffff)));
  };
  pointer(8, fpuIp, fpuCs);
  pointer(16, fpuDp, fpuDs);
  forEach(b, x87Registers, fprStride, (offset) => {
    const at = b.let(placeOf(address, stOffset, offset, false));
    const to = b.let(physical(b, offset));
    b.putAt(to, fprSignificand[0].offset, b.load(at, 8), 8);
    b.putAt(to, fprExponent[0].offset, b.load(add(at, i64(8)), 2), 4);
  });
}

function clearX87(b: Builder): void {
  b.put(fpuControl, i32(fpuControlInitial));
  for (const field of x87Zero) b.put(field, i32(0));
  b.put(fpuIp, i64(0));
  b.put(fpuDp, i64(0));
  forEach(b, x87Registers, fprStride, (offset) => {
    b.putAt(offset, fprSignificand[0].offset, i64(0), 8);
    b.putAt(offset, fprExponent[0].offset, i32(0), 4);
  });
}

/** Whether no exception comes before the area is looked at. */
const isPlain = (b: Builder, address: Expr): Expr =>
  and(
    and(isSet(b.get(cr4), cr4Bits.OSXSAVE), eqz(and(b.get(cr0), i32(cr0Bits.TS)))),
    eqz(and(toI32(address), i32(63))),
  );

/** Requested-feature bitmap: higher components do not exist. */
const requestedBy = (b: X86Builder, supervisor: boolean): Expr => {
  const enabled = toI32(supervisor ? or(b.get(xcr0), b.get(xss)) : b.get(xcr0));
  return b.let(and(toI32(b.get(gpr[0])), enabled));
};

export const xsave =
  (form: number): Semantics =>
  (b) => {
    const address = b.let(b.address(0, 1, true));
    const slowly = () => b.helper('xsave', address, i64(b.w ? 1 : 0), i64(form));
    if (!b.long64 || b.inRegion) return slowly();
    const isCompacted = form === forms.compacted || form === forms.supervisor;
    b.if(
      isPlain(b, address),
      () => {
        const requested = requestedBy(b, form === forms.supervisor);
        const used = b.let(
          or(or(when(isX87InUse(b), x87), when(anyVector(b, xmm[0]), sse)), when(anyVector(b, ymmHigh[0]), avx)),
        );
        const bitmap = b.variable(and(requested, used));
        if (isCompacted) {
          const changed = and(isSet(requested, sse), ne(b.get(mxcsr), i32(mxcsrInitial)));
          b.set(bitmap, or(bitmap, when(changed, sse)));
        }
        // Plain XSAVE writes components in their initial state too.
        const stored = b.let(form === forms.plain ? requested : bitmap);
        b.if(
          isSet(isCompacted ? requested : stored, avx),
          () => b.probeWrite(address, compactedSize(avx)),
          () => b.probeWrite(address, compactedSize(0)),
        );
        storeComponents(b, address, requested, stored, isCompacted);
        storeHeader(b, b.let(add(address, i64(legacySize))), bitmap, requested, isCompacted);
      },
      slowly,
    );
  };

function storeComponents(b: X86Builder, address: Expr, requested: Expr, stored: Expr, isCompacted: boolean): void {
  b.if(isSet(stored, x87), () => storeX87(b, address, b.w));
  // MXCSR goes with SSE and, in the standard form, with AVX too.
  b.if(isCompacted ? isSet(stored, sse) : isSet(requested, sse | avx), () => {
    b.store(add(address, i64(mxcsrOffset)), 8, b.let(or(toI64(b.get(mxcsr)), i64(BigInt(mxcsrMask) << 32n))));
  });
  b.if(isSet(stored, sse), () => storeVectors(b, address, xmmOffset, xmm[0]));
  b.if(isSet(stored, avx), () => storeVectors(b, address, ymmOffset, ymmHigh[0]));
}

function storeHeader(b: Builder, header: Expr, bitmap: Variable, requested: Expr, isCompacted: boolean): void {
  if (isCompacted) {
    b.store(header, 8, b.let(toI64(bitmap)));
    b.store(add(header, i64(8)), 8, b.let(or(toI64(requested), shl(i64(1), i64(63)))));
    return;
  }
  const others = and(b.load(header, 4), xor(requested, i32(-1)));
  b.store(header, 4, b.let(or(bitmap, others)));
}

export const xrstor =
  (isSupervisor: boolean): Semantics =>
  (b) => {
    const address = b.let(b.address(0, 1));
    const slowly = () => b.helper('xrstor', address, i64(b.w ? 1 : 0), i64(isSupervisor ? 1 : 0));
    if (!b.long64 || b.inRegion) return slowly();
    const isGood = b.variable(isPlain(b, address));
    const bitmap = b.variable(i32(0));
    const requested = requestedBy(b, isSupervisor);
    b.if(isGood, () => {
      const header = b.let(add(address, i64(legacySize)));
      const first = b.load(header, 8);
      const second = b.load(add(header, i64(8)), 8);
      const words = b.variable(i64(0));
      // The standard form has three words of zeros, the compacted one six.
      const zeros = isSupervisor ? headerSize - 16 : 8;
      for (let at = 16; at < 16 + zeros; at += 8) b.set(words, or(words, b.load(add(header, i64(at)), 8)));
      b.set(bitmap, toI32(first));
      const formatIs = isSupervisor ? and(toI32(shrU(second, i64(32))), i32(-1)) : i32(0);
      const named = isSupervisor ? toI32(second) : toI32(b.get(xcr0));
      const enabled = toI32(isSupervisor ? or(b.get(xcr0), b.get(xss)) : b.get(xcr0));
      const legal = [
        eqz(toI32(shrU(first, i64(32)))),
        isSupervisor ? eq(formatIs, i32(compactedBit)) : eq(second, i64(0)),
        eqz(and(named, xor(enabled, i32(-1)))),
        eqz(and(bitmap, xor(named, i32(-1)))),
        eq(words, i64(0)),
        eqz(and(b.load(add(address, i64(mxcsrOffset)), 4), i32(~mxcsrMask))),
      ];
      b.set(
        isGood,
        legal.reduce((a, e) => and(a, e)),
      );
      // All that is read later is there.
      b.load(address, 8);
      b.if(isSet(and(requested, bitmap), avx), () => b.load(add(address, i64(compactedSize(avx) - 8)), 8));
    });
    b.if(isGood, () => restore(b, address, requested, b.let(and(requested, bitmap)), isSupervisor), slowly);
  };

function restore(b: X86Builder, address: Expr, requested: Expr, load: Expr, isCompacted: boolean): void {
  const stored = b.load(add(address, i64(mxcsrOffset)), 4);
  b.if(isSet(requested, isCompacted ? sse : sse | avx), () => {
    b.put(mxcsr, isCompacted ? select(isSet(load, sse), stored, i32(mxcsrInitial)) : stored);
  });
  b.if(isSet(requested, x87), () => {
    b.if(
      isSet(load, x87),
      () => loadX87(b, address, b.w),
      () => clearX87(b),
    );
  });
  b.if(isSet(requested, sse), () => loadVectors(b, isSet(load, sse), address, xmmOffset, xmm[0]));
  b.if(isSet(requested, avx), () => loadVectors(b, isSet(load, avx), address, ymmOffset, ymmHigh[0]));
}
